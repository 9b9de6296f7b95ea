package history

import (
	"slices"
	"strings"
	"time"
)

// What Ask.Kind is of a retry.
const askRetry = "retry"

// asked is an ask and what became of it.
type asked struct {
	Ask

	hubUID string
	at     version // the hub copy when it was asked
	done   []deed
}

// deed is that something was done which was asked: to a WEC copy, or, where that is gone, by the next attempt.
type deed struct {
	at      time.Time
	cluster string // Hub for the next attempt
	uid     string // of the copy there
	before  version
}

// findAsks collects what was asked and what was done.
func (c *checker) findAsks() {
	for _, uid := range c.order {
		if hub := c.hub[uid]; hub != nil && !hub.first().Decoy {
			hub.changes(func(before, v version) { c.findAsk(uid, before, v) })
		}
	}
	for _, uid := range c.order {
		if wec := c.wec[uid]; wec != nil && !wec.first().Decoy {
			wec.changes(func(before, v version) {
				if v.Applied != "" && v.Applied != before.Applied {
					c.do(v.Applied, uid, deed{v.at, wec.cluster, uid, before})
				}
			})
		}
	}
	c.report.Asked = len(c.asks)
	for _, a := range c.asks {
		if len(a.done) > 0 {
			c.report.Done++
		}
	}
}

// findAsk notes what was asked with one write to a hub copy, and whether that write is the next attempt which a retry asks for.
func (c *checker) findAsk(uid string, before, v version) {
	for _, ask := range v.Asks {
		if c.asks[ask.ID] == nil {
			c.asks[ask.ID] = &asked{Ask: ask, hubUID: uid, at: v}
		}
	}
	last := len(before.Asks) - 1
	if last >= 0 && before.Asks[last].Kind == askRetry && before.Completed && before.Attempt > 0 && v.Attempt == before.Attempt+1 {
		c.do(before.Asks[last].ID, uid, deed{v.at, Hub, uid, before})
		if c.again[uid] == nil {
			c.again[uid] = map[int]bool{}
		}
		c.again[uid][v.Attempt] = true
	}
}

// do notes a deed. Nobody may do what was not asked.
func (c *checker) do(id, uid string, done deed) {
	a := c.asks[id]
	if a == nil {
		c.find(AsksBroken, done.at, uid, "%s was done on %s, and nobody asked it", id, done.cluster)
		return
	}
	a.done = append(a.done, done)
}

// changes calls a function with each state that somebody wrote and the one before.
func (o *object) changes(of func(before, v version)) {
	var before version
	for _, v := range o.versions {
		if !v.carried && !v.gone {
			of(before, v)
		}
		before = v
	}
}

// carriedOut checks that what people ask is done once at most, on what it was asked of, and not forgotten.
func (c *checker) carriedOut() {
	for _, uid := range c.order {
		if hub := c.hub[uid]; hub != nil && !hub.first().Decoy {
			hub.changes(func(before, v version) { c.answered(uid, before, v) })
			if v, there := c.stateAt(hub, c.quiet.UnixNano()); !c.quiet.IsZero() && there && len(v.Asks) > 0 && !v.Deleting {
				c.find(AsksBroken, c.quiet, uid, "%s/%s still waits for a %s on %s", v.Namespace, v.Name, v.Asks[0].Kind, v.Placed)
			}
		}
		if wec := c.wec[uid]; wec != nil && !wec.first().Decoy {
			wec.changes(func(before, v version) { c.unasked(uid, wec.cluster, before, v) })
			c.noted(uid, wec)
		}
	}
	for _, a := range c.asks {
		c.once(a)
		for _, done := range a.done {
			c.based(a, done)
		}
	}
}

// once checks that an ask was done once, but for what a restore has undone.
func (c *checker) once(a *asked) {
	slices.SortFunc(a.done, func(x, y deed) int { return x.at.Compare(y.at) })
	for i := 1; i < len(a.done); i++ {
		first, second := a.done[i-1], a.done[i]
		if !c.restoredBetween(first.cluster, first.at, second.at) {
			c.find(AsksBroken, second.at, a.hubUID, "%s: one %s (%s) was done on %s at %s, and again on %s", c.name(a.hubUID), a.Kind, a.ID,
				first.cluster, first.at.Format(time.StampMilli), second.cluster)
		}
	}
}

