package podmirror

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/hub/cluster"
	"stellarflow.io/stellarflow/pkg/hub/podmirror/events"
)

// many are so many mirrored pods of cluster1.
type many int

// Get is that of client.Reader.
func (m many) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return nil
}

// List is that of client.Reader.
func (m many) List(_ context.Context, list client.ObjectList, options ...client.ListOption) error {
	var asked client.ListOptions
	asked.ApplyOptions(options)
	if pods, ok := list.(*corev1.PodList); ok && asked.LabelSelector.String() == "stellarflow.io/cluster=cluster1" {
		pods.Items = make([]corev1.Pod, m)
	}
	return nil
}

// TestMost: of a cluster no more pods are shown than that, and what is shown is still brought up to date.
func TestMost(t *testing.T) {
	for name, tc := range map[string]struct {
		shown   many
		mirror  *corev1.Pod
		writes  int
		refused bool
	}{
		"Room":  {most - 1, nil, 2, false},
		"Full":  {most, nil, 0, true},
		"There": {most, mirror(t), 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			hub := fake.NewClientset()
			if tc.mirror != nil {
				hub = fake.NewClientset(tc.mirror)
			}
			p := &pods{Mirrorer: &Mirrorer{Hub: hub, Shown: tc.shown}, connection: &cluster.Connection{Name: "cluster1"}, events: events.New(events.Options{}), read: map[types.NamespacedName]seen{}}
			// Of this hub copy something is said already: it is not said again, nor taken back.
			p.unseen.set(whose{uid: hubCopy().UID}, there{"cluster1", types.NamespacedName{Name: "another"}}, "why")
			after, err := p.write(t.Context(), View{Cluster: "cluster1", Mirror: tc.mirror, Now: ended}, hubCopy(), mirror(t))
			if err != nil || tc.refused != (after > time.Second) {
				t.Errorf("again after %s: %v", after, err)
			}
			if writes := len(hub.Actions()); writes != tc.writes {
				t.Errorf("%d writes, want %d: %v", writes, tc.writes, hub.Actions())
			}
			if _, refused := p.unseen.pods["cluster1"][types.NamespacedName{Namespace: "argo", Name: "hello-main-1"}]; refused != tc.refused {
				t.Errorf("it is said that it is not shown: %v", refused)
			}
		})
	}
}

// TestWriteKeepsEvictions: what an eviction has written before it deletes the mirror is there when it does.
func TestWriteKeepsEvictions(t *testing.T) {
	for status, want := range map[corev1.ConditionStatus]int{corev1.ConditionTrue: 1, corev1.ConditionFalse: 0} {
		before := mirror(t, evicted(status))
		hub := fake.NewClientset(before)
		p := &pods{Mirrorer: &Mirrorer{Hub: hub, Shown: many(1)}, connection: &cluster.Connection{Name: "cluster1"}, events: events.New(events.Options{}), read: map[types.NamespacedName]seen{}}
		if _, err := p.write(t.Context(), View{Cluster: "cluster1", Mirror: before, Now: ended}, hubCopy(), mirrorOf(t, finished(0))); err != nil {
			t.Fatal(err)
		}
		after, err := hub.CoreV1().Pods(before.Namespace).Get(t.Context(), before.Name, metav1.GetOptions{})
		if err != nil || after.Status.Phase != corev1.PodSucceeded || len(disrupted(after)) != want || len(after.Status.Conditions) != want+1 {
			t.Errorf("%s: %v, %v", status, after.Status, err)
		}
	}
}
