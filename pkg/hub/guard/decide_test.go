package guard

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy/hubcopytest"
	"stellarflow.io/stellarflow/pkg/hub/upsync"
)

var (
	began = metav1.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	later = metav1.Date(2026, 1, 1, 0, 5, 0, 0, time.UTC)
)

// storedCopy is a placed Workflow as it is stored, with a step that waits for a person and one that runs.
func storedCopy(t *testing.T, change ...func(*v1alpha1.Workflow)) *unstructured.Unstructured {
	t.Helper()
	yes := true
	placement := stellarflow.Placement{UID: "h", Policy: "p", Cluster: "cluster1", ClusterID: "c", Attempt: 2, Time: began.Time, WECUID: "w"}
	workflow := &v1alpha1.Workflow{
		TypeMeta: metav1.TypeMeta{APIVersion: "argoproj.io/v1alpha1", Kind: "Workflow"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "ns", Name: "wf", UID: "h", Labels: map[string]string{stellarflow.LabelCluster: "cluster1", stellarflow.ArgoLabelPhase: "Running"},
			Annotations: map[string]string{
				stellarflow.AnnotationPlacement: placement.String(),
				stellarflow.AnnotationObserved:  stellarflow.Observed{WECUID: "w", ResourceVersion: "7", Generation: 3, Hash: "hash"}.String(),
			},
		},
		Spec: v1alpha1.WorkflowSpec{Suspend: &yes, Entrypoint: "main", TTLStrategy: &v1alpha1.TTLStrategy{}},
		Status: v1alpha1.WorkflowStatus{Phase: v1alpha1.WorkflowRunning, StartedAt: began, Nodes: v1alpha1.Nodes{
			"wf": {ID: "wf", Name: "wf", Type: v1alpha1.NodeTypeSteps, Phase: v1alpha1.NodeRunning, StartedAt: began, Children: []string{"wf-1", "wf-2"}},
			"wf-1": {ID: "wf-1", Name: "wf[0].ask", Type: v1alpha1.NodeTypeSuspend, Phase: v1alpha1.NodeRunning, StartedAt: began, Outputs: &v1alpha1.Outputs{Parameters: []v1alpha1.Parameter{
				{Name: "answer", ValueFrom: &v1alpha1.ValueFrom{Supplied: &v1alpha1.SuppliedValueFrom{}}},
			}}},
			"wf-2": {ID: "wf-2", Name: "wf[0].work", Type: v1alpha1.NodeTypePod, Phase: v1alpha1.NodeRunning, StartedAt: began},
		}},
	}
	for _, f := range change {
		f(workflow)
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(workflow)
	if err != nil {
		t.Fatal(err)
	}
	content["spec"].(map[string]any)["templates"] = []any{map[string]any{"name": "main", "container": map[string]any{"image": "busybox"}}} // as a person writes it
	delete(content["spec"].(map[string]any), "arguments")
	content["status"].(map[string]any)["notArgos"] = "what the programs of Argo do not know is lost in their writes"
	return &unstructured.Unstructured{Object: content}
}

// byArgo returns a Workflow as Argo's programs write it back.
func byArgo(t *testing.T, old *unstructured.Unstructured, change func(*v1alpha1.Workflow)) *unstructured.Unstructured {
	t.Helper()
	var workflow v1alpha1.Workflow
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(old.DeepCopy().Object, &workflow); err != nil {
		t.Fatal(err)
	}
	change(&workflow)
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&workflow)
	if err != nil {
		t.Fatal(err)
	}
	return &unstructured.Unstructured{Object: content}
}

func node(id string, change func(*v1alpha1.NodeStatus)) func(*v1alpha1.Workflow) {
	return func(w *v1alpha1.Workflow) {
		n := w.Status.Nodes[id]
		change(&n)
		w.Status.Nodes[id] = n
	}
}

func end(w *v1alpha1.Workflow) {
	w.Labels[stellarflow.ArgoLabelPhase], w.Labels[stellarflow.ArgoLabelCompleted] = "Failed", "true"
	w.Status.Phase, w.Status.FinishedAt, w.Status.Message = v1alpha1.WorkflowFailed, later, "child failed"
	for id, phase := range map[string]v1alpha1.NodePhase{"wf": v1alpha1.NodeFailed, "wf-1": v1alpha1.NodeSucceeded, "wf-2": v1alpha1.NodeFailed} {
		node(id, func(n *v1alpha1.NodeStatus) { n.Phase, n.FinishedAt = phase, later })(w)
	}
}

