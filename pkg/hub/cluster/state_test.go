package cluster

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/wec"
)

func TestSame(t *testing.T) {
	base := State{
		Name: "cluster1", Connected: true, Since: start, Reason: "R", Message: "m", Tried: true, Orphans: []string{"argo/w"},
		Facts: wec.Facts{ID: "id-1", Version: "v1.34.4", Skew: time.Second},
	}
	cases := map[string]struct {
		reason string
		change func(*State)
		same   bool
	}{
		"Nothing":   {"nothing changed", func(*State) {}, true},
		"Skew":      {"the clock wanders: no reason to write", func(s *State) { s.Facts.Skew = 2 * time.Second }, true},
		"Since":     {"it follows from the rest", func(s *State) { s.Since = start.Add(time.Hour) }, true},
		"Connected": {"it went away", func(s *State) { s.Connected = false }, false},
		"Reason":    {"another reason", func(s *State) { s.Reason = "S" }, false},
		"Message":   {"another sentence", func(s *State) { s.Message = "n" }, false},
		"Tried":     {"the first probe ended", func(s *State) { s.Tried = false }, false},
		"Lease":     {"somebody else may have acted meanwhile", func(s *State) { s.LeaseSince = start }, false},
		"ID":        {"another cluster", func(s *State) { s.Facts.ID = "id-2" }, false},
		"Version":   {"an upgrade", func(s *State) { s.Facts.Version = "v1.35.0" }, false},
		"Crowded":   {"it has more than is listed", func(s *State) { s.Crowded = "configmaps" }, false},
		"Unwatched": {"its pods are not shown", func(s *State) { s.Unwatched = "forbidden" }, false},
		"Orphans":   {"one more", func(s *State) { s.Orphans = []string{"argo/v", "argo/w"} }, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			other := base
			tc.change(&other)
			if base.same(other) != tc.same || other.same(base) != tc.same {
				t.Errorf("%s: same() = %v", tc.reason, base.same(other))
			}
		})
	}
}

func TestHealthy(t *testing.T) {
	for want, states := range map[bool][]State{
		true:  {{Connected: true}},
		false: {{}, {Reason: wec.ReasonUnreachable}, {Connected: true, Reason: wec.ReasonClockSkew}},
	} {
		for _, state := range states {
			if state.Healthy() != want {
				t.Errorf("%+v: Healthy() = %v", state, !want)
			}
		}
	}
}

func TestOrphanText(t *testing.T) {
	var many []string
	for i := range 12 {
		many = append(many, fmt.Sprintf("argo/w%02d", i))
	}
	const tail = "): see `stellarflow orphans list`"
	for want, orphans := range map[string][]string{
		"": nil,
		"; 1 unfinished Workflows of this hub are there that the hub does not know (argo/w00" + tail:                          many[:1],
		"; 10 unfinished Workflows of this hub are there that the hub does not know (" + strings.Join(many[:10], ", ") + tail: many[:10],
		"; 12 unfinished Workflows of this hub are there that the hub does not know (" + strings.Join(many[:10], ", ") + tail: many,
	} {
		if diff := cmp.Diff(want, orphanText(orphans)); diff != "" {
			t.Errorf("%d orphans, -want +got:\n%s", len(orphans), diff)
		}
	}
}

// newConnection is a connection that is not running.
func newConnection(state State) (*Connection, *[]State) {
	var told []State
	c := &Connection{
		Name: "cluster1", now: func() time.Time { return start.Add(time.Hour) }, log: logr.Discard(), handler: noWork{}, orphans: map[types.NamespacedName]bool{},
		changed: func(s State) { told = append(told, s) },
	}
	c.state.Store(&state)
	return c, &told
}

func TestPublish(t *testing.T) {
	connected := State{Name: "cluster1", Connected: true, Since: start, Tried: true, Orphans: []string{}}
	c, told := newConnection(connected)
	publish := func(next State) {
		c.publishMu.Lock()
		defer c.publishMu.Unlock()
		c.publishLocked(t.Context(), next)
	}
	publish(State{Name: "cluster1", Connected: true, Tried: true})
	if len(*told) != 0 {
		t.Errorf("nothing changed, yet it is told: %+v", *told)
	}
	publish(State{Name: "cluster1", Tried: true, Reason: "R", Message: "m"})
	away := State{Name: "cluster1", Since: start.Add(time.Hour), Tried: true, Reason: "R", Message: "m", Orphans: []string{}}
	if diff := cmp.Diff([]State{away}, *told); diff != "" || !c.State().same(away) {
		t.Errorf("it went away now, -want +got:\n%s", diff)
	}
	publish(State{Name: "cluster1", Tried: true, Reason: "R", Message: "n"})
	if got := c.State(); !got.Since.Equal(start.Add(time.Hour)) || got.Message != "n" {
		t.Errorf("another message does not change since when: %+v", got)
	}
}

