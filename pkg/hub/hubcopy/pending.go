package hubcopy

import (
	"context"
	"fmt"
	"maps"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// Pending returns the operations that make a Workflow that runs nowhere yet show phase Pending and a message; none if it
// does. What else its status has (nodes of a memoized resubmit) stays.
func Pending(workflow *unstructured.Unstructured, message string) []Operation {
	status, found, err := unstructured.NestedMap(workflow.Object, "status")
	if !found || err != nil || len(status) == 0 {
		return append([]Operation{Add(map[string]any{"phase": stellarflow.PhasePending, "message": message}, "status")}, pendingLabel(workflow)...)
	}
	if status["phase"] == stellarflow.PhasePending && status["message"] == message {
		return pendingLabel(workflow) // another writer, or an end between two writes, may have left it without
	}
	operations := []Operation{Add(stellarflow.PhasePending, "status", "phase"), Add(message, "status", "message")}
	if status["startedAt"] != nil { // the hub's controller believes that it started; nothing did
		operations = append(operations, Remove("status", "startedAt"))
	}
	return append(operations, pendingLabel(workflow)...)
}

// pendingLabel sets Argo's phase label: without one its controller reports itself unhealthy after five minutes (argo.md §1.4,
// healthz).
func pendingLabel(workflow *unstructured.Unstructured) []Operation {
	phase := stellarflow.PhasePending
	return Set(workflow, "labels", map[string]*string{stellarflow.ArgoLabelPhase: &phase})
}

// NotPending returns the operations that take back what Pending said to a Workflow that is none of ours any more, so that the
// hub's controller begins with it as with a new one; none if its phase is another by now.
func NotPending(workflow *unstructured.Unstructured) []Operation {
	phase, _, _ := unstructured.NestedString(workflow.Object, "status", "phase")
	if phase != stellarflow.PhasePending {
		return nil
	}
	operations := []Operation{Remove("status", "phase")}
	if _, found, _ := unstructured.NestedString(workflow.Object, "status", "message"); found {
		operations = append(operations, Remove("status", "message"))
	}
	return append(operations, Set(workflow, "labels", map[string]*string{stellarflow.ArgoLabelPhase: nil})...)
}

// Ended returns the operations that end a placed Workflow here, with a message of ours, although nobody says how its WEC copy ended.
// Its nodes stay as they were last seen.
func (s *Store) Ended(workflow *unstructured.Unstructured, message string, now time.Time) []Operation {
	return s.ended(workflow, stellarflow.PhaseError, message, now)
}

func (s *Store) ended(workflow *unstructured.Unstructured, phase, message string, now time.Time) []Operation {
	completed := "true"
	labels := map[string]*string{stellarflow.ArgoLabelCompleted: &completed, stellarflow.ArgoLabelPhase: &phase}
	labels[stellarflow.ArgoLabelArchivingStatus] = s.Archiving(workflow, labels)
	operations := Set(workflow, "labels", labels)
	if _, isObject := workflow.Object["status"].(map[string]any); !isObject {
		operations = append(operations, Add(map[string]any{}, "status"))
	}
	return append(operations, Add(phase, "status", "phase"), Add(message, "status", "message"), Add(now.UTC().Format(time.RFC3339), "status", "finishedAt"))
}

// Archiving returns the archiving status that a hub copy gets with its end, and with the labels that come with that: as Argo's controller sets
// it for what has run on the hub (argo-workflows v3.7.18 workflow/controller/operator.go, markWorkflowPhase). Nil if it is not archived.
func (s *Store) Archiving(workflow metav1.Object, with map[string]*string) *string {
	labels := maps.Clone(workflow.GetLabels())
	if labels == nil {
		labels = map[string]string{}
	}
	for key, value := range with {
		if delete(labels, key); value != nil {
			labels[key] = *value
		}
	}
	if !s.Archive.Takes(labels) {
		return nil
	}
	pending := stellarflow.ArchivingPending
	return &pending
}

// Stopped returns the operations that end a Workflow as Argo does that was stopped or terminated before anything of it ran (argo-workflows
// v3.7.18 workflow/controller/operator.go): nothing is sent to a cluster any more.
func (s *Store) Stopped(workflow *unstructured.Unstructured, strategy string, now time.Time) []Operation {
	operations := s.ended(workflow, stellarflow.PhaseFailed, fmt.Sprintf("Stopped with strategy '%s'", strategy), now)
	if _, found, _ := unstructured.NestedString(workflow.Object, "status", "startedAt"); !found {
		operations = append(operations, Add(now.UTC().Format(time.RFC3339), "status", "startedAt"))
	}
	return operations
}

// SayPending writes why a Workflow waits, from a live read of it. It returns the object as written, nil if it says so already.
func (s *Store) SayPending(ctx context.Context, live *unstructured.Unstructured, message string) (*metav1.PartialObjectMetadata, error) {
	operations := Pending(live, message)
	if operations == nil {
		return nil, nil //nolint:nilnil // nothing to write is an answer
	}
	if _, placed := stellarflow.PlacementOf(live); !placed {
		waits := stellarflow.Waiting(live)
		operations = append(operations, Set(live, "annotations", map[string]*string{stellarflow.AnnotationWaiting: &waits})...)
	}
	key := types.NamespacedName{Namespace: live.GetNamespace(), Name: live.GetName()}
	return s.Patch(ctx, key, append(append(Unchanged(live), Maps(live)...), operations...)...)
}