func retry(w *v1alpha1.Workflow) {
	delete(w.Labels, stellarflow.ArgoLabelCompleted)
	w.Labels[stellarflow.ArgoLabelPhase] = "Running"
	w.Status.Phase, w.Status.Message, w.Status.StartedAt, w.Status.FinishedAt = v1alpha1.WorkflowRunning, "", later, metav1.Time{}
	w.Status.Conditions.UpsertCondition(v1alpha1.Condition{Status: metav1.ConditionFalse, Type: v1alpha1.ConditionTypeCompleted})
	delete(w.Status.Nodes, "wf-2")
	node("wf", func(n *v1alpha1.NodeStatus) {
		n.Phase, n.StartedAt, n.FinishedAt, n.Children = v1alpha1.NodeRunning, later, metav1.Time{}, []string{"wf-1"}
	})(w)
}

func resumed(w *v1alpha1.Workflow) {
	w.Spec.Suspend = nil
	node("wf-1", func(n *v1alpha1.NodeStatus) {
		n.Phase, n.Message, n.FinishedAt = v1alpha1.NodeSucceeded, "Resumed by: map[]", later
	})(w)
}

func answered(w *v1alpha1.Workflow) {
	node("wf-1", func(n *v1alpha1.NodeStatus) {
		n.Outputs = &v1alpha1.Outputs{Parameters: []v1alpha1.Parameter{{Name: "answer", Value: v1alpha1.AnyStringPtr("yes")}}}
	})(w)
	w.Status.Outputs = &v1alpha1.Outputs{Parameters: []v1alpha1.Parameter{{Name: "final", Value: v1alpha1.AnyStringPtr("yes")}}}
}

func annotate(key, value string) func(*v1alpha1.Workflow) {
	return func(w *v1alpha1.Workflow) { w.Annotations[key] = value }
}

