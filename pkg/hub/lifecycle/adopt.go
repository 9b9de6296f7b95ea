package lifecycle

import (
	"context"
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/cleanup"
	"stellarflow.io/stellarflow/pkg/hub/cluster"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
)

// eventAdopted is the event on a hub copy whose record was brought to an attempt that the hub had forgotten; placement has the same for
// a record that was lost as a whole.
const eventAdopted = "PlacementRestored"

// Times of adopt: until the clusters were tried, and until caches show what a live read has.
const (
	untilSettled = time.Second
	untilShown   = time.Second
)

// adopt brings the record of a hub copy to the attempt that runs on its cluster, or has: the hub was restored from a backup to before a
// retry. Nothing is created by that, and the next pass mirrors it, so that an end of the attempt before is followed by this run as after any
// retry. If another cluster has a copy of that attempt or a later one, a person decides.
func (s *Syncer) adopt(ctx context.Context, c *cluster.Connection, key types.NamespacedName, v View, placement stellarflow.Placement) (time.Duration, error) {
	if !s.Fleet.Settled() {
		return untilSettled, nil
	}
	switch state, newest, err := s.Fleet.FindByHubUID(placement.UID); {
	case err != nil:
		return s.doubtful(ctx, c, key, v, err.Error())
	case newest != nil && (state.Name != c.Name || newest.UID != v.WEC.UID):
		return s.doubtful(ctx, c, key, v, fmt.Sprintf("attempt %s is on cluster %s", newest.Annotations[stellarflow.AnnotationAttempt], state.Name))
	}
	c.SetOrphan(ctx, key, false)
	there, err := s.stillThere(ctx, c, key, v, placement)
	if err != nil || !there {
		return untilShown, err
	}
	live, err := s.Hub.Live(ctx, key)
	if err != nil || live == nil {
		return 0, err
	}
	if !placement.RecordedOn(live) {
		return untilShown, nil
	}
	next, err := adopted(placement, v.WEC, s.Now())
	if err != nil {
		return 0, err
	}
	record, observedNothing, shutdown := next.String(), "", shutdownBefore(live, placement, v.WEC)
	operations := append(hubcopy.Unchanged(live), hubcopy.Set(live, "annotations", map[string]*string{
		stellarflow.AnnotationPlacement: &record, stellarflow.AnnotationObserved: &observedNothing, stellarflow.AnnotationSync: nil,
	})...)
	if live.GetDeletionTimestamp() == nil {
		operations = append(operations, hubcopy.AddFinalizer(live, stellarflow.FinalizerCleanup)...)
	}
	if shutdown != "" { // it would end this attempt
		operations = append(operations, hubcopy.Add("", "spec", "shutdown"))
	}
	written, err := s.Hub.Patch(ctx, key, operations...)
	if err != nil {
		return 0, err
	}
	s.Gone.Forget(placement.UID)
	s.Metrics.Restored(c.Name)
	s.Recorder.Eventf(written, corev1.EventTypeWarning, eventAdopted, "%s", sayAdopted(next, shutdown))
	return time.Millisecond, nil
}

// adopted is the record of the attempt that a WEC copy is of.
func adopted(placement stellarflow.Placement, wecCopy metav1.Object, now time.Time) (stellarflow.Placement, error) {
	attempt, err := strconv.Atoi(wecCopy.GetAnnotations()[stellarflow.AnnotationAttempt])
	if err != nil {
		return placement, fmt.Errorf("workflow %s/%s on %q: read its attempt: %w", wecCopy.GetNamespace(), wecCopy.GetName(), placement.Cluster, err)
	}
	placement.Attempt, placement.WECUID, placement.Time, placement.Refused = attempt, wecCopy.GetUID(), now.UTC().Truncate(time.Second), nil
	return placement, nil
}

// shutdownBefore returns the hub copy's spec.shutdown if it was for an attempt before the one that is adopted, empty if there is none or that is
// not certain. A retry takes it back on both sides, which the backup may not know; but people may also have asked it since the restore. It
// was for an earlier attempt if the copy of the recorded one was compared with it: nobody has written to the hub copy's spec since then. What the
// attempt there was told itself stays: it is passed on no second time, and a retry there takes it back here.
//
// Any other is left, and passed on. It may end a run that nobody wants ended: that can be retried, and event ShutdownPassedOn says why it ended. One that
// is lost leaves a run that somebody takes for ended, and what that does meanwhile nobody takes back.
func shutdownBefore(live *unstructured.Unstructured, placement stellarflow.Placement, wecCopy metav1.Object) string {
	observed, known := stellarflow.ParseObserved(live.GetAnnotations()[stellarflow.AnnotationObserved])
	asked := stellarflow.Shutdown(live)
	switch {
	case asked == wecCopy.GetAnnotations()[stellarflow.AnnotationShutdown]:
		return ""
	case !known || observed.WECUID != placement.WECUID || observed.Generation != live.GetGeneration():
		return ""
	}
	return asked
}

func sayAdopted(next stellarflow.Placement, shutdown string) string {
	said := fmt.Sprintf("the hub was restored from a backup to before attempt %d of this Workflow, whose copy on cluster %s was found and is followed", next.Attempt, next.Cluster)
	if shutdown != "" {
		said += fmt.Sprintf("; spec.shutdown: %s was of an earlier attempt: stop it again if this one is to end", stellarflow.OneLine(shutdown, maxUID))
	}
	return said
}

// stillThere reads what is to be adopted live, and asks which cluster that is.
func (s *Syncer) stillThere(ctx context.Context, c *cluster.Connection, key types.NamespacedName, v View, placement stellarflow.Placement) (bool, error) {
	found, err := c.Clients.Metadata.Resource(stellarflow.Workflows).Namespace(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read workflow %s on %q: %w", key, c.Name, err)
	}
	for _, annotation := range []string{stellarflow.AnnotationHubUID, stellarflow.AnnotationAttempt} {
		if found.Annotations[annotation] != v.WEC.Annotations[annotation] {
			return false, nil
		}
	}
	return found.UID == v.WEC.UID, cleanup.Identify(ctx, c.Clients, placement)
}

// doubtful says that a hub copy from a backup has copies of later attempts on more than one cluster, and reports the one here.
func (s *Syncer) doubtful(ctx context.Context, c *cluster.Connection, key types.NamespacedName, v View, what string) (time.Duration, error) {
	c.SetOrphan(ctx, key, true)
	return retryRefused, s.say(ctx, c, v, sayDisowned, fmt.Sprintf("the hub was restored from a backup to before attempt %s of this Workflow, which is on cluster %s, but %s: "+
		"delete there, with its finalizer %s, what is not to count; it is followed once one is left",
		stellarflow.OneLine(v.WEC.Annotations[stellarflow.AnnotationAttempt], maxUID), c.Name, stellarflow.OneLine(what, maxFinalizers), stellarflow.FinalizerHarvest))
}
