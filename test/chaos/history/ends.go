package history

import (
	"strings"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// terminals checks law 4: what a WEC copy ended as is what the hub copy ends as.
func (c *checker) terminals() {
	for _, uid := range c.order {
		hub := c.hub[uid]
		if hub == nil || hub.first().Decoy || !hub.in(c.epoch(Hub)) {
			continue // a restore of the hub took it: nobody can show it
		}
		for _, wec := range c.copies[uid] {
			c.terminal(uid, hub, wec)
		}
	}
}

func (c *checker) terminal(uid string, hub, wec *object) {
	end := wec.last()
	if !end.Terminal() || !wec.in(c.epoch(wec.cluster)) {
		return
	}
	c.report.Ended++
	if c.did(uid, ActGivenUp) || c.did(uid, ActHubForced) || c.did(wec.first().UID, ActForced) {
		return // forced: the hub copy says that it vanished, which shown checks, and that it ends stuck checks
	}
	if c.did(wec.first().UID, ActRetried) && !end.Harvest {
		return // its first end was shown; the retry was over before the hub could hold it
	}
	for _, v := range hub.versions {
		if v.Deleting || v.Status == end.Status {
			return
		}
	}
	final := hub.last()
	if ownVanished.MatchString(final.Message) || final.Terminal() && c.epoch(Hub) > 0 {
		return // said by shown if it is not excused
	}
	c.find(TerminalLost, end.at, uid, "%s ended as %s %q on %s, and the hub shows %s %q", c.name(uid), end.Phase, end.Message, wec.cluster, final.Phase, final.Message)
}

// leftBehind checks that a hub copy does not go before its WEC copy, and that none is made afterwards.
func (c *checker) leftBehind() {
	for _, uid := range c.order {
		hub := c.hub[uid]
		if hub == nil || hub.first().Decoy || !hub.last().gone || !hub.in(c.epoch(Hub)) || c.did(uid, ActHubForced) || c.did(uid, ActGivenUp) || hub.last().GivenUp {
			continue
		}
		went := hub.last().at
		for _, wec := range c.copies[uid] {
			if c.did(wec.first().UID, ActDisowned) {
				continue
			}
			switch {
			case wec.first().at.After(went.Add(slack)):
				c.find(TerminalLost, wec.first().at, uid, "%s was created on %s after its hub copy was gone", c.name(uid), wec.cluster)
			case c.aliveAt(wec, went) && !c.restoredBetween(wec.cluster, wec.first().at, went.Add(slack)): // two looks were before it, longer than any lag
				c.find(TerminalLost, went, uid, "%s was let go on the hub while its copy is on %s", c.name(uid), wec.cluster)
			}
		}
	}
}

// decoys checks law 5: what is not ours stays as it was made.
func (c *checker) decoys() {
	for _, uid := range c.order {
		for _, o := range []*object{c.hub[uid], c.wec[uid]} {
			if o == nil || !o.first().Decoy {
				continue
			}
			for _, v := range o.versions[1:] {
				if v.Content != o.first().Content || v.gone && (c.ended.IsZero() && c.quiet.IsZero() || !v.at.After(c.quiet)) {
					c.find(ForeignTouched, v.at, uid, "%s/%s on %s was changed or removed (%s)", v.Namespace, v.Name, o.cluster, strings.TrimSpace(stateOf(v)))
				}
			}
		}
	}
}

func stateOf(v version) string {
	if v.gone {
		return "removed"
	}
	return v.Phase + " " + v.Message
}

// pods tells what whoever made the pods has found.
func (c *checker) pods() {
	for _, r := range c.records {
		if r.Kind == Harmed {
			c.find(PodsBroken, r.Time, r.Workflow.UID, "%s: %s", r.Cluster, r.Text)
		}
	}
}

// stuck checks what is left when all is mended: at Quiet every Workflow is finished, at Ended nothing is there any more.
func (c *checker) stuck() {
	for _, uid := range c.order {
		for _, o := range []*object{c.hub[uid], c.wec[uid]} {
			if o == nil || o.first().Decoy {
				continue
			}
			if v, there := c.stateAt(o, c.quiet.UnixNano()); !c.quiet.IsZero() && there && !v.Terminal() {
				c.find(Stuck, c.quiet, uid, "%s/%s on %s is not finished: %s %q%s", v.Namespace, v.Name, o.cluster, v.Phase, v.Message, finalizers(v))
			}
			if v, there := c.stateAt(o, c.ended.UnixNano()); !c.ended.IsZero() && there {
				c.find(Stuck, c.ended, uid, "%s/%s on %s is not gone: %s %q%s", v.Namespace, v.Name, o.cluster, v.Phase, v.Message, finalizers(v))
			}
		}
	}
}

// stateAt returns the state of an object at a time, false if it is not there.
func (c *checker) stateAt(o *object, at int64) (version, bool) {
	var state version
	there := false
	for _, v := range o.versions {
		if v.at.UnixNano() > at {
			break
		}
		state, there = v, !v.gone
	}
	return state, there && state.epoch == c.epoch(o.cluster)
}

func finalizers(v version) string {
	text := ""
	if v.Deleting {
		text += ", being deleted"
	}
	if v.Cleanup {
		text += ", " + stellarflow.FinalizerCleanup
	}
	if v.Harvest {
		text += ", " + stellarflow.FinalizerHarvest
	}
	return text
}
