package stellarflow

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Argo's own keys that we read or carry. Source: argo-workflows v3.7.18 workflow/common/common.go; named here again because
// that package pulls in all of Argo's controller.
const (
	ArgoLabelCompleted               = "workflows.argoproj.io/completed"
	ArgoLabelPhase                   = "workflows.argoproj.io/phase"
	ArgoLabelArchivingStatus         = "workflows.argoproj.io/workflow-archiving-status"
	ArgoLabelWorkflow                = "workflows.argoproj.io/workflow"
	ArgoLabelWorkflowTemplate        = "workflows.argoproj.io/workflow-template"
	ArgoLabelClusterWorkflowTemplate = "workflows.argoproj.io/cluster-workflow-template"
	ArgoAnnotationPodNameFormat      = "workflows.argoproj.io/pod-name-format"
	ArgoAnnotationNodeID             = "workflows.argoproj.io/node-id"
	ArgoFinalizerArtifactGC          = "workflows.argoproj.io/artifact-gc"
)

// Values of spec.shutdown: ShutdownStop ends a Workflow and lets its exit handlers run, ShutdownTerminate does not. Source:
// argo-workflows v3.7.18 pkg/apis/workflow/v1alpha1/workflow_types.go, ShutdownStrategy.
const (
	ShutdownStop      = "Stop"
	ShutdownTerminate = "Terminate"
)

// Phases of Workflows and nodes that are written or decided by. Source: argo-workflows v3.7.18
// pkg/apis/workflow/v1alpha1/workflow_types.go, WorkflowPhase and NodePhase.
const (
	PhasePending   = "Pending"
	PhaseRunning   = "Running"
	PhaseSucceeded = "Succeeded"
	PhaseSkipped   = "Skipped"
	PhaseFailed    = "Failed"
	PhaseError     = "Error"
)

// ArchivingPending is the value of ArgoLabelArchivingStatus with which Argo's controller archives a Workflow, and writes another then. Where
// it has no archive it writes that all the same, and Argo's server lists the Workflow no more: this is set only for what an Archive takes.
const ArchivingPending = "Pending"

// Workflows is Argo's resource, on the hub and on every WEC.
var Workflows = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "workflows"}

// WorkflowKind is the kind of Workflows.
var WorkflowKind = schema.GroupVersionKind{Group: "argoproj.io", Version: "v1alpha1", Kind: "Workflow"}

// Completed reports whether Argo's label says that a Workflow has ended. Argo writes it together with the terminal phase
// (workflow/controller/operator.go, markWorkflowPhase).
func Completed(workflow metav1.Object) bool {
	return workflow.GetLabels()[ArgoLabelCompleted] == "true"
}

// Suspended reports whether spec.suspend of a Workflow is true. What is no truth value is not.
func Suspended(workflow *unstructured.Unstructured) bool {
	value, _, err := unstructured.NestedBool(workflow.Object, "spec", "suspend")
	return err == nil && value
}

// WaitsUnsuspended is the value of AnnotationWaiting of a Workflow that was not suspended when it began to wait, as on a dedicated hub it need not be.
const WaitsUnsuspended = "unsuspended"

// Waiting returns the value of AnnotationWaiting of a Workflow that waits: the one that it has, or that it is to have.
func Waiting(workflow *unstructured.Unstructured) string {
	switch waits := workflow.GetAnnotations()[AnnotationWaiting]; {
	case waits != "":
		return waits
	case Suspended(workflow):
		return "true"
	}
	return WaitsUnsuspended
}

// SuspendedSince reports whether somebody has suspended a Workflow that waits since it does.
func SuspendedSince(workflow *unstructured.Unstructured) bool {
	return Suspended(workflow) && workflow.GetAnnotations()[AnnotationWaiting] == WaitsUnsuspended
}

// Shutdown returns spec.shutdown of a Workflow: ShutdownStop, ShutdownTerminate, or empty. What is neither, and Argo would not know, is
// empty too.
func Shutdown(workflow *unstructured.Unstructured) string {
	switch asked, _, _ := unstructured.NestedString(workflow.Object, "spec", "shutdown"); asked {
	case ShutdownStop, ShutdownTerminate:
		return asked
	}
	return ""
}

// NewWorkflowMetadata returns an empty metadata-only Workflow, for caches and watches.
func NewWorkflowMetadata() *metav1.PartialObjectMetadata {
	w := &metav1.PartialObjectMetadata{}
	w.SetGroupVersionKind(WorkflowKind)
	return w
}

// NewNamespaceMetadata returns an empty metadata-only Namespace, for caches and watches.
func NewNamespaceMetadata() *metav1.PartialObjectMetadata {
	n := &metav1.PartialObjectMetadata{}
	n.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "Namespace"})
	return n
}
