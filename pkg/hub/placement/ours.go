package placement

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
	"stellarflow.io/stellarflow/pkg/hub/podmirror"
)

// untouched reports whether nobody has begun with a Workflow that is not suspended, but for this hub, which has said why it waits. On a
// dedicated hub nobody else will; one that was imported with a phase, or that an Argo controller had begun before, has its run behind it.
func untouched(workflow *unstructured.Unstructured) bool {
	phase, _, err := unstructured.NestedString(workflow.Object, "status", "phase")
	_, waits := workflow.GetAnnotations()[stellarflow.AnnotationWaiting]
	return err == nil && (phase == "" || phase == "Pending" && waits) && unreadable(workflow) == ""
}

// started reports whether the Workflow's own status shows that it began to run on the hub: a Pod node that was not skipped
// and began after the Workflow was created (DESIGN.md §2). Nodes of a memoized resubmit are older.
func started(workflow *unstructured.Unstructured) bool {
	nodes, _, err := unstructured.NestedMap(workflow.Object, "status", "nodes")
	if err != nil {
		return true // not a status we understand: leave it alone
	}
	created := workflow.GetCreationTimestamp().Time
	for _, value := range nodes {
		node, ok := value.(map[string]any)
		if !ok || node["type"] != "Pod" || node["phase"] == stellarflow.PhaseSkipped {
			continue
		}
		text, _ := node["startedAt"].(string)
		if at, err := time.Parse(time.RFC3339, text); err == nil && !at.Before(created) { // both have whole seconds, and Argo is quick
			return true
		}
	}
	return false
}

// young is how long after its creation a Workflow may be taken that the hub's own controller has failed.
const young = time.Minute

// failedAtSight reports whether a Workflow of this age (0 or more) was failed by the hub's own controller at its first sight of it. That
// checks a suspended Workflow too, and a template or ConfigMap that only clusters have is missing for it (argo-workflows v3.7.18
// workflow/controller/operator.go, setExecWorkflow, and before the lock is taken). What failed longer ago was seen as failed.
func failedAtSight(workflow metav1.Object, age time.Duration) bool {
	phase := workflow.GetLabels()[stellarflow.ArgoLabelPhase]
	return stellarflow.Completed(workflow) && (phase == stellarflow.PhaseFailed || phase == stellarflow.PhaseError) && age < young
}

// unbegun reports whether nothing of a Workflow was begun, reused or stopped, and its failure is its own: one that was imported, from an
// export or a backup, has failed before it was created, or does not say when.
func unbegun(workflow *unstructured.Unstructured) bool {
	status, _, err := unstructured.NestedMap(workflow.Object, "status")
	if err != nil || status["compressedNodes"] != nil || status["offloadNodeStatusVersion"] != nil || stellarflow.Shutdown(workflow) != "" {
		return false
	}
	nodes, isMap := status["nodes"].(map[string]any)
	if status["nodes"] != nil && (!isMap || len(nodes) > 0) {
		return false
	}
	text, _ := status["finishedAt"].(string)
	finished, err := time.Parse(time.RFC3339, text)
	phase := status["phase"]
	return err == nil && !finished.Before(workflow.GetCreationTimestamp().Add(-young)) && (phase == stellarflow.PhaseFailed || phase == stellarflow.PhaseError)
}

// unfailed returns the operations that take back what the hub's controller wrote when it failed a Workflow at its first sight of it.
func unfailed(workflow *unstructured.Unstructured) []hubcopy.Operation {
	operations := hubcopy.Set(workflow, "labels", map[string]*string{stellarflow.ArgoLabelCompleted: nil, stellarflow.ArgoLabelArchivingStatus: nil})
	status, _, _ := unstructured.NestedMap(workflow.Object, "status")
	for _, field := range []string{"finishedAt", "conditions"} {
		if _, found := status[field]; found {
			operations = append(operations, hubcopy.Remove("status", field))
		}
	}
	return operations
}

// ran reports whether one of the pods that carry a Workflow's name is its own. Those of an earlier Workflow of that name may
// still be ending; a pod without an owner counts, one that mirrors a WEC's does not.
func ran(pods []corev1.Pod, uid types.UID) bool {
	return slices.ContainsFunc(pods, func(pod corev1.Pod) bool {
		_, mirrored := podmirror.MirrorOf(&pod)
		owner := metav1.GetControllerOfNoCopy(&pod)
		return !mirrored && (owner == nil || owner.Kind != stellarflow.WorkflowKind.Kind || owner.UID == uid)
	})
}

// carriesKeys reports whether a Workflow without a record of its own has keys of ours: it was resubmitted, exported and
// imported, or restored.
func carriesKeys(workflow metav1.Object) bool {
	labels, annotations := foreignKeys(workflow)
	return len(labels)+len(annotations) > 0 || slices.Contains(workflow.GetFinalizers(), stellarflow.FinalizerCleanup)
}

// foreignKeys returns the labels and annotations of ours on a Workflow, to be removed.
func foreignKeys(workflow metav1.Object) (labels, annotations map[string]*string) {
	labels, annotations = map[string]*string{}, map[string]*string{}
	for key := range workflow.GetLabels() {
		if strings.HasPrefix(key, stellarflow.Prefix) {
			labels[key] = nil
		}
	}
	for key := range workflow.GetAnnotations() {
		if strings.HasPrefix(key, stellarflow.Prefix) {
			annotations[key] = nil
		}
	}
	return labels, annotations
}