// TestDecide is the table of what people may write to a placed Workflow.
func TestDecide(t *testing.T) {
	none := func(*v1alpha1.Workflow) {}
	succeeded := map[string]stellarflow.NodeChange{"wf-1": {Phase: "Succeeded", FinishedAt: &later, Message: "Resumed by: map[]"}}
	cases := map[string]struct {
		reason      string
		old, change func(*v1alpha1.Workflow)
		refusal     string
		intent      *stellarflow.Intent // less what every intent has
		keeps       bool                // the new status is stored
	}{
		"Nothing":  {"Argo's programs write it in other words", none, none, "", nil, false},
		"Label":    {"harmless", none, func(w *v1alpha1.Workflow) { w.Labels["team"] = "green" }, "", nil, false},
		"TTL":      {"this hub itself goes by it", none, func(w *v1alpha1.Workflow) { w.Spec.TTLStrategy = nil }, "", nil, false},
		"Shutdown": {"passed on as it stands", none, func(w *v1alpha1.Workflow) { w.Spec.Shutdown = v1alpha1.ShutdownStrategyStop }, "", nil, false},
		"NotPlaced": {
			"the record was copied", func(w *v1alpha1.Workflow) { w.UID = "other" }, func(w *v1alpha1.Workflow) { w.Spec.Suspend = nil; w.Status.Phase = v1alpha1.WorkflowError }, "", nil, true,
		},
		"Abandoned": {"nobody mirrors it any more", annotate(stellarflow.AnnotationAbandoned, "2026-01-01T00:00:00Z"), func(w *v1alpha1.Workflow) { w.Status.Phase = v1alpha1.WorkflowError }, "", nil, true},
		"Resume":    {"argo resume", none, resumed, "", &stellarflow.Intent{Kind: stellarflow.IntentResume, Whole: true, Nodes: succeeded}, false},
		"Lift":      {"kubectl patch of spec.suspend", none, func(w *v1alpha1.Workflow) { w.Spec.Suspend = nil }, "", &stellarflow.Intent{Kind: stellarflow.IntentResume, Whole: true}, false},
		"ResumeNode": {
			"argo resume --node-field-selector", none, func(w *v1alpha1.Workflow) { resumed(w); yes := true; w.Spec.Suspend = &yes }, "",
			&stellarflow.Intent{Kind: stellarflow.IntentResume, Nodes: succeeded}, false,
		},
		"StopNode": {
			"argo stop --node-field-selector", none, node("wf-1", func(n *v1alpha1.NodeStatus) { n.Phase, n.Message, n.FinishedAt = v1alpha1.NodeFailed, "no", later }), "",
			&stellarflow.Intent{Kind: stellarflow.IntentSet, Nodes: map[string]stellarflow.NodeChange{"wf-1": {Phase: "Failed", FinishedAt: &later, Message: "no"}}}, false,
		},
		"SetOutputs": {
			"argo node set; the next call asks whether they are set", none, answered, "",
			&stellarflow.Intent{Kind: stellarflow.IntentSet, Nodes: map[string]stellarflow.NodeChange{"wf-1": {Outputs: map[string]string{"answer": "yes"}}}, Outputs: map[string]string{"final": "yes"}}, true,
		},
		"Suspend": {"stellarflow suspend", none, annotate(stellarflow.AnnotationRequest, stellarflow.RequestSuspend), "", &stellarflow.Intent{Kind: stellarflow.IntentSuspend}, false},
		"Retry": {"argo retry", end, retry, "", &stellarflow.Intent{
			Kind: stellarflow.IntentRetry, Base: "hash", Retry: &stellarflow.RetryChange{Removed: []string{"-2"}, Reset: []string{""}, StartedAt: later},
		}, false},
		"RetryOfOnePod": {
			"all that it had is gone, and Argo writes no nodes at all", func(w *v1alpha1.Workflow) {
				end(w)
				w.Status.Nodes = v1alpha1.Nodes{"wf": {ID: "wf", Name: "wf", Type: v1alpha1.NodeTypePod, Phase: v1alpha1.NodeFailed, StartedAt: began, FinishedAt: later}}
			}, func(w *v1alpha1.Workflow) { retry(w); w.Status.Nodes = v1alpha1.Nodes{} }, "",
			&stellarflow.Intent{Kind: stellarflow.IntentRetry, Base: "hash", Retry: &stellarflow.RetryChange{Removed: []string{""}, StartedAt: later}}, false,
		},
		"RetryWithParameters": {
			"argo retry -p", end,
			func(w *v1alpha1.Workflow) {
				retry(w)
				w.Spec.Arguments.Parameters = []v1alpha1.Parameter{{Name: "p", Value: v1alpha1.AnyStringPtr("2")}}
			}, "",
			&stellarflow.Intent{Kind: stellarflow.IntentRetry, Base: "hash", Retry: &stellarflow.RetryChange{
				Removed: []string{"-2"}, Reset: []string{""}, StartedAt: later, Arguments: json.RawMessage(`{"parameters":[{"name":"p","value":"2"}]}`),
			}}, false,
		},
		"ASecondOne": {
			"the last of two wins", func(w *v1alpha1.Workflow) {
				w.Annotations[stellarflow.AnnotationIntents] = `[{"id":"a","kind":"suspend","caller":"bob","time":"2026-01-01T00:00:00Z"}]`
			}, func(w *v1alpha1.Workflow) { w.Spec.Suspend = nil }, "", &stellarflow.Intent{Kind: stellarflow.IntentResume, Whole: true}, false,
		},
		"TakenBack": {"a person does not want it any more", annotate(stellarflow.AnnotationIntents, "[]"), func(w *v1alpha1.Workflow) { delete(w.Annotations, stellarflow.AnnotationIntents) }, "", nil, false},
		"Stale": {"the API server answers Conflict, and Argo's programs try again", func(w *v1alpha1.Workflow) { w.ResourceVersion = "8" }, func(w *v1alpha1.Workflow) {
			w.ResourceVersion = "7"
			annotate(stellarflow.AnnotationIntents, "[]")(w)
		}, "", nil, true},
		"NotStale": {"to the API server 08 is 8", func(w *v1alpha1.Workflow) { w.ResourceVersion = "8" }, func(w *v1alpha1.Workflow) {
			w.ResourceVersion = "08"
			annotate(stellarflow.AnnotationIntents, "[]")(w)
		}, "is written by admission only", nil, false},
		"Forged":  {"only admission knows who asks", none, annotate(stellarflow.AnnotationIntents, "[]"), "is written by admission only", nil, false},
		"Phase":   {"the next mirror write would take it back", none, func(w *v1alpha1.Workflow) { w.Status.Phase = v1alpha1.WorkflowSucceeded }, "would be overwritten", nil, false},
		"PodNode": {"no action of Argo's ends a pod's node", none, node("wf-2", func(n *v1alpha1.NodeStatus) { n.Phase = v1alpha1.NodeSucceeded }), `node "wf-2" is not suspended`, nil, false},
		"NodeAndMore": {
			"a resume that changes what none does", none,
			func(w *v1alpha1.Workflow) {
				resumed(w)
				node("wf-1", func(n *v1alpha1.NodeStatus) { n.TemplateName = "other" })(w)
			}, "would be overwritten", nil, false,
		},
		"OutputsAlone": {"no action sets those of the Workflow and of no node", none, func(w *v1alpha1.Workflow) {
			w.Status.Outputs = &v1alpha1.Outputs{Parameters: []v1alpha1.Parameter{{Name: "x", Value: v1alpha1.AnyStringPtr("y")}}}
		}, "would be overwritten", nil, false},
		"SuspendAndMore": {"what came with the request is not stored", none, func(w *v1alpha1.Workflow) {
			annotate(stellarflow.AnnotationRequest, stellarflow.RequestSuspend)(w)
			w.Status.Phase = v1alpha1.WorkflowFailed
		}, "", &stellarflow.Intent{Kind: stellarflow.IntentSuspend}, false},
		"RetryLifted": {
			"it would run here too, and is suspended for that", func(w *v1alpha1.Workflow) { end(w); w.Spec.Suspend = nil }, retry, "",
			&stellarflow.Intent{Kind: stellarflow.IntentRetry, Base: "hash", Retry: &stellarflow.RetryChange{Removed: []string{"-2"}, Reset: []string{""}, StartedAt: later}}, false,
		},
		"Follows":       {"the hub was a dedicated one a moment ago: whoever lifts it now would run it here", annotate(stellarflow.AnnotationFollows, stellarflow.FollowsSuspend), resumed, "", &stellarflow.Intent{Kind: stellarflow.IntentResume, Whole: true, Nodes: succeeded}, false},
		"NewNode":       {"no action makes one", none, node("wf-9", func(n *v1alpha1.NodeStatus) { n.Type = v1alpha1.NodeTypeSuspend }), "would be overwritten", nil, false},
		"RemovedNode":   {"only a retry takes one away", none, func(w *v1alpha1.Workflow) { delete(w.Status.Nodes, "wf-2") }, "would be overwritten", nil, false},
		"Spec":          {"it has no effect there", none, func(w *v1alpha1.Workflow) { w.Spec.Entrypoint = "other" }, "resubmit it with the change", nil, false},
		"SpecAndResume": {"one of the two would be lost", none, func(w *v1alpha1.Workflow) { resumed(w); w.Spec.Entrypoint = "other" }, "resubmit it with the change", nil, false},
		"SpecOfAnEnded": {"a retry would not run it", end, func(w *v1alpha1.Workflow) { w.Spec.Entrypoint = "other" }, "resubmit it with the change", nil, false},
		"ResumeEnded":   {"there is nothing to resume", end, func(w *v1alpha1.Workflow) { w.Spec.Suspend = nil }, "it has ended, and cannot be resumed", nil, false},
		"SuspendEnded":  {"there is nothing to suspend", end, annotate(stellarflow.AnnotationRequest, stellarflow.RequestSuspend), "it has ended, and cannot be suspended", nil, false},
		"StatusOfEnded": {"it is what the cluster said", end, func(w *v1alpha1.Workflow) { w.Status.Message = "all well" }, "it has ended; what is written here would be overwritten", nil, false},
		"RetryAndMore": {
			"a retry that changes what none does", end,
			func(w *v1alpha1.Workflow) {
				retry(w)
				node("wf-1", func(n *v1alpha1.NodeStatus) { n.TemplateName = "other" })(w)
			}, "would be overwritten", nil, false,
		},
		"RetryCut": {
			"its nodes were left out", func(w *v1alpha1.Workflow) { end(w); w.Status.Nodes = nil },
			func(w *v1alpha1.Workflow) {
				delete(w.Labels, stellarflow.ArgoLabelCompleted)
				w.Status.Phase = v1alpha1.WorkflowRunning
			}, "its nodes are not on the hub", nil, false,
		},
		"Deleted": {"nothing runs any more", func(w *v1alpha1.Workflow) { w.DeletionTimestamp = &later }, resumed, "is being deleted", nil, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			old := storedCopy(t, tc.old)
			next := byArgo(t, old, tc.change)
			got := Decide(Write{Old: old, New: next, ID: "id", Caller: "alice", Time: later.Time})
			if again := Decide(Write{Old: old, New: next, ID: "id", Caller: "alice", Time: later.Time}); cmp.Diff(got, again) != "" {
				t.Errorf("%s: asked again it says something else", tc.reason)
			}
			if tc.refusal != "" {
				if !strings.Contains(got.Refusal, tc.refusal) {
					t.Errorf("%s: want %q, got %q", tc.reason, tc.refusal, got.Refusal)
				}
				return
			}
			if got.Refusal != "" {
				t.Fatalf("%s: refused: %s", tc.reason, got.Refusal)
			}
			stored := patched(t, next, got.Operations)
			checkStored(t, old, next, stored, tc.keeps)
			intents, err := stellarflow.IntentsOf(stored)
			if err != nil {
				t.Fatal(err)
			}
			if tc.intent == nil {
				if len(intents) > 0 {
					t.Errorf("%s: intents %v", tc.reason, intents)
				}
				return
			}
			want := *tc.intent
			want.ID, want.Caller, want.Time, want.WECUID = "id", "alice", later.Time, "w"
			if diff := cmp.Diff([]stellarflow.Intent{want}, intents); diff != "" {
				t.Errorf("%s: -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}

// checkStored checks that a placed Workflow stays suspended, and shows either its old status or the new one.
func checkStored(t *testing.T, old, next, stored *unstructured.Unstructured, keeps bool) {
	t.Helper()
	want := old
	if keeps {
		want = next
	} else if stored.GetLabels()[stellarflow.ArgoLabelCompleted] != old.GetLabels()[stellarflow.ArgoLabelCompleted] || !stellarflow.Suspended(stored) {
		t.Errorf("it would run here: %v, %v", stored.GetLabels(), stored.Object["spec"])
	}
	if diff := cmp.Diff(canonical(t, want.Object["status"]), canonical(t, stored.Object["status"])); diff != "" {
		t.Errorf("the stored status: -want +got:\n%s", diff)
	}
	if _, asked := stored.GetAnnotations()[stellarflow.AnnotationRequest]; asked {
		t.Error("the request is left")
	}
}

func canonical(t *testing.T, value any) string {
	t.Helper()
	raw, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(upsync.Canonical(raw))
}

// patched applies operations as the API server does.
func patched(t *testing.T, object *unstructured.Unstructured, operations []hubcopy.Operation) *unstructured.Unstructured {
	t.Helper()
	if len(operations) == 0 {
		return object
	}
	before, err := object.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	after, err := hubcopytest.Apply(t, before, operations)
	if err != nil {
		t.Fatalf("apply %v: %v", operations, err)
	}
	result := &unstructured.Unstructured{}
	if err := result.UnmarshalJSON(after); err != nil {
		t.Fatal(err)
	}
	return result
}

// A PUT of a manifest has no status: what was there stays.
func TestDecideKeepsTheStatusOfAPut(t *testing.T) {
	old := storedCopy(t)
	next := old.DeepCopy()
	delete(next.Object, "status")
	got := Decide(Write{Old: old, New: next, ID: "id", Caller: "alice", Time: later.Time})
	if got.Refusal != "" || got.Kind != "" {
		t.Fatalf("got %+v", got)
	}
	checkStored(t, old, next, patched(t, next, got.Operations), false)
}

// What finds no room is refused, and what waited stays.
func TestDecideIsBounded(t *testing.T) {
	old := storedCopy(t)
	for i := range stellarflow.MaxIntents + 1 {
		next := byArgo(t, old, node("wf-1", func(n *v1alpha1.NodeStatus) { n.Message = strings.Repeat("x", i+1) }))
		got := Decide(Write{Old: old, New: next, ID: "id", Caller: "alice", Time: later.Time})
		if full := i == stellarflow.MaxIntents; full != strings.Contains(got.Refusal, "16 in 65536 are the most") {
			t.Fatalf("intent %d: refused with %q", i, got.Refusal)
		}
		if got.Refusal == "" {
			old.SetAnnotations(patched(t, next, got.Operations).GetAnnotations())
		}
	}
	if intents, err := stellarflow.IntentsOf(old); err != nil || len(intents) != stellarflow.MaxIntents {
		t.Errorf("%d wait: %v", len(intents), err)
	}
	old = storedCopy(t)
	next := byArgo(t, old, node("wf-1", func(n *v1alpha1.NodeStatus) { n.Message = strings.Repeat("x", stellarflow.MaxIntentsBytes) }))
	if got := Decide(Write{Old: old, New: next, ID: "id", Caller: "alice", Time: later.Time}); !strings.Contains(got.Refusal, "do it on cluster cluster1") {
		t.Errorf("what finds no room even alone is refused with %q", got.Refusal)
	}
}
