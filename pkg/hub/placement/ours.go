package placement

import (
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// suspended reports whether the user created the Workflow suspended.
func suspended(workflow *unstructured.Unstructured) bool {
	value, found, err := unstructured.NestedBool(workflow.Object, "spec", "suspend")
	return err == nil && found && value
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
		if !ok || node["type"] != "Pod" || node["phase"] == "Skipped" {
			continue
		}
		text, _ := node["startedAt"].(string)
		if at, err := time.Parse(time.RFC3339, text); err == nil && !at.Before(created) { // both have whole seconds, and Argo is quick
			return true
		}
	}
	return false
}

// ran reports whether one of the pods that carry a Workflow's name is its own. Those of an earlier Workflow of that name may
// still be ending; a pod without an owner counts.
func ran(pods []metav1.PartialObjectMetadata, uid types.UID) bool {
	return slices.ContainsFunc(pods, func(pod metav1.PartialObjectMetadata) bool {
		owner := metav1.GetControllerOfNoCopy(&pod)
		return owner == nil || owner.Kind != stellarflow.WorkflowKind.Kind || owner.UID == uid
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
