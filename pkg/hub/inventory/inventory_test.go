package inventory

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

func TestIndexWorkflow(t *testing.T) {
	workflow := func(placed, completed, deleting bool) *metav1.PartialObjectMetadata {
		w := stellarflow.NewWorkflowMetadata()
		w.UID, w.Labels = "u1", map[string]string{}
		if placed {
			w.Labels[stellarflow.LabelCluster] = "cluster1"
			w.Annotations = map[string]string{stellarflow.AnnotationPlacement: stellarflow.Placement{UID: "u1", Cluster: "cluster1", Attempt: 1}.String()}
		}
		if completed {
			w.Labels[stellarflow.ArgoLabelCompleted] = "true"
		}
		if deleting {
			w.DeletionTimestamp = &metav1.Time{Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
		}
		return w
	}
	copied := workflow(true, false, false)
	copied.UID = "u2"
	cases := map[string]struct {
		reason string
		object *metav1.PartialObjectMetadata
		want   []string
	}{
		"Running":          {"it counts as unfinished there", workflow(true, false, false), []string{"cluster1"}},
		"RunningDeleting":  {"until it has ended", workflow(true, false, true), []string{"cluster1"}},
		"Finished":         {"nothing is left to do", workflow(true, true, false), nil},
		"FinishedDeleting": {"its WEC copy has to go", workflow(true, true, true), []string{"ending/cluster1"}},
		"Waiting":          {"any change of policies or clusters may place it", workflow(false, false, false), []string{Waiting}},
		"WaitingDeleting":  {"its keys may have to go", workflow(false, false, true), []string{Waiting}},
		"LocalFinished":    {"none of our business", workflow(false, true, false), nil},
		"Copied":           {"a copied record does not count there", copied, []string{Waiting}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, IndexWorkflow(tc.object)); diff != "" {
				t.Errorf("%s: -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}

// TestIndexValuesAreNoClusters: a ManagedCluster must not be able to take the name of another kind of value.
func TestIndexValuesAreNoClusters(t *testing.T) {
	for _, value := range []string{Waiting, Ending("cluster1"), Ending("")} {
		if stellarflow.ClusterName(value).Validate() == nil {
			t.Errorf("a cluster could be named %q", value)
		}
	}
}
