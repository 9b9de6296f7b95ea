package podmirror

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
	"stellarflow.io/stellarflow/pkg/wec"
)

// most bounds the mirrored pods of one cluster, which could say that any number of them are its Workflows'.
const most = 5000

// show reads the real pod and makes the mirror show it. What was read already, and had to be shown, is not read again if there is no room for it.
func (p *pods) show(ctx context.Context, key types.NamespacedName, v View, owner *metav1.PartialObjectMetadata) (time.Duration, error) {
	if v.current() && !p.room(v.Cluster, v.Mirror) {
		return p.putOff(owner, key, v, full(v.Cluster)), nil
	}
	pod, err := p.connection.Clients.Pods.Pods(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return 0, nil // the watch will tell
	}
	if err != nil {
		return p.unread(owner, key, v, err)
	}
	if _, ours := p.owner(ctx, pod); !ours || pod.UID != v.Real.GetUID() || client.ObjectKeyFromObject(pod) != key {
		return time.Second, nil // replaced since the cache saw it
	}
	archived := p.remember(key, v, pod)
	left := Lingers - v.Now.Sub(archived)
	if !archived.IsZero() && left <= 0 {
		return time.Millisecond, nil
	}
	want, err := Render(pod, owner, v.Cluster)
	if err != nil {
		return p.putOff(owner, key, v, "cluster "+string(v.Cluster)+" says that "+err.Error()), nil //nolint:nilerr // it is said
	}
	if after, err := p.write(ctx, v, owner, want); err != nil || after > 0 || archived.IsZero() {
		return after, err
	}
	return left, nil
}

// full says why a pod is not shown for which there is no room.
func full(cluster stellarflow.ClusterName) string {
	return fmt.Sprintf("%d of cluster %s are, which is as many as the hub shows", most, cluster)
}

// write makes the Pod on the hub, or brings its status up to date.
func (p *pods) write(ctx context.Context, v View, owner *metav1.PartialObjectMetadata, want *corev1.Pod) (time.Duration, error) {
	hub, mirror, key := p.Hub.CoreV1().Pods(want.Namespace), v.Mirror, client.ObjectKeyFromObject(want)
	var err error
	if !p.room(v.Cluster, mirror) {
		return p.putOff(owner, key, v, full(v.Cluster)), nil
	}
	if mirror == nil {
		made := want.DeepCopy()
		delete(made.Annotations, stellarflow.AnnotationMirrored) // until it has the status
		switch mirror, err = hub.Create(ctx, made, metav1.CreateOptions{}); {
		case apierrors.IsAlreadyExists(err):
			there, err := hub.Get(ctx, want.Name, metav1.GetOptions{})
			if err == nil && there.Labels[stellarflow.LabelMirrorOf] == "" { // the cache shows no such Pod
				return p.putOff(owner, key, v, nameTaken), nil
			}
			return time.Second, nil // nor this one yet
		case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
			return p.putOff(owner, key, v, ""), nil
		case apierrors.IsForbidden(err), apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
			return p.putOff(owner, key, v, err.Error()), nil
		case err != nil:
			return 0, p.repeats(owner, want, fmt.Errorf("mirror pod %s/%s of cluster %s: %w", want.Namespace, want.Name, v.Cluster, err))
		}
		p.events.Look(key)
	}
	if _, err = hub.UpdateStatus(ctx, showing(mirror, want), metav1.UpdateOptions{}); err != nil {
		if v.Mirror != nil && apierrors.IsInvalid(err) { // what a pod cannot become: it is another one
			p.wrote(key, v.Now)
			err = errors.Join(err, p.remove(ctx, mirror))
		}
		return 0, p.repeats(owner, want, fmt.Errorf("show the status of pod %s/%s of cluster %s: %w", want.Namespace, want.Name, v.Cluster, err))
	}
	p.wrote(key, v.Now)
	p.shown(key)
	return 0, nil
}

