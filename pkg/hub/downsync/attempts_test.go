package downsync

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/artifact"
)

// start is when the process of these tests began to lead.
var start = time.Date(2026, 3, 4, 5, 6, 7, 500_000_000, time.UTC)

func placedAt(at time.Time, wecUID types.UID) stellarflow.Placement {
	return stellarflow.Placement{UID: "hub-1", Time: at, WECUID: wecUID}
}

func TestAttempts(t *testing.T) {
	later := start.Add(time.Minute)
	cases := map[string]struct {
		reason    string
		history   func(*Attempts)
		placement stellarflow.Placement
		now       time.Time
		pending   time.Duration
		certain   bool
	}{
		"Own":             {"placed by this process, which knows of no create that got lost", func(*Attempts) {}, placedAt(start.Add(time.Second), ""), later, 0, true},
		"OwnAtTheStart":   {"at the very moment", func(*Attempts) {}, placedAt(start, ""), later, 0, true},
		"SameSecond":      {"records hold whole seconds: in doubt it is an older one", func(*Attempts) {}, placedAt(start.Truncate(time.Second), ""), start, Settle, false},
		"Older":           {"the process before may have been cut off", func(*Attempts) {}, placedAt(start.Add(-time.Hour), ""), later, 30 * time.Second, false},
		"OlderSettled":    {"no request lives that long", func(*Attempts) {}, placedAt(start.Add(-time.Hour), ""), start.Add(Settle), 0, false},
		"OlderKnown":      {"its copy is known: nothing else can arrive", func(*Attempts) {}, placedAt(start.Add(-time.Hour), "wec-1"), start, 0, false},
		"Ambiguous":       {"a create without an answer", func(a *Attempts) { a.Ambiguous("hub-1", later) }, placedAt(start.Add(time.Second), ""), later.Add(20 * time.Second), 70 * time.Second, false},
		"AmbiguousTwice":  {"the last one counts", func(a *Attempts) { a.Ambiguous("hub-1", start); a.Ambiguous("hub-1", later) }, placedAt(start.Add(time.Second), ""), later, Settle, false},
		"AmbiguousLong":   {"it arrived or never will; yet a refusal is not certain", func(a *Attempts) { a.Ambiguous("hub-1", start) }, placedAt(start.Add(time.Second), ""), start.Add(Settle), 0, false},
		"AmbiguousKnown":  {"a second request may follow the first", func(a *Attempts) { a.Ambiguous("hub-1", start) }, placedAt(start.Add(time.Second), "wec-1"), start, Settle, false},
		"AmbiguousOther":  {"another Workflow's", func(a *Attempts) { a.Ambiguous("hub-2", start) }, placedAt(start.Add(time.Second), ""), start, 0, true},
		"Forgotten":       {"the copy was found", func(a *Attempts) { a.Ambiguous("hub-1", start); a.Forget("hub-1") }, placedAt(start.Add(time.Second), ""), start, 0, true},
		"LedLater":        {"a standby starts long before it leads: the placement is its predecessor's", func(a *Attempts) { a.Begin(later) }, placedAt(start.Add(time.Second), ""), later, Settle, false},
		"LedLaterSettled": {"until no request of the predecessor's lives", func(a *Attempts) { a.Begin(later) }, placedAt(start.Add(time.Second), ""), later.Add(Settle), 0, false},
		"LedLaterOwn":     {"what it places itself is its own", func(a *Attempts) { a.Begin(later) }, placedAt(later.Add(time.Second), ""), later, 0, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			a := NewAttempts(start, Settle)
			tc.history(a)
			if got := a.Pending(tc.placement, tc.now); got != tc.pending {
				t.Errorf("%s: Pending() = %s, want %s", tc.reason, got, tc.pending)
			}
			if got := a.Certain(tc.placement); got != tc.certain {
				t.Errorf("%s: Certain() = %v, want %v", tc.reason, got, tc.certain)
			}
		})
	}
}

func TestReadyNamespaces(t *testing.T) {
	var n namespaces
	if n.isReady("a", start) {
		t.Error("the zero value knows a namespace")
	}
	n.markReady("a", start)
	for age, want := range map[time.Duration]bool{0: true, preparedFor - 1: true, preparedFor: false} {
		if got := n.isReady("a", start.Add(age)); got != want || n.isReady("b", start) {
			t.Errorf("after %s it is ready: %v, want %v", age, got, want)
		}
	}
	n.forget()
	if n.isReady("a", start) {
		t.Error("after a refusal it is not looked at again")
	}
}

// TestPrepareWithoutRequests: these answers need no API server; a nil client would panic.
func TestPrepareWithoutRequests(t *testing.T) {
	store := &artifact.Store{}
	for _, name := range []string{"kube-system", "kube-public", "kube-"} {
		var n namespaces
		err := n.prepare(t.Context(), preparation{namespace: name, accounts: []string{"default"}, store: store}, start)
		var refusal *Refusal
		want := fmt.Sprintf("namespace %q is never used on a WEC: create the Workflow in another namespace", name)
		if !errors.As(err, &refusal) || refusal.Reason != ReasonNamespaceRefused || refusal.Message != want {
			t.Errorf("%s: %v", name, err)
		}
		if len(n.ready) > 0 {
			t.Errorf("%s counts as ready", name)
		}
	}
	var n namespaces
	n.markReady("id-1/argo/default,executor", start)
	p := preparation{target: Target{ID: "id-1"}, namespace: "argo", accounts: []string{"default", "executor"}, store: store}
	if err := n.prepare(t.Context(), p, start); err != nil {
		t.Errorf("a namespace that is ready: %v", err)
	}
	if err := n.prepareHub(t.Context(), nil, "argo", nil, start); err != nil {
		t.Errorf("without a store: %v", err)
	}
	n.markReady("hub/argo", start)
	if err := n.prepareHub(t.Context(), nil, "argo", store, start); err != nil {
		t.Errorf("a namespace of the hub that is ready: %v", err)
	}
}
