package downsync

import (
	"strconv"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/transforms"
)

// What of a status goes down with a Workflow that was created with nodes (memoized resubmit, retry from the archive): what
// Argo's FormulateResubmitWorkflow fills in, and nothing that belongs to a run. Stored templates stay: they may be another
// WEC's words, mirrored once, and Argo would run them here in place of the templates themselves.
var statusSent = []string{"nodes", "compressedNodes", "taskResultsCompletionStatus", "outputs"}

// Object returns the WEC copy of a hub copy: stripped, transformed, with its identity and the harvest finalizer. The hub copy
// is not changed. Errors are the paths of CustomTransforms that were skipped; the object is good all the same.
func Object(hubCopy *unstructured.Unstructured, placement stellarflow.Placement, hubID types.UID, custom []v1alpha1.CustomTransform) (*unstructured.Unstructured, []error) {
	content, skipped := transforms.Apply(transforms.Strip(hubCopy.Object), custom)
	wecCopy := &unstructured.Unstructured{Object: content}

	labels := wecCopy.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[stellarflow.LabelOrigin] = string(hubID)
	wecCopy.SetLabels(labels)

	setAnnotation(wecCopy, stellarflow.AnnotationHubUID, string(hubCopy.GetUID()))
	setAnnotation(wecCopy, stellarflow.AnnotationAttempt, strconv.Itoa(placement.Attempt))
	setAnnotation(wecCopy, stellarflow.AnnotationPassedOn, Keys(hubCopy))
	if asked := stellarflow.Shutdown(wecCopy); asked != "" {
		setAnnotation(wecCopy, stellarflow.AnnotationShutdown, asked)
	}
	if asked := askedSuspension(hubCopy); asked != "" {
		spec, _ := content["spec"].(map[string]any)
		if spec != nil {
			spec["suspend"] = true
			setAnnotation(wecCopy, stellarflow.AnnotationApplied, string(asked))
		}
	}
	wecCopy.SetFinalizers([]string{stellarflow.FinalizerHarvest})

	if status := carriedStatus(hubCopy.Object); status != nil {
		content["status"] = status
	}
	return wecCopy, skipped
}

// askedSuspension is the ID of the intent to suspend that waits for the WEC copy, empty if there is none: what is created without it would begin before
// that is done.
func askedSuspension(hubCopy *unstructured.Unstructured) types.UID {
	waiting, err := stellarflow.IntentsOf(hubCopy)
	if err != nil || len(waiting) == 0 || waiting[0].Kind != stellarflow.IntentSuspend || waiting[0].WECUID != "" {
		return ""
	}
	return waiting[0].ID
}

func carriedStatus(hubCopy map[string]any) map[string]any {
	status, _, err := unstructured.NestedMap(hubCopy, "status") // a deep copy
	if err != nil || status["nodes"] == nil && status["compressedNodes"] == nil {
		return nil
	}
	sent := map[string]any{}
	for _, field := range statusSent {
		if value, found := status[field]; found {
			sent[field] = value
		}
	}
	return sent
}

func setAnnotation(object *unstructured.Unstructured, key, value string) {
	annotations := object.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[key] = value
	object.SetAnnotations(annotations)
}
