package lifecycle

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/cleanup"
	"stellarflow.io/stellarflow/pkg/hub/cluster"
)

// eventBuried is the event on a given-up hub copy whose WEC copy is gone.
const eventBuried = "GivenUpCopyGone"

// move lets a Workflow go to another cluster once it is a fact that nothing of it is on this one and that nothing can still
// arrive. It is called in the one pass that this key has here, so no create of this process is under way; while a person asks
// none is begun.
func (s *Syncer) move(ctx context.Context, c *cluster.Connection, key types.NamespacedName, v View, placement stellarflow.Placement) (time.Duration, error) {
	if wait := s.Creator.Attempts.Pending(placement, c.State().LeaseSince, v.Now); wait > 0 {
		return wait, nil
	}
	wait, err := s.Gone.Confirm(ctx, c.Clients, key, placement)
	if errors.Is(err, cleanup.ErrPresent) {
		return time.Second, s.Placer.Refuse(ctx, v.Hub, "its copy is on cluster "+string(c.Name)+" and may have run")
	}
	if err != nil || wait > 0 {
		return wait, err
	}
	s.Gone.Forget(placement.UID)
	return 0, s.Placer.Move(ctx, v.Hub, placement)
}

// endTombstone removes a tombstone that is done with, or should not be.
func (s *Syncer) endTombstone(ctx context.Context, c *cluster.Connection, key types.NamespacedName, v View, step Step) (time.Duration, error) {
	if step == LiftTombstone {
		stone, _ := v.void()
		return 0, s.Tombstones.Remove(ctx, stone)
	}
	return s.finishBurial(ctx, c, key, v)
}

// finishBurial removes a tombstone once the copy that it names is gone and cannot still arrive.
func (s *Syncer) finishBurial(ctx context.Context, c *cluster.Connection, key types.NamespacedName, v View) (time.Duration, error) {
	stone, _ := v.stone()
	placement := stone.Placement()
	if wait := s.Creator.Attempts.Pending(placement, c.State().LeaseSince, v.Now); wait > 0 {
		return wait, nil
	}
	wait, err := s.Gone.Confirm(ctx, c.Clients, key, placement)
	if errors.Is(err, cleanup.ErrPresent) {
		return time.Second, nil // the watch will show it
	}
	if err != nil || wait > 0 {
		return wait, err
	}
	if err := s.Tombstones.Remove(ctx, stone); err != nil {
		return 0, err
	}
	s.Log.Info("a Workflow that was given up is gone", "cluster", c.Name, "workflow", key, "hubUID", stone.HubUID)
	if v.Hub != nil && v.Hub.UID == stone.HubUID {
		s.Recorder.Eventf(v.Hub, corev1.EventTypeNormal, eventBuried, "it was given up, and no copy of it is on cluster %s any more", string(c.Name))
	}
	s.forget(stone.HubUID)
	return 0, nil
}