// based checks that what was asked held when it was done: a retry is of the end that the person saw, anything else of a run, and all of the
// copy that was meant.
func (c *checker) based(a *asked, done deed) {
	before := done.before
	switch {
	case a.Kind == askRetry && before.Status != a.at.Status:
		c.find(AsksBroken, done.at, a.hubUID, "%s: a retry of %s %q (%s) was done on %s to %s %q", c.name(a.hubUID), a.at.Phase, a.at.Message, a.ID, done.cluster, before.Phase, before.Message)
	case a.Kind != askRetry && before.Completed:
		c.find(AsksBroken, done.at, a.hubUID, "%s: a %s (%s) was done on %s after the end", c.name(a.hubUID), a.Kind, a.ID, done.cluster)
	case done.cluster != Hub && a.Of != "" && a.Of != done.uid:
		c.find(AsksBroken, done.at, a.hubUID, "%s: a %s (%s) of copy %s was done on %s to copy %s", c.name(a.hubUID), a.Kind, a.ID, a.Of, done.cluster, done.uid)
	}
}

// answered checks one write to a hub copy that takes asks away: each is done, or refused with a sentence, or another person's word has
// taken its place. What was done is not said to be refused. What came with a copy of another Workflow is nobody's ask, and goes with the placement.
func (c *checker) answered(uid string, before, v version) {
	if v.Deleting || before.epoch != v.epoch || before.Placed == "" {
		return
	}
	replaced := slices.ContainsFunc(v.Asks, func(ask Ask) bool { return !slices.Contains(before.Asks, ask) })
	var taken []Ask
	for _, ask := range before.Asks {
		if !slices.Contains(v.Asks, ask) {
			taken = append(taken, ask)
		}
	}
	for _, ask := range taken {
		done, said := len(c.asks[ask.ID].done) > 0, v.Refused != "" && v.Refused != before.Refused
		switch {
		case !done && !said && !replaced:
			c.find(AsksBroken, v.at, uid, "%s: a %s (%s) was taken away, and neither done nor refused", c.name(uid), ask.Kind, ask.ID)
		case done && said && len(taken) == 1 && !strings.Contains(v.Refused, "it may have been done"):
			c.find(AsksBroken, v.at, uid, "%s: a %s (%s) was done, and is said to be refused: %s", c.name(uid), ask.Kind, ask.ID, v.Refused)
		}
	}
}

// unasked checks that a WEC copy is suspended, resumed or run again only with what was asked, or by a person there.
func (c *checker) unasked(uid, cluster string, before, v version) {
	done := v.Applied != before.Applied
	if before.UID != "" && v.Suspended != before.Suspended && !done && v.Switched == before.Switched && (v.Suspended || !v.Deleting) {
		c.find(AsksBroken, v.at, v.HubUID, "%s/%s on %s: suspended is %v now, and nobody asked for that", v.Namespace, v.Name, cluster, v.Suspended)
	}
	retried := done && c.asks[v.Applied] != nil && c.asks[v.Applied].Kind == askRetry || strings.HasPrefix(v.Message, RetriedThere)
	if before.Terminal() && !v.Completed && !retried {
		c.find(StartedTwice, v.at, v.HubUID, "%s/%s on %s (copy %s) runs again after its end, and nobody asked for that", v.Namespace, v.Name, cluster, uid)
	}
}

// noted checks that a WEC copy has the notes of its hub copy when all is quiet.
func (c *checker) noted(uid string, wec *object) {
	down, there := c.stateAt(wec, c.quiet.UnixNano())
	hub := c.hub[wec.first().HubUID]
	if c.quiet.IsZero() || !there || down.Deleting || hub == nil {
		return
	}
	if up, there := c.stateAt(hub, c.quiet.UnixNano()); there && !up.Deleting && up.WECUID == uid && up.Note != down.Note {
		c.find(AsksBroken, c.quiet, hub.first().UID, "%s: its note %q is %q on %s", c.name(hub.first().UID), up.Note, down.Note, wec.cluster)
	}
}