func TestSetOrphan(t *testing.T) {
	c, told := newConnection(State{Name: "cluster1", Since: start, Tried: true, Reason: "R"})
	a, b := types.NamespacedName{Namespace: "argo", Name: "a"}, types.NamespacedName{Namespace: "argo", Name: "b"}
	for _, step := range []struct {
		what   string
		key    types.NamespacedName
		orphan bool
		want   []string
		tells  bool
	}{
		{"not one", a, false, nil, false},
		{"the second by name", b, true, []string{"argo/b"}, true},
		{"the first by name", a, true, []string{"argo/a", "argo/b"}, true},
		{"again", a, true, []string{"argo/a", "argo/b"}, false},
		{"gone", b, false, []string{"argo/a"}, true},
		{"again", b, false, []string{"argo/a"}, false},
	} {
		before := len(*told)
		c.SetOrphan(t.Context(), step.key, step.orphan)
		if (len(*told) > before) != step.tells {
			t.Errorf("%s: it is told %v, want %v", step.what, len(*told) > before, step.tells)
		}
		if got := c.State(); len(got.Orphans)+len(step.want) > 0 && !cmp.Equal(got.Orphans, step.want) {
			t.Errorf("%s: the orphans are %v, want %v", step.what, got.Orphans, step.want)
		}
	}
	if got := c.State(); got.Connected || got.Reason != "R" {
		t.Errorf("an orphan changed the connection: %+v", got)
	}
}

// TestCrowded: that there is more on a WEC than is listed is said once, and taken back.
func TestCrowded(t *testing.T) {
	c, told := newConnection(State{Connected: true})
	for _, step := range []struct {
		kinds, text string
		tells       bool
	}{
		{"", "", false},
		{"configmaps", "; more configmaps are there that this hub has copied than it lists: the others are removed when there are fewer: delete Workflows that have ended", true},
		{"configmaps", "; more configmaps are there that this hub has copied than it lists: the others are removed when there are fewer: delete Workflows that have ended", false},
		{"", "", true},
	} {
		before := len(*told)
		c.SetCrowded(t.Context(), step.kinds)
		if got := crowdedText(c.State().Crowded); got != step.text || (len(*told) > before) != step.tells || !c.State().Connected {
			t.Errorf("%q: it says %q, told: %v", step.kinds, got, len(*told) > before)
		}
	}
}

// TestUnwatched: why the pods of a WEC are not watched is said once, and taken back.
func TestUnwatched(t *testing.T) {
	c, told := newConnection(State{Connected: true})
	for _, step := range []struct {
		why, text string
		tells     bool
	}{
		{"", "", false},
		{"WHY", "; its pods are not shown on the hub, or not as they are now: WHY", true},
		{"WHY", "; its pods are not shown on the hub, or not as they are now: WHY", false},
		{"", "", true},
	} {
		before := len(*told)
		c.SetUnwatched(t.Context(), step.why)
		if got := unwatchedText(c.State().Unwatched); got != step.text || (len(*told) > before) != step.tells || !c.State().Connected {
			t.Errorf("%q: it says %q, told: %v", step.why, got, len(*told) > before)
		}
	}
}

func TestBelieves(t *testing.T) {
	c, _ := newConnection(State{})
	c.now = func() time.Time { return start }
	key := types.NamespacedName{Namespace: "argo", Name: "w"}
	if c.Believes(key) || c.WECCopy(key) != nil || c.ByHubUID("u") != nil {
		t.Error("nothing was written and nothing is watched")
	}
	c.Recent.Put(&metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: "argo", Name: "w", ResourceVersion: "7"}}, start)
	if !c.Believes(key) || c.WECCopy(key) == nil {
		t.Error("what was just created counts although no watch shows it")
	}
	c.now = func() time.Time { return start.Add(time.Minute) }
	if c.Believes(key) {
		t.Error("it is believed in for ever")
	}
}
