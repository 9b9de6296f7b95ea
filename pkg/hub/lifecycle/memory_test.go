package lifecycle

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/hub/cleanup"
	"stellarflow.io/stellarflow/pkg/hub/downsync"
)

func TestRecall(t *testing.T) {
	known := memory{attempt: 2, seen: "wec-0", createdAt: now, settled: "x"}
	for name, test := range map[string]struct {
		reason string
		known  memory
		view   View
		want   memory
	}{
		"nothing":     {"a Workflow that this process never saw", memory{}, newView(noWEC, unknown), memory{attempt: 2}},
		"known":       {"what was created", known, newView(noWEC, unknown), known},
		"appears":     {"a copy that the watch shows", memory{}, newView(unknown), memory{attempt: 2, seen: "wec-1"}},
		"recorded":    {"the record knows it: nothing to remember", memory{}, newView(), memory{attempt: 2}},
		"not ours":    {"another's copy is not this one's", memory{}, newView(unknown, foreignUID), memory{attempt: 2}},
		"old attempt": {"what was seen of another attempt says nothing", memory{attempt: 1, seen: "wec-0", settled: "x"}, newView(noWEC, unknown), memory{attempt: 2}},
		"not placed":  {"no record, no memory", known, newView(notPlaced), memory{}},
	} {
		t.Run(name, func(t *testing.T) {
			var s Syncer
			if test.known != (memory{}) {
				s.memory.Store(types.UID("hub-1"), test.known)
			}
			view := test.view
			s.recall(t.Context(), &view)
			if view.Seen != test.want.seen || !view.CreatedAt.Equal(test.want.createdAt) || view.Settled != test.want.settled {
				t.Errorf("%s: seen %q, created %v, settled %q", test.reason, view.Seen, view.CreatedAt, view.Settled)
			}
			view.WEC, view.Seen = nil, ""
			s.recall(t.Context(), &view)
			if view.Seen != test.want.seen {
				t.Errorf("%s: later it remembers %q", test.reason, view.Seen)
			}
		})
	}
}

// TestForget is the bound of the memory: it holds nothing of a hub copy that is gone.
func TestForget(t *testing.T) {
	s := Syncer{
		Gone:    cleanup.NewGone(func() time.Time { return now }, time.Second),
		Creator: &downsync.Creator{Attempts: downsync.NewAttempts(time.Minute)},
	}
	entries := func() (n int) {
		s.memory.Range(func(any, any) bool { n++; return true })
		return n
	}
	for i := range 1000 {
		view := newView(unknown, func(c *copies) {
			c.hub.UID = types.UID(rune('a' + i))
			c.placement.UID = c.hub.UID
			c.wec.Annotations["stellarflow.io/hub-uid"] = string(c.hub.UID)
			if i%2 == 0 {
				givenUp(c)
			}
		})
		if i%2 == 0 {
			s.memory.Store(view.Hub.UID, memory{attempt: 2})
		}
		s.recall(t.Context(), &view)
		if entries() != 1 {
			t.Fatalf("%d Workflows are remembered", entries())
		}
		s.Forget(view.Hub)
	}
	if n := entries(); n != 0 {
		t.Errorf("%d Workflows that are gone are remembered", n)
	}
}
