package guard

import (
	"strings"
	"testing"

	"github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/ptr"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// TestDecideDedicated is the table of what spec.suspend means on a dedicated hub: what a person writes stays until the cluster has done it.
func TestDecideDedicated(t *testing.T) {
	running := func(w *v1alpha1.Workflow) { w.Spec.Suspend = nil }
	suspended := func(w *v1alpha1.Workflow) { w.Annotations[stellarflow.AnnotationSuspended] = "true" }
	suspend := func(w *v1alpha1.Workflow) { w.Spec.Suspend = ptr.To(true) }
	asked := func(kind string, value bool) func(*v1alpha1.Workflow) {
		return func(w *v1alpha1.Workflow) {
			w.Spec.Suspend = &value
			w.Annotations[stellarflow.AnnotationIntents] = `[{"id":"a","kind":"` + kind + `","caller":"bob","time":"2026-01-01T00:00:00Z","whole":` + map[bool]string{true: "true", false: "false"}[kind == "resume"] + `}]`
		}
	}
	takeBack := func(w *v1alpha1.Workflow) { delete(w.Annotations, stellarflow.AnnotationIntents) }
	succeeded := map[string]stellarflow.NodeChange{"wf-1": {Phase: "Succeeded", FinishedAt: &later, Message: "Resumed by: map[]"}}
	whole := &stellarflow.Intent{Kind: stellarflow.IntentResume, Whole: true}
	held := &stellarflow.Intent{Kind: stellarflow.IntentSuspend}
	cases := map[string]struct {
		reason      string
		old, change func(*v1alpha1.Workflow)
		refusal     string
		intent      *stellarflow.Intent // less what every intent has
		suspended   bool                // as it is stored
	}{
		"Suspend":           {"argo suspend, the server and kubectl patch", running, suspend, "", held, true},
		"SuspendTold":       {"stellarflow suspend", running, annotate(stellarflow.AnnotationRequest, stellarflow.RequestSuspend), "", held, true},
		"Resume":            {"argo resume", suspended, resumed, "", &stellarflow.Intent{Kind: stellarflow.IntentResume, Whole: true, Nodes: succeeded}, false},
		"Lift":              {"kubectl patch of spec.suspend", suspended, running, "", whole, false},
		"SuspendThenResume": {"the second command must see what the first has asked, or it would do nothing", asked("suspend", true), running, "", whole, false},
		"ResumeThenSuspend": {"likewise", func(w *v1alpha1.Workflow) { suspended(w); asked("resume", false)(w) }, suspend, "", held, true},
		"ResumeNodes":       {"it is not suspended as a whole", running, resumed, "", &stellarflow.Intent{Kind: stellarflow.IntentResume, Nodes: succeeded}, false},
		"TakeBackSuspend":   {"it is as on the cluster again", asked("suspend", true), takeBack, "", nil, false},
		"TakeBackResume":    {"likewise", func(w *v1alpha1.Workflow) { suspended(w); asked("resume", false)(w) }, takeBack, "", nil, true},
		"SuspendEnded":      {"nothing is there to suspend", func(w *v1alpha1.Workflow) { end(w); running(w) }, suspend, "it has ended, and cannot be suspended", nil, false},
		"SuspendAndMore":    {"what came with it would be lost", running, func(w *v1alpha1.Workflow) { suspend(w); w.Status.Message = "x" }, "would be overwritten", nil, false},
		"SuspendAndSpec":    {"likewise", running, func(w *v1alpha1.Workflow) { suspend(w); w.Spec.Entrypoint = "other" }, "resubmit it with the change", nil, false},
		"Retry": {
			"nothing runs here, suspended or not", func(w *v1alpha1.Workflow) { end(w); running(w) }, retry, "",
			&stellarflow.Intent{Kind: stellarflow.IntentRetry, Base: "hash", Retry: &stellarflow.RetryChange{Removed: []string{"-2"}, Reset: []string{""}, StartedAt: later}}, false,
		},
		"PlacedWhenShared": {
			"nothing says yet that it may be lifted, and the hub may be a shared one again before anything does",
			func(w *v1alpha1.Workflow) { delete(w.Annotations, stellarflow.AnnotationFollows) }, running, "", whole, true,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			old := storedCopy(t, annotate(stellarflow.AnnotationFollows, stellarflow.FollowsSuspend), tc.old)
			next := byArgo(t, old, tc.change)
			got := Decide(Write{Old: old, New: next, ID: "id", Caller: "alice", Time: later.Time, Profile: stellarflow.ProfileDedicated})
			if tc.refusal != "" || got.Refusal != "" {
				if tc.refusal == "" || !strings.Contains(got.Refusal, tc.refusal) {
					t.Errorf("%s: want %q, got %q", tc.reason, tc.refusal, got.Refusal)
				}
				return
			}
			stored := patched(t, next, got.Operations)
			if value, _ := stored.Object["spec"].(map[string]any)["suspend"].(bool); value != tc.suspended {
				t.Errorf("%s: it is stored with spec.suspend %v", tc.reason, value)
			}
			if diff := cmp.Diff(canonical(t, old.Object["status"]), canonical(t, stored.Object["status"])); diff != "" {
				t.Errorf("the stored status: -want +got:\n%s", diff)
			}
			intents, err := stellarflow.IntentsOf(stored)
			if err != nil {
				t.Fatal(err)
			}
			var want []stellarflow.Intent
			if tc.intent != nil {
				one := *tc.intent
				one.ID, one.Caller, one.Time, one.WECUID = "id", "alice", later.Time, "w"
				want = []stellarflow.Intent{one}
			}
			if diff := cmp.Diff(want, intents); diff != "" {
				t.Errorf("%s: -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}

// kubectl replace writes a manifest without a status.
func TestDecideSuspendsByAPut(t *testing.T) {
	old := storedCopy(t, annotate(stellarflow.AnnotationFollows, stellarflow.FollowsSuspend), func(w *v1alpha1.Workflow) { w.Spec.Suspend = nil })
	next := byArgo(t, old, func(w *v1alpha1.Workflow) { w.Spec.Suspend = ptr.To(true) })
	delete(next.Object, "status")
	got := Decide(Write{Old: old, New: next, ID: "id", Caller: "alice", Time: later.Time, Profile: stellarflow.ProfileDedicated})
	if got.Refusal != "" || got.Kind != stellarflow.IntentSuspend {
		t.Fatalf("got %+v", got)
	}
	checkStored(t, old, next, patched(t, next, got.Operations), false)
}
