package cli

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/podmirror"
)

// mirrorPod is a pod that looks mirrored, on a node.
func mirrorPod(name, node string) *corev1.Pod {
	labels := map[string]string{stellarflow.LabelMirrorOf: "real", stellarflow.LabelCluster: "c"}
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name, Labels: labels}, Spec: corev1.PodSpec{NodeName: node}}
}

// TestRemoveVirtual lets the API server ask a webhook that is gone about whatever is deleted with the label of mirrored pods.
func TestRemoveVirtual(t *testing.T) {
	own, foreign := podmirror.Node("c"), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{stellarflow.LabelCluster: "c"}}}
	failures := 1
	hub := fake.NewClientBuilder().WithObjects(mirrorPod("a", own.Name), mirrorPod("b", own.Name), mirrorPod("labelled", "n1"), own, foreign).
		WithInterceptorFuncs(interceptor.Funcs{Delete: func(ctx context.Context, hub client.WithWatch, object client.Object, options ...client.DeleteOption) error {
			var pod corev1.Pod
			if err := hub.Get(ctx, client.ObjectKeyFromObject(object), &pod); err == nil {
				if pod.Labels[stellarflow.LabelMirrorOf] != "" {
					t.Errorf("pod %s is deleted as a mirror", pod.Name)
				}
				if failures--; failures >= 0 {
					return apierrors.NewInternalError(errors.New(`failed calling webhook "pod.stellarflow.io"`))
				}
			}
			return hub.Delete(ctx, object, options...)
		}}).Build()
	var said []string
	if err := removeVirtual(t.Context(), hub, func(what string) { said = append(said, what) }); err != nil {
		t.Fatal(err)
	}
	var pods corev1.PodList
	var nodes corev1.NodeList
	if err := errors.Join(hub.List(t.Context(), &pods), hub.List(t.Context(), &nodes)); err != nil {
		t.Fatal(err)
	}
	left := slices.Clone(said)
	for i := range pods.Items {
		left = append(left, pods.Items[i].Name)
	}
	for i := range nodes.Items {
		left = append(left, nodes.Items[i].Name)
	}
	if diff := cmp.Diff([]string{"Node stellarflow-c", "labelled", "n1"}, left); diff != "" {
		t.Errorf("what was said, and is left: %s", diff)
	}
	if err := removeMirror(t.Context(), hub, mirrorPod("a", own.Name)); err != nil {
		t.Errorf("one that is gone already: %v", err)
	}
}

func TestMirrorsNone(t *testing.T) {
	for arg, want := range map[string]bool{endpointFlag + "0": true, endpointFlag + ":10250": false, "--leader-elect": false} {
		if got := mirrorsNone(&corev1.PodSpec{Containers: []corev1.Container{{Name: "hub", Args: []string{"--leader-elect", arg}}}}); got != want {
			t.Errorf("%s: want %t, got %t", arg, want, got)
		}
	}
}
