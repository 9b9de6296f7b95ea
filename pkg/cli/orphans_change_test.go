package cli

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// TestAdopter takes from an orphan what its user wrote: an end, and an archive's word, are the cluster's until they are mirrored.
func TestAdopter(t *testing.T) {
	wecCopy := &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{
			"name": "w", "namespace": "argo",
			"labels": map[string]any{
				"team": "a", stellarflow.LabelOrigin: "hub", stellarflow.ArgoLabelCompleted: "true", stellarflow.ArgoLabelPhase: "Succeeded",
				stellarflow.ArgoLabelArchivingStatus: "Archived",
			},
			"annotations": map[string]any{"note": "b", stellarflow.AnnotationHubUID: "u", stellarflow.ArgoAnnotationPodNameFormat: "v2"},
		},
		"spec": map[string]any{"entrypoint": "main", "shutdown": "Stop"}, "status": map[string]any{"phase": "Succeeded"},
	}}
	want := map[string]any{
		"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow",
		"metadata": map[string]any{
			"name": "w", "namespace": "argo", "labels": map[string]any{"team": "a"},
			"annotations": map[string]any{"note": "b", stellarflow.AnnotationAdopts: "cluster1/x"},
		},
		"spec": map[string]any{"entrypoint": "main", "suspend": true},
	}
	if diff := cmp.Diff(want, adopter(wecCopy, "cluster1/x").Object); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
