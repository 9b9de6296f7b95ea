package cli

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// hubCopy is a Workflow that is placed on cluster1 in an attempt; 0 means that it is not placed.
func hubCopy(attempt int, change ...func(*unstructured.Unstructured)) *unstructured.Unstructured {
	workflow := &unstructured.Unstructured{Object: map[string]any{}}
	workflow.SetGroupVersionKind(stellarflow.WorkflowKind)
	workflow.SetNamespace("argo")
	workflow.SetName("w")
	workflow.SetUID("u1")
	if attempt > 0 {
		record := stellarflow.Placement{UID: "u1", Policy: "p", Cluster: "cluster1", ClusterID: "id1", Attempt: attempt}
		workflow.SetLabels(map[string]string{stellarflow.LabelCluster: "cluster1"})
		workflow.SetAnnotations(map[string]string{stellarflow.AnnotationPlacement: record.String()})
	}
	for _, f := range change {
		f(workflow)
	}
	return workflow
}

func annotate(key, value string) func(*unstructured.Unstructured) {
	return func(w *unstructured.Unstructured) {
		annotations := w.GetAnnotations()
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[key] = value
		w.SetAnnotations(annotations)
	}
}

func completed(w *unstructured.Unstructured) {
	labels := w.GetLabels()
	labels[stellarflow.ArgoLabelCompleted] = "true"
	w.SetLabels(labels)
}

func deleting(w *unstructured.Unstructured) {
	now := metav1.Unix(0, 0)
	w.SetDeletionTimestamp(&now)
}

func saying(message string) func(*unstructured.Unstructured) {
	return func(w *unstructured.Unstructured) {
		_ = unstructured.SetNestedField(w.Object, message, "status", "message")
	}
}

func TestRefuses(t *testing.T) {
	cases := map[string]struct {
		reason   string
		workflow *unstructured.Unstructured
		request  string
		want     string
	}{
		"Abandon":        {"its cluster may be lost", hubCopy(1), "abandon", ""},
		"AbandonDeleted": {"its deletion waits for a lost cluster", hubCopy(1, deleting), "abandon", ""},
		"Move":           {"the manager knows whether it can", hubCopy(1), "move", ""},
		"NotPlaced":      {"there is nothing to give up", hubCopy(0), "abandon", "is not placed on a cluster: `stellarflow explain` says why"},
		"Finished":       {"there is nothing to give up", hubCopy(1, completed), "abandon", "has finished: delete it; if that waits because cluster cluster1 is lost for good, run `stellarflow leave cluster1`"},
		"Again":          {"it was given up", hubCopy(1, completed, annotate(stellarflow.AnnotationAbandoned, "T")), "move", "was given up at T: delete it, or resubmit it to run it again"},
		"MoveDeleted":    {"nobody wants it to run", hubCopy(1, deleting), "move", "is being deleted: create it again under another name"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, refuses(tc.workflow, tc.request)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

func TestAnswered(t *testing.T) {
	asked := func(what string) func(*unstructured.Unstructured) {
		return annotate(stellarflow.AnnotationRequest, what)
	}
	type verdict struct {
		Done    bool
		Says    string
		Refused bool
	}
	cases := map[string]struct {
		reason  string
		now     *unstructured.Unstructured
		request string
		want    verdict
	}{
		"Waiting":      {"the manager has not seen it", hubCopy(1, asked("abandon")), "abandon", verdict{}},
		"Abandoned":    {"done, with the manager's words", hubCopy(1, completed, annotate(stellarflow.AnnotationAbandoned, "T"), saying("given up on request")), "abandon", verdict{true, "given up on request", false}},
		"Refused":      {"the request is gone and nothing was done", hubCopy(1), "move", verdict{true, "", true}},
		"AbandonGone":  {"the same for the other request", hubCopy(1), "abandon", verdict{true, "", true}},
		"Moved":        {"another attempt", hubCopy(2), "move", verdict{true, "moved from cluster cluster1 to cluster cluster1 (attempt 2)", false}},
		"Overtaken":    {"its end came first", hubCopy(1, completed), "abandon", verdict{true, "it has finished meanwhile", true}},
		"OvertakenToo": {"its end came first, and the request is still there", hubCopy(1, completed, asked("move")), "move", verdict{true, "it has finished meanwhile", true}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var got verdict
			got.Done, got.Says, got.Refused = answered(hubCopy(1), tc.now, tc.request)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

func TestStill(t *testing.T) {
	placed := func(uid types.UID, finished bool) placedWorkflow {
		return placedWorkflow{Namespace: "argo", Name: string(uid), Placement: stellarflow.Placement{UID: uid, Cluster: "c", Time: time.Unix(0, 0)}, Finished: finished}
	}
	got := still([]placedWorkflow{placed("a", false), placed("b", false), placed("c", false)}, []placedWorkflow{placed("a", true), placed("b", false), placed("d", false)})
	if diff := cmp.Diff([]placedWorkflow{placed("b", false)}, got); diff != "" {
		t.Errorf("finished and deleted ones are given up, others are nobody's business (-want +got):\n%s", diff)
	}
}
