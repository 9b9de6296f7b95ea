package history

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// start is a run that began.
type start struct {
	at      time.Time
	cluster string
	uid     string
	attempt int
}

// starts checks law 1: a Workflow starts at most once in an attempt, and in one attempt only unless a person asked for more. It does not
// start on the hub too, nor at all there if that was to hold it.
func (c *checker) starts() {
	byHub := map[string][]start{}
	for _, uid := range c.order {
		hubUID, run, ran := c.startOf(uid)
		if ran {
			c.report.Starts++
			byHub[hubUID] = append(byHub[hubUID], run)
		}
	}
	for hubUID, runs := range byHub {
		if first := runs[0]; first.cluster == Hub && c.hub[hubUID].first().Held && !c.unread(c.hub[hubUID].first().at) {
			c.find(StartedTwice, first.at, hubUID, "%s runs on the hub, which was to hold it", c.name(hubUID))
		}
		slices.SortFunc(runs, func(a, b start) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.uid, b.uid)) })
		for i, run := range runs[1:] {
			before := runs[i]
			switch {
			case run.attempt != before.attempt && c.did(hubUID, ActGivenUp):
			case run.attempt > before.attempt && c.again[hubUID][run.attempt]:
				c.overlap(hubUID, before, run)
			case c.unknowable(hubUID, before, run):
				c.report.Unknowable++
			default:
				c.find(StartedTwice, run.at, hubUID, "%s attempt %d started on %s (copy %s), and before, at %s, attempt %d on %s (copy %s)",
					c.name(hubUID), run.attempt, run.cluster, run.uid, before.at.Format(time.StampMilli), before.attempt, before.cluster, before.uid)
			}
		}
	}
}

// overlap checks that the copy of the attempt before is gone when the next one begins to run.
func (c *checker) overlap(hubUID string, before, run start) {
	wec := c.wec[before.uid]
	if wec != nil && c.aliveAt(wec, run.at.Add(-slack)) && c.aliveAt(wec, run.at.Add(slack)) && !c.restoredBetween(wec.cluster, run.at.Add(-slack), run.at.Add(slack)) {
		c.find(StartedTwice, run.at, hubUID, "%s attempt %d started on %s, and the copy of attempt %d is still on %s", c.name(hubUID), run.attempt, run.cluster, before.attempt, before.cluster)
	}
}

// unread reports whether the hub's API server may not have read its policies by then (docs/adr/0009, Consequences): it looks every 30 s only for what
// it serves.
func (c *checker) unread(at time.Time) bool {
	const reads = 40 * time.Second
	return slices.ContainsFunc(c.served, func(began time.Time) bool { return at.After(began.Add(-slack)) && at.Before(began.Add(reads)) })
}

// startOf returns when an object began to run, if it did: the first of its states that an Argo controller made. Whose run it is was
// decided when the object was created.
func (c *checker) startOf(uid string) (hubUID string, run start, ran bool) {
	o := c.wec[uid]
	if o == nil {
		o = c.hub[uid]
	}
	for _, v := range o.versions {
		ran = v.Phase == "Running" || v.Terminal()
		hubUID = o.first().HubUID
		if o.cluster == Hub {
			ran, hubUID = strings.HasPrefix(v.Message, RanOnHub), uid
		}
		if ran && hubUID != "" && !v.Decoy {
			return hubUID, start{v.at, o.cluster, uid, o.first().Attempt}, true
		}
	}
	return "", start{}, false
}

// unknowable reports whether the first run was wiped out and the hub was not told that it exists, or has forgotten it in a restore of its
// own: with its cluster, which was set back; or by a person, by force, and the manager that could have seen it is no more.
func (c *checker) unknowable(hubUID string, first, second start) bool {
	hub := c.hub[hubUID]
	if hub == nil || first.cluster != second.cluster || first.attempt != second.attempt {
		return false
	}
	made := c.wec[first.uid].first().at
	forgotten := c.did(first.uid, ActForced) && slices.ContainsFunc(c.began, func(at time.Time) bool { return at.After(made) && at.Before(second.at) })
	if !forgotten && !c.restoredBetween(first.cluster, made, second.at) {
		return false
	}
	told, epoch := false, 0
	for _, v := range hub.versions {
		if !v.at.Before(c.wec[second.uid].first().at) {
			break
		}
		told = v.WECUID == first.uid || told && v.epoch == epoch // a restore of the hub takes it back
		epoch = v.epoch
	}
	return !told
}

// name is the namespace and name of a hub copy, or its UID if the hub never had it.
func (c *checker) name(hubUID string) string {
	if o := c.hub[hubUID]; o != nil {
		return o.first().Namespace + "/" + o.first().Name
	}
	return hubUID
}
