package podmirror

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/wec"
)

// Events on hub copies.
const (
	eventPodDeleted  = "PodDeletedOnCluster"
	eventNotDeleted  = "PodNotDeleted"
	eventNotMirrored = "PodNotMirrored"
)

// Events on ManagedClusters.
const (
	eventNodeTaken       = "NodeNameTaken"
	eventNodeNotRepaired = "NodeNotRepaired"
	eventLeaseNotRenewed = "NodeLeaseNotRenewed"
)

// sayNotPassedOn says that a pod which a person has deleted is there again, if it is, and forgets that it was deleted.
func (p *pods) sayNotPassedOn(key types.NamespacedName, v View, owner *metav1.PartialObjectMetadata) {
	mirror, why := NotPassedOn(v)
	p.known.Lock()
	if (v.Mirror == nil || why != "") && p.deleted[key] == v.Deleted {
		delete(p.deleted, key)
	}
	known := p.passed[key]
	said := why == "" || known.said == mirror
	if !said {
		known.said, known.failed = mirror, ""
		p.passed[key] = known
	}
	p.known.Unlock()
	if !said {
		p.Recorder.Eventf(owner, corev1.EventTypeWarning, eventNotDeleted, "pod %s on cluster %s is not deleted although it was here: %s, and delete it again",
			v.Real.GetName(), string(v.Cluster), why)
	}
}

// NotPassedOn returns why a deletion that admission saw asked for is not passed on, and the UID of the mirrored pod; empty if there is none, or if
// the real pod goes or has ended.
func NotPassedOn(v View) (mirror types.UID, why string) {
	if v.Real == nil || !v.Wanted || v.archived() || v.Real.GetDeletionTimestamp() != nil {
		return "", ""
	}
	deleted := v.Deleted // of the mirror before this, if there is one
	if v.Mirror != nil && v.Mirror.DeletionTimestamp != nil {
		if _, noted := AskOf(v.Mirror); !noted {
			return "", ""
		}
		deleted = Deletion{Mirror: v.Mirror.UID, UID: types.UID(v.Mirror.Labels[stellarflow.LabelMirrorOf]), Unsure: !Asked(v.Mirror)}
	}
	switch {
	case deleted.UID != v.Real.GetUID():
		return "", ""
	case v.Cordoned:
		why = "node " + NodeName(v.Cluster) + " is cordoned: uncordon it"
	case deleted.Unsure:
		why = fmt.Sprintf("that was an eviction, or began %s or more after the hub was told of somebody's request, or has another grace period, and the request may have been refused: "+
			"look whether it still is to go", within)
	case v.Failed != "":
		why = "for a minute that could not be passed on: " + v.Failed + ": mend that"
	default:
		why = "that was more than a minute ago when it could be passed on: look whether it still is to go"
	}
	return deleted.Mirror, why
}

// refused says on the Workflow that a pod is not shown.
func (p *pods) refused(owner *metav1.PartialObjectMetadata, pod types.NamespacedName, why string) {
	if p.unseen.set(whose{owner.UID, client.ObjectKeyFromObject(owner)}, there{p.connection.Name, pod}, fmt.Sprintf("logs from S3 only: pod %s is not mirrored here: %s", pod.Name, oneLine(why))) {
		p.Recorder.Eventf(owner, corev1.EventTypeWarning, eventNotMirrored, "%s", p.unseen.why(owner.UID))
		p.connection.Enqueue(client.ObjectKeyFromObject(owner))
	}
}

// patience is after how many tries that have failed in a row what an API server answers is said, and longPatience if it may be that something
// else comes soon: the cache is behind and will show what won, or the cluster has gone away, which is said of it within that time.
const patience, longPatience = 2, 6

// repeats returns an error of a write on the hub, and says it if it is an answer that has come again and again: a webhook that is down, say.
func (p *pods) repeats(owner *metav1.PartialObjectMetadata, want *corev1.Pod, err error) error {
	key, tries := client.ObjectKeyFromObject(want), patience
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		tries = longPatience
	}
	if why := answer(err); why != "" && p.queue.NumRequeues(key) >= tries {
		p.refused(owner, key, why)
	}
	return err
}

