package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/cleanup"
	"stellarflow.io/stellarflow/pkg/hub/cluster"
	"stellarflow.io/stellarflow/pkg/hub/downsync"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
)

// reportOrphan is how often an unfinished orphan is looked at again.
const reportOrphan = 5 * time.Minute

// gone confirms that a WEC copy is gone and then ends the hub copy's wait for it, says that it vanished, or does what is asked all the same.
func (s *Syncer) gone(ctx context.Context, c *cluster.Connection, key types.NamespacedName, v View, placement stellarflow.Placement, step Step) (time.Duration, error) {
	if wait := s.Creator.Attempts.Pending(placement, c.State().LeaseSince, v.Now); wait > 0 && step != Vanished {
		return wait, nil // a create whose end nobody knows may still arrive
	}
	wait, err := s.Gone.Confirm(ctx, c.Clients, key, placement)
	if errors.Is(err, cleanup.ErrPresent) && v.WEC != nil && !placement.Owns(v.WEC) {
		return retryRefused, s.say(ctx, c, v, sayDisowned, fmt.Sprintf("the Workflow of this name on cluster %s says that it is a copy of this one, of attempt %q and not %d: "+
			"delete it there, or put its annotation %s right", c.Name, v.WEC.Annotations[stellarflow.AnnotationAttempt], placement.Attempt, stellarflow.AnnotationAttempt))
	}
	if errors.Is(err, cleanup.ErrPresent) {
		return time.Second, nil // the watch will show it
	}
	if err != nil || wait > 0 {
		return wait, err
	}
	switch step {
	case Vanished:
		return 0, s.vanished(ctx, c, key, placement)
	case RunAgain:
		return 0, s.runAgain(ctx, c, key, v, placement)
	default: // FinishCleanup
	}
	operations := hubcopy.Release(v.Hub)
	if operations == nil {
		return 0, nil
	}
	if _, err := s.Hub.Patch(ctx, key, operations...); err != nil {
		return 0, err
	}
	s.forget(placement.UID)
	return 0, nil
}

// sayHeld says which finalizers, none of ours, keep the WEC copy of a hub copy that is being deleted: Argo's own stays until the
// artifacts are removed, and for ever where its pods cannot do that.
func (s *Syncer) sayHeld(ctx context.Context, c *cluster.Connection, v View) error {
	return s.say(ctx, c, v, sayHeld, fmt.Sprintf("it is being deleted, and its copy on cluster %s is kept there by %s: let whoever owns that finalizer end its work "+
		"(Argo removes artifacts first: the copy's conditions there say what fails), take it off the copy there, or give this Workflow up with `stellarflow abandon`",
		c.Name, stellarflow.OneLine(strings.Join(v.WEC.Finalizers, ", "), maxFinalizers)))
}

// vanished ends a hub copy whose WEC copy was removed by force: nothing will ever be heard of it, and running it again would
// be a second run.
func (s *Syncer) vanished(ctx context.Context, c *cluster.Connection, key types.NamespacedName, placement stellarflow.Placement) error {
	live, err := s.Hub.Live(ctx, key)
	if err != nil || live == nil || !placement.RecordedOn(live) {
		return err
	}
	message := fmt.Sprintf("its copy on cluster %s was removed there before its end was seen; pods of it may have run to their end. Resubmit it to run it again", c.Name)
	operations := append(hubcopy.Unchanged(live), s.Hub.Ended(live, message, s.Now())...)
	written, err := s.Hub.Patch(ctx, key, operations...)
	if err != nil {
		return err
	}
	s.Metrics.Vanished(c.Name)
	s.Recorder.Eventf(written, corev1.EventTypeWarning, eventVanished, "%s", message)
	s.forget(placement.UID)
	return nil
}

// orphan handles a WEC copy that no hub copy in the cache claims: a finished one is removed if a live read shows that its hub
// copy does not exist; an unfinished one is reported and never killed on suspicion (DESIGN.md §4, Endings).
func (s *Syncer) orphan(ctx context.Context, c *cluster.Connection, key types.NamespacedName, v View) (time.Duration, error) {
	live, err := s.Hub.Live(ctx, key)
	if err != nil {
		return 0, err
	}
	known := live != nil && string(live.GetUID()) == v.WEC.Annotations[stellarflow.AnnotationHubUID]
	if known {
		if v.Hub == nil || v.Hub.UID != live.GetUID() {
			return time.Second, nil // the cache is behind
		}
		if _, placed := stellarflow.PlacementOf(live); !placed {
			return time.Second, nil // placement is about to restore the record
		}
	}
	if known || !stellarflow.Completed(v.WEC) { // known: it is placed elsewhere, and this is a leftover that a person should look at
		c.SetOrphan(ctx, key, true)
		return reportOrphan, nil
	}
	return 0, s.removeOrphan(ctx, c, key, v)
}

func (s *Syncer) removeOrphan(ctx context.Context, c *cluster.Connection, key types.NamespacedName, v View) error {
	s.Log.Info("removing a finished copy whose hub copy is gone", "cluster", c.Name, "workflow", key)
	return s.onWEC(c, key, v.WEC)(cleanup.DeleteWECCopy(ctx, c.Clients.Metadata, v.WEC))
}

// nameTaken handles a WEC copy of this hub that has the name of a Workflow placed here. If it names another hub UID, that Workflow is
// gone: a name is on the hub once. It is an orphan then, and goes if it has ended; an unfinished one keeps the name.
func (s *Syncer) nameTaken(ctx context.Context, c *cluster.Connection, key types.NamespacedName, v View, placement stellarflow.Placement) (time.Duration, error) {
	holder := v.WEC.Annotations[stellarflow.AnnotationHubUID]
	orphan := holder != string(placement.UID)
	if orphan {
		live, err := s.Hub.Live(ctx, key)
		if err != nil {
			return 0, err
		}
		if live == nil || !placement.RecordedOn(live) {
			return time.Second, nil // the cache is behind
		}
		if stellarflow.Completed(v.WEC) {
			return 0, s.removeOrphan(ctx, c, key, v)
		}
	}
	c.SetOrphan(ctx, key, orphan)
	s.Metrics.Refused(c.Name, downsync.ReasonNameTaken)
	why := fmt.Sprintf("another Workflow of this hub named %s is there (hub UID %s): delete it there, or create this one under another name",
		key, stellarflow.OneLine(holder, maxUID))
	if orphan {
		why = fmt.Sprintf("a copy of an earlier Workflow named %s runs there (hub UID %s) and is waited for: to end it, `stellarflow orphans delete %s %s`",
			key, stellarflow.OneLine(holder, maxUID), c.Name, key)
	}
	return retryRefused, s.Placer.Refused(ctx, key, placement, why, false)
}
