package history

import (
	"regexp"
)

// Our own words in a status, docs/spec/workflow.md, by phase.
var (
	ownPending = regexp.MustCompile(`^(Waiting for a cluster\. |placed on cluster \S+ by policy \S+$|cluster \S+ refused it: |the next step for it on cluster \S+ keeps failing and is tried again: |runs again on cluster \S+, where its copy was removed$|` +
		`the hub was restored from a backup at |its copy on cluster \S+ )`)
	ownVanished = regexp.MustCompile(`^its copy on cluster \S+ was removed there before its end was seen; `)
	ownStopped  = regexp.MustCompile(`^Stopped with strategy '(Stop|Terminate)'$`)
	ownGivenUp  = regexp.MustCompile(`^given up on request: `)
)

// shown checks law 3 on every state that the hub ever stored of a placed Workflow.
func (c *checker) shown() {
	for _, uid := range c.order {
		if hub := c.hub[uid]; hub != nil && !hub.first().Decoy {
			c.shownOf(uid, hub)
		}
	}
}

// place is where in the history of the WEC copies a status was reported first.
type place struct {
	copyIndex, epoch, index int
}

func (c *checker) shownOf(uid string, hub *object) {
	reported := c.reported(uid)
	last, seen := place{}, false // since it began anew
	placed, before, untouched := false, version{}, false
	for _, v := range hub.versions {
		untouched = v.untouched(before, untouched)
		again := v.Status == before.Status && before.Placed != ""
		if c.anew(uid, before, v) {
			last, seen = place{}, false
		}
		before = v
		placed = placed || v.Placed != ""
		c.unplaced(uid, v)
		if v.Placed == "" || !v.says() || untouched {
			continue
		}
		at, known := reported[key{v.Attempt, v.Status}]
		switch {
		case known && at.before(last) && seen:
			c.find(FalseShown, v.at, uid, "%s steps back: %s %q is older than what it showed before", c.name(uid), v.Phase, v.Message)
		case known:
			last, seen = at, true
		default:
			c.ownWords(uid, v, seen, again)
		}
	}
	if placed {
		c.report.Placed++
	}
}

// anew reports whether a hub copy begins to show again what it shows: the hub was restored, or a retry has begun another attempt.
func (c *checker) anew(uid string, before, v version) bool {
	return v.epoch != before.epoch || v.Attempt > before.Attempt && c.again[uid][v.Attempt]
}

// unplaced checks what the hub says of one that waited and was stopped. All else that is said of a Workflow without a record is the hub's
// own Argo's, or why it waits.
func (c *checker) unplaced(uid string, v version) {
	if v.Placed == "" && v.says() && v.Suspended && ownStopped.MatchString(v.Message) {
		c.stopped(uid, v)
	}
}

// says reports whether a version is a state that somebody wrote.
func (v version) says() bool { return !v.gone && !v.carried && v.Phase != "" }

// untouched reports whether a record came back to a status that the restored hub had without it, now or before: then it stays so.
func (v version) untouched(before version, already bool) bool {
	return v.epoch > 0 && before.Status == v.Status && (before.Placed == "" || already)
}

// ownWords checks a state that no cluster reported: it has to be one that the hub may say of itself. seen is whether the hub showed
// before what a cluster said; again is whether it said the same before, of a copy that a restore may have brought back since.
func (c *checker) ownWords(uid string, v version, seen, again bool) {
	switch {
	case v.Phase == "Error" && ownVanished.MatchString(v.Message):
		if !again {
			c.vanished(uid, v)
		}
	case v.Phase == "Error" && v.GivenUp && ownGivenUp.MatchString(v.Message):
	case v.Phase == "Failed" && ownStopped.MatchString(v.Message) && !seen:
		c.stopped(uid, v)
	case v.Phase == "Pending" && ownPending.MatchString(v.Message):
		if seen {
			c.find(FalseShown, v.at, uid, "%s steps back to %q after it showed what a cluster said", c.name(uid), v.Message)
		}
	default:
		c.find(FalseShown, v.at, uid, "%s shows %s %q (status %s), which no cluster reported for it", c.name(uid), v.Phase, v.Message, v.Status)
	}
}

// stopped checks that a Workflow of which the hub says that it was stopped before it was anywhere was nowhere, and stays so.
func (c *checker) stopped(uid string, shown version) {
	for _, wec := range c.copies[uid] {
		other := shown.Placed != "" && wec.first().Attempt != shown.Attempt
		if !other && !c.restoredBetween(wec.cluster, wec.first().at, shown.at) && c.epoch(Hub) == 0 {
			c.find(FalseShown, shown.at, uid, "%s says that it was stopped before it was created, and it has a copy on %s", c.name(uid), wec.cluster)
		}
	}
}

// before reports whether a place is earlier in the same epoch of the same copy.
func (p place) before(other place) bool {
	return p.copyIndex == other.copyIndex && p.epoch == other.epoch && p.index < other.index
}

type key struct {
	attempt int
	status  string
}

// reported returns what the WEC copies of a hub copy ever said. Which copies these are was decided when they were created: what
// somebody writes into their annotations later changes nothing. A status that came back after a restore counts where it was last.
func (c *checker) reported(hubUID string) map[key]place {
	all := map[key]place{}
	for i, wec := range c.copies[hubUID] {
		for j, v := range wec.versions {
			if v.Status != "" && !v.gone {
				all[key{wec.first().Attempt, v.Status}] = place{i, v.epoch, j}
			}
		}
	}
	return all
}

// vanished checks that a Workflow of which the hub says that its copy was removed has none, and that a person or a restore removed it.
func (c *checker) vanished(uid string, shown version) {
	for _, wec := range c.copies[uid] {
		if wec.first().Attempt != shown.Attempt || shown.WECUID != "" && shown.WECUID != wec.first().UID {
			continue // another copy than the one that is meant
		}
		excused := c.did(wec.first().UID, ActForced) || c.did(wec.first().UID, ActRetried) && !wec.last().Harvest || c.restoredBetween(wec.cluster, wec.first().at, shown.at) || c.epoch(Hub) > 0
		switch {
		case c.aliveAt(wec, shown.at.Add(-slack)) && c.aliveAt(wec, shown.at.Add(slack)):
			c.find(FalseShown, shown.at, uid, "%s says that its copy on %s was removed, and it is there", c.name(uid), wec.cluster)
		case !excused:
			c.find(TerminalLost, shown.at, uid, "%s: its copy on %s went before its end was seen, and nobody there forced it", c.name(uid), wec.cluster)
		}
	}
}