// showing returns a mirror as it is to be, in what its status subresource may change of it. What the hub says of who disrupts it stays.
func showing(mirror, want *corev1.Pod) *corev1.Pod {
	shown := mirror.DeepCopy()
	shown.Status = want.Status
	shown.Status.QOSClass = mirror.Status.QOSClass
	shown.Status.Conditions = slices.Concat(want.Status.Conditions, disrupted(mirror))
	for key, value := range want.Annotations { // whoever may edit pods may have taken them all
		metav1.SetMetaDataAnnotation(&shown.ObjectMeta, key, value)
	}
	return shown
}

// remove ends a mirror at once. One that it has not removed goes at somebody else's word, if it goes.
func (m *Mirrorer) remove(ctx context.Context, mirror *corev1.Pod) error {
	m.removing.Store(mirror.UID, true)
	now := int64(0)
	err := m.Hub.CoreV1().Pods(mirror.Namespace).Delete(ctx, mirror.Name, metav1.DeleteOptions{GracePeriodSeconds: &now, Preconditions: metav1.NewUIDPreconditions(string(mirror.UID))})
	return m.answered(mirror, err)
}

// answered ends remove with what the hub has answered.
func (m *Mirrorer) answered(mirror *corev1.Pod, err error) error {
	if err != nil {
		m.removing.Delete(mirror.UID)
	}
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("remove mirrored pod %s/%s: %w", mirror.Namespace, mirror.Name, err)
	}
	return nil
}

// clear takes off a mirror that it is deleted: the request was refused, and what deletes it later is something else.
func (p *pods) clear(ctx context.Context, mirror *corev1.Pod) error {
	raw, err := hubcopy.Marshal(append(hubcopy.Unchanged(mirror), hubcopy.Set(mirror, "annotations", map[string]*string{stellarflow.AnnotationDeletion: nil})...))
	if err == nil {
		_, err = p.Hub.CoreV1().Pods(mirror.Namespace).Patch(ctx, mirror.Name, hubcopy.PatchType, raw, metav1.PatchOptions{FieldManager: fieldManager})
	}
	if err = hubcopy.Classify(err); err != nil && !apierrors.IsNotFound(err) && !errors.Is(err, hubcopy.ErrLostRace) { // else the cache will show it
		return fmt.Errorf("take off mirrored pod %s/%s that it is deleted: %w", mirror.Namespace, mirror.Name, err)
	}
	return nil
}

// failed remembers why a deletion could not be passed on, nil if it was.
func (p *pods) failed(key types.NamespacedName, err error) {
	p.known.Lock()
	defer p.known.Unlock()
	known := p.passed[key]
	known.failed = ""
	if err != nil {
		known.failed = oneLine(wec.Plain(err))
	}
	p.passed[key] = known
}

// passOn deletes the real pod, as a person has deleted its mirror.
func (p *pods) passOn(ctx context.Context, key types.NamespacedName, v View, owner *metav1.PartialObjectMetadata) error {
	node, err := p.Hub.CoreV1().Nodes().Get(ctx, NodeName(v.Cluster), metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("look whether pod %s of cluster %s is drained: %w", key, v.Cluster, err)
	}
	if node.Spec.Unschedulable { // and the cache will show it
		return fmt.Errorf("delete pod %s of cluster %s: node %s is cordoned", key, v.Cluster, node.Name)
	}
	options := metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(v.Real.GetUID())), GracePeriodSeconds: v.Deleted.Grace}
	if v.Mirror != nil && v.Mirror.DeletionTimestamp != nil {
		options.GracePeriodSeconds = v.Mirror.DeletionGracePeriodSeconds
	}
	err = p.connection.Clients.Pods.Pods(key.Namespace).Delete(ctx, key.Name, options)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // the watch will tell
	}
	if err != nil {
		return fmt.Errorf("delete pod %s of cluster %s: %w", key, v.Cluster, err)
	}
	p.Log.Info("deleted a pod as its mirror was", "cluster", v.Cluster, "pod", key)
	p.Recorder.Eventf(owner, corev1.EventTypeNormal, eventPodDeleted, "deleted pod %s on cluster %s, as it was deleted here", key.Name, string(v.Cluster))
	return nil
}