// unread says why a pod cannot be read if the cluster has answered so again and again, and returns that, or after how long it is tried again.
func (p *pods) unread(owner *metav1.PartialObjectMetadata, pod types.NamespacedName, v View, err error) (time.Duration, error) {
	tries := p.queue.NumRequeues(pod)
	if apierrors.IsForbidden(err) && tries >= patience { // an API server that begins answers so too
		return p.putOff(owner, pod, v, fmt.Sprintf("the hub may not read it on cluster %s: run `stellarflow join %s` again", v.Cluster, v.Cluster)), nil
	}
	if why := answer(err); why != "" && p.connection.State().Connected && tries >= longPatience {
		p.refused(owner, pod, fmt.Sprintf("it cannot be read on cluster %s: %s", v.Cluster, why))
	}
	return 0, fmt.Errorf("read pod %s of cluster %s: %w", pod, v.Cluster, err)
}

// answer returns what an API server has answered, empty if an error is no answer.
func answer(err error) string {
	var large *wec.TooLargeError
	if errors.As(err, &large) {
		return large.Error()
	}
	if status := apierrors.APIStatus(nil); errors.As(err, &status) {
		return status.Status().Message
	}
	return ""
}

// unwatched says of a WEC that answers why its pods are not watched, given why the last watch has ended.
func (p *pods) unwatched(ctx context.Context, err error) {
	state := p.connection.State()
	if !state.Connected && !apierrors.IsForbidden(err) { // which is said of it
		p.watched(ctx)
		return
	}
	p.ended++
	if why := unwatched(p.connection.Name, err, p.ended); why != "" && why != state.Unwatched {
		p.Log.Info("the pods of a cluster are not watched", "cluster", p.connection.Name, "error", why)
		p.connection.SetUnwatched(ctx, why)
	}
}

// watched takes that back.
func (p *pods) watched(ctx context.Context) {
	p.ended = 0
	p.connection.SetUnwatched(ctx, "")
}

// unwatched returns why the pods of a WEC cannot be watched, empty if that may mend itself: given why the last watch has ended, nil if it broke
// off, and how many in a row did not last.
func unwatched(name stellarflow.ClusterName, err error, ended int) string {
	said := ""
	if err != nil {
		said = answer(err)
	}
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Sprintf("the hub may not watch them: run `stellarflow join %s` again to restore its rights", name)
	case said != "" && ended >= patience:
		return oneLine(said)
	case said != "" || ended < longPatience:
		return ""
	case err == nil:
		return "the watch breaks off each time: check the network between the cluster and the hub"
	}
	return wec.Plain(err) + ": check the cluster and the network between it and the hub"
}

// nameTaken says that a pod's name is another one's on the hub.
const nameTaken = "the hub has a Pod of that name already"

// shown takes back what was said of a pod that is shown now, or gone, and forgets how often that has failed.
func (p *pods) shown(pod types.NamespacedName) {
	p.queue.Forget(pod)
	workflow, last, next := p.unseen.clear(there{p.connection.Name, pod})
	switch {
	case last:
		p.connection.Enqueue(workflow)
	case next != there{}:
		p.enqueue(next.cluster, next.pod)
	}
}

// LogsFromS3 returns why pods of a hub copy are not shown here, empty if all are.
func (m *Mirrorer) LogsFromS3(hubCopy types.UID) string { return m.unseen.why(hubCopy) }

// LookedAt reports whether this process has looked at all pods of a hub copy, or finds them shown: LogsFromS3 says of none before.
func (m *Mirrorer) LookedAt(ctx context.Context, hubCopy *metav1.PartialObjectMetadata) bool {
	placement, _ := stellarflow.PlacementOf(hubCopy)
	p := m.of(placement.Cluster)
	if p == nil {
		return false
	}
	if wanted, err := p.wanted(ctx, hubCopy); err != nil || !wanted {
		return err == nil
	}
	watch := p.watch.Load()
	if watch == nil {
		return false
	}
	for _, pod := range watch.ByWorkflow(client.ObjectKeyFromObject(hubCopy)) {
		key := client.ObjectKeyFromObject(pod)
		p.known.Lock()
		_, read := p.read[key]
		p.known.Unlock()
		if _, ours := p.owner(ctx, pod); ours && !read && p.mirror(ctx, key) == nil {
			return false
		}
	}
	return true
}
