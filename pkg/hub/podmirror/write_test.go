package podmirror

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/cluster"
)

// TestMost: of a cluster no more pods are shown than that, and what is shown is still brought up to date.
func TestMost(t *testing.T) {
	one := mirror(t)
	other := one.DeepCopy()
	other.Labels[stellarflow.LabelCluster] = "cluster2"
	for name, tc := range map[string]struct {
		reason string
		shown  int
		event  func(cache.ResourceEventHandler)
		mirror *corev1.Pod
		want   bool
	}{
		"Room":    {"one more is as many as may be", most - 1, nil, nil, true},
		"Full":    {"as many are shown", most, nil, nil, false},
		"There":   {"it is one of them", most, nil, one, true},
		"Others":  {"another cluster's do not count", most - 1, func(h cache.ResourceEventHandler) { h.OnAdd(other, false) }, nil, true},
		"Changed": {"one that changes counts once", most - 1, func(h cache.ResourceEventHandler) { h.OnUpdate(one, one) }, nil, true},
		"Moved":   {"one is not this cluster's any more", most, func(h cache.ResourceEventHandler) { h.OnUpdate(one, other) }, nil, true},
		"Came":    {"one is this cluster's now", most - 1, func(h cache.ResourceEventHandler) { h.OnUpdate(other, one) }, nil, false},
		"Gone":    {"one is gone", most, func(h cache.ResourceEventHandler) { h.OnDelete(one) }, nil, true},
		"Unseen":  {"and was not seen to go", most, func(h cache.ResourceEventHandler) { h.OnDelete(cache.DeletedFinalStateUnknown{Obj: one}) }, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			m := &Mirrorer{}
			handler := m.handler(t.Context())
			handler.OnAdd(other, true)
			for range tc.shown {
				handler.OnAdd(one, true)
			}
			if tc.event != nil {
				tc.event(handler)
			}
			if got := m.room("cluster1", tc.mirror); got != tc.want {
				t.Errorf("%s: there is room: %v", tc.reason, got)
			}
		})
	}
}

// TestShowing: what an eviction has written before it deletes the mirror is there when it does, and what somebody took is there again.
func TestShowing(t *testing.T) {
	for status, want := range map[corev1.ConditionStatus]int{corev1.ConditionTrue: 1, corev1.ConditionFalse: 0} {
		before := mirror(t, evicted(status), func(p *corev1.Pod) { p.Annotations = nil })
		after := showing(before, mirrorOf(t, finished(0)))
		if after.Status.Phase != corev1.PodSucceeded || len(disrupted(after)) != want || len(after.Status.Conditions) != want+1 {
			t.Errorf("%s: %v", status, after.Status)
		}
		if diff := cmp.Diff(mirrorOf(t, finished(0)).Annotations, after.Annotations); diff != "" || before.Annotations != nil {
			t.Errorf("%s: annotations -want +got:\n%s", status, diff)
		}
	}
}

// TestFull: of a pod that was read, and for which there is no room, nothing is asked of its cluster: this one has none.
func TestFull(t *testing.T) {
	key, owner := client.ObjectKeyFromObject(running()), &metav1.PartialObjectMetadata{}
	p := &pods{Mirrorer: &Mirrorer{counts: map[string]int{"cluster1": most}}, connection: &cluster.Connection{Name: "cluster1"}, read: map[types.NamespacedName]seen{}}
	p.unseen.set(whose{}, there{"cluster1", key}, "") // so that it is no news
	view := View{Real: running(), Wanted: true, Cluster: "cluster1", Read: Version{"real", "7"}, Now: ended}
	wait, err := p.show(t.Context(), key, view, owner)
	if refused := p.read[key].refused; wait != lastBackoff || err != nil || refused.Why != full("cluster1") {
		t.Errorf("it waits %s for %+v, %v", wait, refused, err)
	}
}
