package podmirror

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/wec"
)

// seen is what is remembered of a real pod that was read.
type seen struct {
	version  string
	archived time.Time
}

// owner returns the hub copy of a pod's Workflow: the one that the hub's record places on this WEC as the Workflow that controls the pod. Argo
// names pods by their Workflow (argo-workflows v3.7.18 workflow/util/pod_name.go); another name could be one that the hub has a use for.
func (p *pods) owner(ctx context.Context, pod metav1.Object) (*metav1.PartialObjectMetadata, bool) {
	controller, workflow := metav1.GetControllerOfNoCopy(pod), wec.WorkflowOf(pod)
	if controller == nil || controller.Kind != stellarflow.WorkflowKind.Kind || pod.GetName() != workflow.Name && !strings.HasPrefix(pod.GetName(), workflow.Name+"-") {
		return nil, false
	}
	hubCopy, placement, placed := p.placed(ctx, workflow)
	return hubCopy, placed && placement.ClusterID == p.connection.State().ID() && placement.WECUID != "" && placement.WECUID == controller.UID
}

// placed returns a hub copy and its record, false if there is none that places it on this WEC.
func (p *pods) placed(ctx context.Context, workflow types.NamespacedName) (*metav1.PartialObjectMetadata, stellarflow.Placement, bool) {
	hubCopy, err := p.Copies.Cached(ctx, workflow)
	if err != nil || hubCopy == nil || stellarflow.Abandoned(hubCopy) {
		return nil, stellarflow.Placement{}, false
	}
	placement, found := stellarflow.PlacementOf(hubCopy)
	return hubCopy, placement, found && placement.Cluster == p.connection.Name
}

// wanted reports whether the policy that has placed a Workflow lets its pods be mirrored.
func (m *Mirrorer) wanted(ctx context.Context, hubCopy metav1.Object) bool {
	placement, _ := stellarflow.PlacementOf(hubCopy)
	var policy v1alpha1.BindingPolicy
	err := m.Policies.Get(ctx, types.NamespacedName{Name: placement.Policy}, &policy)
	return err != nil || policy.Annotations[stellarflow.AnnotationMirrorPods] != "false"
}

// mirrors returns the names of the mirrored pods of the WEC, of all or of some.
func (p *pods) mirrors(ctx context.Context, some ...client.ListOption) []types.NamespacedName {
	var mirrors corev1.PodList
	some = append(some, client.MatchingLabels{stellarflow.LabelCluster: string(p.connection.Name)}, client.UnsafeDisableDeepCopy)
	if err := p.Shown.List(ctx, &mirrors, some...); err != nil {
		p.Log.Error(err, "list the mirrored pods", "cluster", p.connection.Name) // the cache is not being filled: never
	}
	keys := make([]types.NamespacedName, 0, len(mirrors.Items))
	for i := range mirrors.Items {
		keys = append(keys, client.ObjectKeyFromObject(&mirrors.Items[i]))
	}
	return keys
}

// mirror returns the mirrored pod of a name, nil if there is none.
func (p *pods) mirror(ctx context.Context, key types.NamespacedName) *corev1.Pod {
	var mirror corev1.Pod
	if p.Shown.Get(ctx, key, &mirror) != nil {
		return nil
	}
	return &mirror
}

// observe returns what is known of a pod, and the hub copy of its Workflow if it is shown.
func (p *pods) observe(ctx context.Context, key types.NamespacedName) (View, *metav1.PartialObjectMetadata, error) {
	watch := p.watch.Load()
	v := View{Cluster: p.connection.Name, Now: p.Now()}
	v.Complete = watch != nil && !watch.IsLost() && p.connection.State().ID() != "" // which cluster it is has to be known too
	var mirror corev1.Pod
	switch err := p.Shown.Get(ctx, key, &mirror); {
	case err == nil:
		v.Mirror = &mirror
		hubCopy, _, placed := p.placed(ctx, wec.WorkflowOf(&mirror))
		v.Stray = !placed || !metav1.IsControlledBy(&mirror, hubCopy)
	case !apierrors.IsNotFound(err):
		return v, nil, fmt.Errorf("read pod %s from the cache: %w", key, err)
	}
	var node corev1.Node
	v.Cordoned = p.Shown.Get(ctx, types.NamespacedName{Name: NodeName(v.Cluster)}, &node) == nil && node.Spec.Unschedulable
	if watch == nil {
		return v, nil, nil
	}
	pod := watch.Get(key)
	if pod == nil {
		return v, nil, nil
	}
	hubCopy, ours := p.owner(ctx, pod)
	if !ours {
		return v, nil, nil
	}
	v.Real, v.Wanted = pod, p.wanted(ctx, hubCopy)
	p.known.Lock()
	defer p.known.Unlock()
	v.Read, v.Archived, v.Deleted = p.read[key].version, p.read[key].archived, p.deleted[key]
	return v, hubCopy, nil
}

// forget drops what is remembered of a pod that is gone.
func (p *pods) forget(key types.NamespacedName) {
	p.known.Lock()
	defer p.known.Unlock()
	delete(p.read, key)
	delete(p.deleted, key)
}
