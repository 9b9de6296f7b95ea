package lifecycle

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/cluster"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
	"stellarflow.io/stellarflow/pkg/wec"
)

// Events on hub copies that go with the sync annotation.
const (
	sayUnreachable = "ClusterUnreachable"
	sayChanged     = "ClusterChanged"
	sayDisowned    = "CopyDisowned"
	sayNotMirrored = "NotMirrored"
	sayStuck       = "StepFails"
	sayHeld        = "CopyHeld"
)

// How many bytes a sentence has at most that quotes what a WEC said, and a UID or names of finalizers in it.
const (
	maxSaid       = 1024
	maxUID        = 64
	maxFinalizers = 256
)

// say writes the sync annotation and an event, unless it is said already.
func (s *Syncer) say(ctx context.Context, c *cluster.Connection, v View, reason, message string) error {
	message = stellarflow.OneLine(message, maxSaid)
	if v.Hub.Annotations[stellarflow.AnnotationSync] == message {
		return nil
	}
	if err := s.Away.Wait(ctx); err != nil {
		return fmt.Errorf("say what is wrong on %q: %w", c.Name, err)
	}
	key := types.NamespacedName{Namespace: v.Hub.Namespace, Name: v.Hub.Name}
	operations := append(hubcopy.Unchanged(v.Hub), hubcopy.Add(message, "metadata", "annotations", stellarflow.AnnotationSync))
	written, err := s.Hub.Patch(ctx, key, operations...)
	if err != nil {
		return err
	}
	s.Recorder.Eventf(written, corev1.EventTypeWarning, reason, "%s", message)
	return nil
}

// keepsFailing is how the sentence of Stuck begins.
func keepsFailing(name stellarflow.ClusterName) string {
	return fmt.Sprintf("the next step for it on cluster %s keeps failing", name)
}

// Stuck says on a hub copy that the next step for it keeps failing.
func (s *Syncer) Stuck(ctx context.Context, c *cluster.Connection, key types.NamespacedName, cause error) error {
	v, err := s.observe(ctx, c, key)
	if err != nil {
		return err
	}
	placement, placed := hubPlacement(v)
	if !placed || !v.Connected { // an outage is said after a while, in words of its own
		return nil
	}
	if strings.HasPrefix(v.Hub.Annotations[stellarflow.AnnotationSync], keepsFailing(c.Name)) { // maybe in other words: one is enough
		return nil
	}
	message := keepsFailing(c.Name) + " and is tried again: " + wec.Plain(cause)
	if step, _ := Next(v); step == ReleaseHarvest || step == RestoreHarvest { // the next mirror would take an annotation back
		s.Recorder.Eventf(v.Hub, corev1.EventTypeWarning, sayStuck, "%s", message)
		return nil
	}
	if placement.WECUID != "" || stellarflow.Completed(v.Hub) || v.Hub.DeletionTimestamp != nil {
		return s.say(ctx, c, v, sayStuck, message)
	}
	live, err := s.Hub.Live(ctx, key)
	if err != nil || live == nil {
		return err
	}
	if !placement.RecordedOn(live) {
		return nil
	}
	written, err := s.Hub.SayPending(ctx, live, message)
	if err == nil && written != nil {
		s.Recorder.Eventf(written, corev1.EventTypeWarning, sayStuck, "%s", message)
	}
	return err
}
