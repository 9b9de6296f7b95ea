package lifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/cluster"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
	"stellarflow.io/stellarflow/pkg/hub/intent"
)

// runAgain does what is asked of an ended Workflow whose WEC copy is gone: a retry is a new attempt on the same cluster, created with the
// nodes that the hub has shown. That is recorded first.
func (s *Syncer) runAgain(ctx context.Context, c *cluster.Connection, key types.NamespacedName, v View, placement stellarflow.Placement) error {
	live, err := s.Hub.Live(ctx, key)
	if err != nil {
		return err
	}
	if live == nil || !placement.RecordedOn(live) {
		return fmt.Errorf("workflow %s: %w", key, hubcopy.ErrLostRace)
	}
	waiting, err := stellarflow.IntentsOf(live)
	if err != nil || len(waiting) == 0 {
		return s.settle(ctx, key, v, live, carried{}, nil, fmt.Sprintf("what was asked of it cannot be read: %v", err))
	}
	last := waiting[len(waiting)-1]
	operations, err := s.retried(v, live, last, placement)
	var no *intent.Refusal
	if errors.As(err, &no) {
		return s.settle(ctx, key, v, live, carried{refused: waiting}, nil, refusal(last, c.Name, no.Message))
	}
	if err != nil {
		return err
	}
	s.Gone.Forget(placement.UID)
	result, why := carried{done: []stellarflow.Intent{last}, refused: waiting[:len(waiting)-1]}, ""
	if n := len(result.refused); n > 0 { // what was asked of the run before
		why = refusal(result.refused[n-1], c.Name, "it has ended")
	}
	if err := s.settle(ctx, key, v, live, result, operations, why); err != nil {
		return err
	}
	s.report(c, v, result)
	return nil
}

// retried returns the operations that make a retry of an ended hub copy the next attempt on its cluster. If the copy of that is there, it was
// recorded before, and the hub was restored from a backup since.
func (s *Syncer) retried(v View, live *unstructured.Unstructured, asked stellarflow.Intent, placement stellarflow.Placement) ([]hubcopy.Operation, error) {
	observed, known := stellarflow.ParseObserved(live.GetAnnotations()[stellarflow.AnnotationObserved])
	next := placement
	next.Attempt, next.WECUID, next.Time, next.Refused = placement.Attempt+1, "", s.Now().UTC().Truncate(time.Second), nil
	switch {
	case asked.Kind != stellarflow.IntentRetry:
		return nil, &intent.Refusal{Message: "it has ended"}
	case s.outlived(asked) && (v.WEC == nil || !next.Owns(v.WEC)):
		return nil, &intent.Refusal{Message: sayOutlived}
	case !known || observed.Hash != asked.Base:
		return nil, &intent.Refusal{Message: "it has changed since; look at it and retry again"}
	}
	raw, err := json.Marshal(live.Object["status"])
	if err != nil {
		return nil, fmt.Errorf("read the status of workflow %s/%s: %w", live.GetNamespace(), live.GetName(), err)
	}
	status, err := intent.Again(live.GetName(), raw, asked.Retry)
	if err != nil {
		return nil, err
	}
	status["phase"], status["message"] = stellarflow.PhasePending, fmt.Sprintf("runs again on cluster %s, where its copy was removed", placement.Cluster)
	record, observedNothing, phase := next.String(), "", stellarflow.PhasePending
	operations := append(hubcopy.Unchanged(live), hubcopy.Add(status, "status"))
	operations = append(operations, hubcopy.Set(live, "annotations", map[string]*string{
		stellarflow.AnnotationPlacement: &record, stellarflow.AnnotationObserved: &observedNothing, stellarflow.AnnotationSync: nil,
	})...)
	operations = append(operations, hubcopy.Set(live, "labels", map[string]*string{
		stellarflow.ArgoLabelCompleted: nil, stellarflow.ArgoLabelArchivingStatus: nil, stellarflow.ArgoLabelPhase: &phase,
	})...)
	operations = append(operations, hubcopy.AddFinalizer(live, stellarflow.FinalizerCleanup)...)
	if stellarflow.Shutdown(live) != "" {
		operations = append(operations, hubcopy.Add("", "spec", "shutdown"))
	}
	if asked.Retry.Arguments != nil {
		operations = append(operations, hubcopy.Add(asked.Retry.Arguments, "spec", "arguments"))
	}
	return operations, nil
}

// settle writes what has become of the intents of a hub copy whose WEC copy is gone, and says why nothing was done, if that is so.
func (s *Syncer) settle(ctx context.Context, key types.NamespacedName, v View, live metav1.Object, result carried, operations []hubcopy.Operation, why string) error {
	if operations == nil {
		operations = hubcopy.Unchanged(live)
	}
	if stellarflow.FollowsWECCopy(live) { // nothing is left of which it could be as
		operations = append(operations, hubcopy.Add(false, "spec", "suspend"))
	}
	counts := result.counts(live).String()
	said := map[string]*string{stellarflow.AnnotationIntents: nil, stellarflow.AnnotationRefused: nil, stellarflow.AnnotationActions: &counts}
	if why != "" {
		why = stellarflow.OneLine(why, maxSaid)
		said[stellarflow.AnnotationRefused] = &why
	}
	_, err := s.Hub.Patch(ctx, key, append(operations, hubcopy.Set(live, "annotations", said)...)...)
	if err == nil && why != "" {
		s.Recorder.Eventf(v.Hub, nil, corev1.EventTypeWarning, eventIntentRefused, "Act", "%s", why)
	}
	return err
}
