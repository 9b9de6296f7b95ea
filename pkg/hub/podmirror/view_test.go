package podmirror

import (
	"context"
	"errors"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// policies answers who reads a policy with an error, or the value of its annotation.
type policies struct {
	client.Reader
	err   error
	value string
}

func (p policies) Get(_ context.Context, _ types.NamespacedName, object client.Object, _ ...client.GetOption) error {
	object.SetAnnotations(map[string]string{stellarflow.AnnotationMirrorPods: p.value})
	return p.err
}

func TestWanted(t *testing.T) {
	gone := apierrors.NewNotFound(v1alpha1.GroupVersion.WithResource("bindingpolicies").GroupResource(), "p")
	for name, tc := range map[string]struct {
		reason       string
		hidden       bool
		policy       policies
		want, failed bool
	}{
		"Shows":      {"nothing says otherwise", false, policies{}, true, false},
		"Hides":      {"it says so", false, policies{value: "false"}, false, false},
		"ShowsNow":   {"the policy's word is newer than the record", true, policies{value: "true"}, true, false},
		"HidesStill": {"both say so", true, policies{value: "false"}, false, false},
		"Gone":       {"it did not hide them", false, policies{err: gone}, true, false},
		"HidGone":    {"who deletes it opens nothing", true, policies{err: gone}, false, false},
		"Unknown":    {"what it says is not known", false, policies{err: errors.New("the cache is not started")}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			hubCopy := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{UID: "u", Labels: map[string]string{stellarflow.LabelCluster: "cluster1"}, Annotations: map[string]string{
				stellarflow.AnnotationPlacement: stellarflow.Placement{UID: "u", Policy: "p", Cluster: "cluster1", Attempt: 1, Hidden: tc.hidden}.String(),
			}}}
			got, err := (&Mirrorer{Policies: tc.policy}).wanted(t.Context(), hubCopy)
			if got != tc.want || (err != nil) != tc.failed {
				t.Errorf("%s: %v, %v", tc.reason, got, err)
			}
		})
	}
}
