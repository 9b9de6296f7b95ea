package podmirror

import (
	"context"
	"fmt"
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
	version  Version
	at       time.Time // when
	archived time.Time // since when its log is, as Since says
	paced    time.Time // see pace
	refused  Refusal   // of the pod that Refusal names
}

// passing is what is remembered of the deletion of a mirrored pod.
type passing struct {
	// note is what is said on the pod, since is when that was seen.
	note  string
	since time.Time
	// failed is why it could not be passed on, said the UID of the mirrored pod of which it was said that it was not.
	failed string
	said   types.UID
}

// noted remembers since when a mirror is said to be deleted.
func (p *pods) noted(key types.NamespacedName, mirror *corev1.Pod, now time.Time) time.Time {
	p.known.Lock()
	defer p.known.Unlock()
	note, known := mirror.Annotations[stellarflow.AnnotationDeletion], p.passed[key]
	if cluster, ours := MirrorOf(mirror); note == "" || !ours || cluster != p.connection.Name {
		return time.Time{}
	}
	if known.note != note {
		known.note, known.since = note, now
		p.passed[key] = known
	}
	return known.since
}

// owner returns the hub copy of a pod's Workflow: the one that the hub's record places on this WEC as the Workflow that controls the pod.
// A pod of a name that is not one of that Workflow's has none.
func (p *pods) owner(ctx context.Context, pod metav1.Object) (*metav1.PartialObjectMetadata, bool) {
	controller, workflow := metav1.GetControllerOfNoCopy(pod), wec.WorkflowOf(pod)
	if controller == nil || controller.Kind != stellarflow.WorkflowKind.Kind || !Named(pod.GetName(), workflow.Name) {
		return nil, false
	}
	hubCopy, placement, placed := p.placed(ctx, workflow)
	ours := placed && placement.ClusterID == p.connection.State().ID() && placement.WECUID != "" && placement.WECUID == controller.UID
	return hubCopy, ours && !p.longer(ctx, pod, workflow)
}

// placed returns a hub copy and its record, false if there is none that places it on this WEC.
func (p *pods) placed(ctx context.Context, workflow types.NamespacedName) (*metav1.PartialObjectMetadata, stellarflow.Placement, bool) {
	return p.placedOn(ctx, workflow, p.connection.Name)
}

// placedOn is placed for any WEC, connected or not.
func (m *Mirrorer) placedOn(ctx context.Context, workflow types.NamespacedName, cluster stellarflow.ClusterName) (*metav1.PartialObjectMetadata, stellarflow.Placement, bool) {
	hubCopy, err := m.Copies.Cached(ctx, workflow)
	if err != nil || hubCopy == nil || stellarflow.Abandoned(hubCopy) {
		return nil, stellarflow.Placement{}, false
	}
	placement, found := stellarflow.PlacementOf(hubCopy)
	return hubCopy, placement, found && placement.Cluster == cluster
}

// strays returns the hub copy of a mirror's Workflow, and whether no record places that on the WEC or the mirror is another one's.
func (m *Mirrorer) strays(ctx context.Context, mirror *corev1.Pod, cluster stellarflow.ClusterName) (*metav1.PartialObjectMetadata, bool) {
	hubCopy, _, placed := m.placedOn(ctx, wec.WorkflowOf(mirror), cluster)
	return hubCopy, !placed || !metav1.IsControlledBy(mirror, hubCopy)
}

// cordoned reports whether the Node of a WEC is.
func (m *Mirrorer) cordoned(ctx context.Context, cluster stellarflow.ClusterName) bool {
	var node corev1.Node
	return m.Shown.Get(ctx, types.NamespacedName{Name: NodeName(cluster)}, &node) == nil && node.Spec.Unschedulable
}

// wanted reports whether the policy that has placed a Workflow lets its pods be mirrored; when it is gone, whether it did at the placement.
func (m *Mirrorer) wanted(ctx context.Context, hubCopy metav1.Object) (bool, error) {
	placement, _ := stellarflow.PlacementOf(hubCopy)
	var policy v1alpha1.BindingPolicy
	switch err := m.Policies.Get(ctx, types.NamespacedName{Name: placement.Policy}, &policy); {
	case apierrors.IsNotFound(err):
		return !placement.Hidden, nil
	case err != nil:
		return false, fmt.Errorf("read policy %q from the cache: %w", placement.Policy, err)
	}
	return !stellarflow.HidesPods(&policy), nil
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
		v.Mirror, v.Noted = &mirror, p.noted(key, &mirror, v.Now)
		_, v.Removed = p.removing.Load(mirror.UID)
		_, v.Stray = p.strays(ctx, &mirror, v.Cluster)
	case !apierrors.IsNotFound(err):
		return v, nil, fmt.Errorf("read pod %s from the cache: %w", key, err)
	}
	v.Cordoned = p.cordoned(ctx, v.Cluster)
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
	v.Real = pod
	var err error
	if v.Wanted, err = p.wanted(ctx, hubCopy); err != nil {
		return v, nil, err
	}
	p.known.Lock()
	defer p.known.Unlock()
	known := p.read[key]
	v.Read, v.ReadAt, v.Archived, v.Deleted, v.Failed = known.version, known.at, known.archived, p.deleted[key], p.passed[key].failed
	v.Refused = known.refused.of(pod)
	return v, hubCopy, nil
}

// forget drops what is remembered of a pod that is gone. How often its name was written about is dropped later: another one may have it.
func (p *pods) forget(key types.NamespacedName, now time.Time) {
	p.known.Lock()
	defer p.known.Unlock()
	delete(p.deleted, key)
	delete(p.passed, key)
	if known := p.read[key]; known.paced.After(now) {
		p.read[key] = seen{paced: known.paced}
	} else {
		delete(p.read, key)
	}
}

// remember notes what was read of a pod.
func (p *pods) remember(key types.NamespacedName, v View, pod *corev1.Pod) (archived time.Time) {
	p.known.Lock()
	defer p.known.Unlock()
	before := p.read[key]
	now := seen{version: VersionOf(pod), at: v.Now, paced: before.paced}
	if Archived(pod) {
		now.archived = Since(v, pod)
	}
	p.read[key] = now
	return now.archived
}

// putOff says on the Workflow why a pod cannot be shown, if there is something to say, and remembers until when it is not tried again.
func (p *pods) putOff(owner *metav1.PartialObjectMetadata, key types.NamespacedName, v View, why string) time.Duration {
	if why != "" {
		p.refused(owner, key, why)
	}
	p.known.Lock()
	defer p.known.Unlock()
	known := p.read[key]
	known.refused = Refusal{UID: v.Real.GetUID(), Until: v.Now.Add(lastBackoff), Why: why}
	p.read[key] = known
	return lastBackoff
}

// wait returns how long a pod is to wait until it may be written about again.
func (p *pods) wait(key types.NamespacedName, now time.Time) time.Duration {
	p.known.Lock()
	defer p.known.Unlock()
	_, wait := pace(p.read[key].paced, now)
	return wait
}

// wrote notes that a pod was written about.
func (p *pods) wrote(key types.NamespacedName, now time.Time) {
	p.known.Lock()
	defer p.known.Unlock()
	known := p.read[key]
	known.paced, _ = pace(known.paced, now)
	p.read[key] = known
}
