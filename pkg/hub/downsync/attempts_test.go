package downsync

import (
	"errors"
	"fmt"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/artifact"
	"stellarflow.io/stellarflow/pkg/wec"
)

// start is when the process of these tests took the Lease.
var start = time.Date(2026, 3, 4, 5, 6, 7, 500_000_000, time.UTC)

func TestAttempts(t *testing.T) {
	placed := stellarflow.Placement{UID: "hub-1", Attempt: 2}
	known, before, other := placed, placed, placed
	known.WECUID, before.Attempt, other.UID = "wec-1", 1, "hub-2"
	settled := start.Add(Settle)
	later := settled.Add(time.Minute)
	cases := map[string]struct {
		reason    string
		history   func(*Attempts)
		placement stellarflow.Placement
		since     time.Time
		now       time.Time
		pending   time.Duration
		certain   bool
	}{
		"JustTaken":      {"whoever held it before may have sent something at the last moment", func(*Attempts) {}, placed, start, start, Settle, false},
		"Settling":       {"and no request lives longer than that", func(*Attempts) {}, placed, start, start.Add(time.Minute), 30 * time.Second, false},
		"Settled":        {"nothing of an earlier holder is under way", func(*Attempts) {}, placed, start, settled, 0, true},
		"NotHeld":        {"another one may be sending right now", func(*Attempts) {}, placed, time.Time{}, later, Settle, false},
		"Known":          {"its copy was seen: nobody creates it again", func(*Attempts) {}, known, start, start, 0, true},
		"KnownNotHeld":   {"whoever acts", func(*Attempts) {}, known, time.Time{}, start, 0, true},
		"Ambiguous":      {"a create without an answer", func(a *Attempts) { a.Ambiguous(placed, later) }, placed, start, later.Add(20 * time.Second), 70 * time.Second, false},
		"AmbiguousTwice": {"the last one counts", func(a *Attempts) { a.Ambiguous(placed, settled); a.Ambiguous(placed, later) }, placed, start, later, Settle, false},
		"AmbiguousLong":  {"it arrived or never will; yet a refusal is not certain", func(a *Attempts) { a.Ambiguous(placed, settled) }, placed, start, settled.Add(Settle), 0, false},
		"AmbiguousKnown": {"a second request may follow the first", func(a *Attempts) { a.Ambiguous(placed, later) }, known, start, later, Settle, false},
		"AmbiguousTaken": {"the later of both counts", func(a *Attempts) { a.Ambiguous(placed, start) }, placed, start.Add(time.Minute), start.Add(time.Minute), Settle, false},
		"AmbiguousOther": {"another Workflow's", func(a *Attempts) { a.Ambiguous(other, later) }, placed, start, later, 0, true},
		"AmbiguousBefore": {
			"an earlier attempt's: it was replaced after its time to settle, or never sent here", func(a *Attempts) { a.Ambiguous(before, later) }, placed, start, later, 0, true,
		},
		"Recorded":          {"whoever held the Lease before could not know of it", func(a *Attempts) { a.Recorded(placed, start) }, placed, start, start, 0, true},
		"RecordedBefore":    {"another one may have held the Lease since", func(a *Attempts) { a.Recorded(placed, start.Add(-1)) }, placed, start, start, Settle, false},
		"RecordedOther":     {"an earlier attempt", func(a *Attempts) { a.Recorded(before, start) }, placed, start, start, Settle, false},
		"RecordedNotHeld":   {"another one may have read it", func(a *Attempts) { a.Recorded(placed, start) }, placed, time.Time{}, later, Settle, false},
		"RecordedAmbiguous": {"our own create may arrive", func(a *Attempts) { a.Recorded(placed, start); a.Ambiguous(placed, start) }, placed, start, start, Settle, false},
		"RecordedForgotten": {"nothing is remembered", func(a *Attempts) { a.Recorded(placed, start); a.Forget("hub-1") }, placed, start, start, Settle, false},
		"Forgotten":         {"the copy was found", func(a *Attempts) { a.Ambiguous(placed, later); a.Forget("hub-1") }, placed, start, later, 0, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			a := NewAttempts(Settle)
			tc.history(a)
			if got := a.Pending(tc.placement, tc.since, tc.now); got != tc.pending {
				t.Errorf("%s: Pending() = %s, want %s", tc.reason, got, tc.pending)
			}
			if got := a.Certain(tc.placement, tc.since, tc.now); got != tc.certain {
				t.Errorf("%s: Certain() = %v, want %v", tc.reason, got, tc.certain)
			}
		})
	}
}

func TestIsAmbiguous(t *testing.T) {
	resource := stellarflow.Workflows.GroupResource()
	for name, tc := range map[string]struct {
		reason string
		err    error
		want   bool
	}{
		"NotHeld":      {"it was never sent", fmt.Errorf("Post: %w", wec.ErrNotHeld), false},
		"TooMany":      {"turned away unread", apierrors.NewTooManyRequests("busy", 1), false},
		"Unauthorized": {"turned away unread", apierrors.NewUnauthorized("who"), false},
		"Timeout":      {"the server may go on", apierrors.NewTimeoutError("slow", 1), true},
		"Internal":     {"anything", apierrors.NewInternalError(errors.New("x")), true},
		"Gateway":      {"something in between", apierrors.NewGenericServerResponse(502, "POST", resource, "w", "", 0, true), true},
		"Cut":          {"no answer", errors.New("EOF"), true},
	} {
		if got := isAmbiguous(tc.err); got != tc.want {
			t.Errorf("%s: %s: %v", name, tc.reason, got)
		}
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
	n.markReady("id-1/argo/default,executor/store", start)
	p := preparation{target: Target{ID: "id-1"}, namespace: "argo", accounts: []string{"default", "executor"}, store: store}
	if err := n.prepare(t.Context(), p, start); err != nil {
		t.Errorf("a namespace that is ready: %v", err)
	}
	if err := n.prepareHub(t.Context(), nil, preparation{namespace: "argo"}, start); err != nil {
		t.Errorf("without a store: %v", err)
	}
	n.markReady("hub/argo", start)
	if err := n.prepareHub(t.Context(), nil, preparation{namespace: "argo", store: store}, start); err != nil {
		t.Errorf("a namespace of the hub that is ready: %v", err)
	}
}
