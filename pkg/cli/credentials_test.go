package cli

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

func TestLacking(t *testing.T) {
	workflow := func(namespace string, change func(*metav1.PartialObjectMetadata, *stellarflow.Placement)) metav1.PartialObjectMetadata {
		w, placement := stellarflow.NewWorkflowMetadata(), stellarflow.Placement{UID: "u", Cluster: "cluster1", Attempt: 1, WECUID: "there"}
		w.Namespace, w.UID, w.Labels = namespace, "u", map[string]string{stellarflow.LabelCluster: "cluster1"}
		change(w, &placement)
		w.Annotations = map[string]string{stellarflow.AnnotationPlacement: placement.String()}
		return *w
	}
	ran := func(*metav1.PartialObjectMetadata, *stellarflow.Placement) {}
	workflows := []metav1.PartialObjectMetadata{
		workflow("lost", ran), workflow("lost", ran), workflow("has", ran), workflow("also-lost", ran),
		workflow("new", func(_ *metav1.PartialObjectMetadata, placement *stellarflow.Placement) { placement.WECUID = "" }),
		workflow("local", func(w *metav1.PartialObjectMetadata, _ *stellarflow.Placement) { w.Labels = nil }),
		workflow("goes", func(w *metav1.PartialObjectMetadata, _ *stellarflow.Placement) { w.DeletionTimestamp = &metav1.Time{} }),
	}
	if diff := cmp.Diff([]string{"also-lost", "lost"}, (staleSecrets{all: map[string]bool{"has": true}}).lacking(workflows)); diff != "" {
		t.Errorf("namespaces whose Workflows have run on a cluster (-want +got):\n%s", diff)
	}
	if got := (staleSecrets{}).lacking(workflows); len(got) > 0 {
		t.Errorf("where Secrets cannot be listed nothing is known: %v", got)
	}
}
