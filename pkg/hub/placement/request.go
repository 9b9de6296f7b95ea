package placement

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/cluster"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
	"stellarflow.io/stellarflow/pkg/hub/metrics"
	"stellarflow.io/stellarflow/pkg/hub/tombstone"
)

// moving is how often a Workflow that waits to be moved is looked at here: if its cluster is lost meanwhile, the answer is no.
const moving = 5 * time.Second

// answer does what a person asked of a Workflow, or says why not. Abandoning needs no connection and is done here; whether a
// Workflow can be moved is found out on its cluster, by pkg/hub/lifecycle, which calls Move.
func (r *Reconciler) answer(ctx context.Context, key types.NamespacedName, workflow *metav1.PartialObjectMetadata, placement stellarflow.Placement) (ctrl.Result, error) {
	var state *cluster.State
	if connection, found := r.Fleet.Get(placement.Cluster); found {
		known := connection.State()
		state = &known
	}
	if why := refusal(workflow, state, r.restoredAt()); why != "" {
		return ctrl.Result{}, r.Refuse(ctx, workflow, why)
	}
	if workflow.Annotations[stellarflow.AnnotationRequest] == stellarflow.RequestAbandon {
		return ctrl.Result{}, r.abandon(ctx, key, placement)
	}
	return ctrl.Result{RequeueAfter: moving}, nil
}

// refusal returns why the request that a Workflow carries is not done, empty if it is. state is that of the recorded cluster's
// connection, nil if there is none.
func refusal(workflow metav1.Object, state *cluster.State, restoredAt time.Time) string {
	request := workflow.GetAnnotations()[stellarflow.AnnotationRequest]
	placement, placed := stellarflow.PlacementOf(workflow)
	ending, ended := workflow.GetDeletionTimestamp() != nil, stellarflow.Completed(workflow)
	switch {
	case request != stellarflow.RequestAbandon && request != stellarflow.RequestMove:
		return fmt.Sprintf("%s=%q is unknown: %s gives the Workflow up, %s places one that never started on another cluster",
			stellarflow.AnnotationRequest, request, stellarflow.RequestAbandon, stellarflow.RequestMove)
	case !placed:
		return fmt.Sprintf("it is not placed on a cluster, so there is nothing to %s: delete it if it is not wanted", request)
	case request == stellarflow.RequestAbandon && ended && !ending && !stellarflow.Abandoned(workflow):
		return "it has ended: delete it"
	case request == stellarflow.RequestAbandon:
		return ""
	}
	return refusalToMove(workflow, placement, state, restoredAt)
}

// refusalToMove returns why a placed Workflow cannot be placed on another cluster: only what certainly never started there can be.
func refusalToMove(workflow metav1.Object, placement stellarflow.Placement, state *cluster.State, restoredAt time.Time) string {
	switch {
	case stellarflow.Abandoned(workflow):
		return "it was given up: resubmit it to run it again"
	case workflow.GetDeletionTimestamp() != nil:
		return "it is being deleted"
	case stellarflow.Completed(workflow):
		return "it has ended: resubmit it to run it again"
	case placement.WECUID != "":
		return fmt.Sprintf("its copy was seen on cluster %s and may have run: give it up with `stellarflow abandon` and resubmit it, if running twice does no harm", placement.Cluster)
	case heldBack(placement.Time, restoredAt) != "":
		return heldBack(placement.Time, restoredAt)
	case state == nil || !state.Connected:
		return fmt.Sprintf("cluster %s cannot be reached, so nobody knows whether it runs there: wait until it is back, or give it up with `stellarflow abandon`", placement.Cluster)
	case state.ID() != placement.ClusterID:
		return fmt.Sprintf("behind the name %s is another cluster now than the one it was placed on, so nobody knows whether it runs there: bring the old cluster back, or give it up with `stellarflow abandon`", placement.Cluster)
	}
	return ""
}

// Refuse takes a request off a Workflow and says why it is not done.
func (r *Reconciler) Refuse(ctx context.Context, workflow *metav1.PartialObjectMetadata, why string) error {
	request := workflow.Annotations[stellarflow.AnnotationRequest]
	written, err := r.Hub.Patch(ctx, keyOf(workflow), append(hubcopy.Unchanged(workflow),
		hubcopy.Set(workflow, "annotations", map[string]*string{stellarflow.AnnotationRequest: nil})...)...)
	if err != nil {
		return err
	}
	r.Metrics.Requested(request, metrics.ResultRefused)
	r.Recorder.Eventf(written, corev1.EventTypeWarning, eventRequestRefused, "request %q refused: %s", request, why)
	return nil
}

// abandon gives a placed Workflow up: the tombstone first, so that its copy is removed where it may be, then the hub copy in one
// write. A terminal state that is shown stays.
func (r *Reconciler) abandon(ctx context.Context, key types.NamespacedName, placement stellarflow.Placement) error {
	live, err := r.Hub.Live(ctx, key)
	if err != nil || live == nil {
		return err
	}
	if recorded, placed := stellarflow.PlacementOf(live); !placed || recorded.String() != placement.String() {
		return fmt.Errorf("abandon workflow %s: %w", key, hubcopy.ErrLostRace)
	}
	again := stellarflow.Abandoned(live)
	if !again && live.GetAnnotations()[stellarflow.AnnotationRequest] != stellarflow.RequestAbandon {
		return nil // taken back
	}
	if !again {
		if err := r.Tombstones.Put(ctx, tombstone.Of(key, placement, r.Now())); err != nil {
			return err
		}
	}
	message := fmt.Sprintf("given up on request: it may still run on cluster %s, and is removed there if that cluster comes back", placement.Cluster)
	written, err := r.Hub.Patch(ctx, key, r.abandoned(live, message, r.Now())...)
	if err != nil {
		return err
	}
	r.countDeclined(live)
	if !again {
		r.Metrics.Requested(stellarflow.RequestAbandon, metrics.ResultDone)
		r.Recorder.Eventf(written, corev1.EventTypeWarning, eventAbandoned, "%s", message)
	}
	return nil
}

// abandoned returns the operations that give up a hub copy that nobody has changed since it was read. Its record and label stay
// for people; observed is emptied, so that no mirror pass that is under way can still write.
func (r *Reconciler) abandoned(live *unstructured.Unstructured, message string, now time.Time) []hubcopy.Operation {
	since, empty := now.UTC().Format(time.RFC3339), ""
	if at, found := live.GetAnnotations()[stellarflow.AnnotationAbandoned]; found {
		since = at
	}
	operations := append(hubcopy.Unchanged(live), hubcopy.Set(live, "annotations", map[string]*string{
		stellarflow.AnnotationAbandoned: &since, stellarflow.AnnotationObserved: &empty, stellarflow.AnnotationRequest: nil, stellarflow.AnnotationSync: nil,
	})...)
	operations = append(operations, declined(live, "what was asked of it is not done: it was given up")...)
	if !stellarflow.Completed(live) {
		operations = append(operations, r.Hub.Ended(live, message, now)...)
	}
	return append(operations, hubcopy.RemoveFinalizer(live, stellarflow.FinalizerCleanup)...)
}

// Move places a Workflow on another cluster whose copy is on none: the caller has made sure of that. If no other cluster takes it,
// the request is refused.
func (r *Reconciler) Move(ctx context.Context, workflow *metav1.PartialObjectMetadata, placement stellarflow.Placement) error {
	live, err := r.Hub.Live(ctx, keyOf(workflow))
	if err != nil || live == nil {
		return err
	}
	if !placement.RecordedOn(live) || live.GetAnnotations()[stellarflow.AnnotationRequest] != stellarflow.RequestMove || live.GetDeletionTimestamp() != nil {
		return nil
	}
	if asked := stellarflow.Shutdown(live); asked != "" {
		return r.stop(ctx, live, asked)
	}
	decision, err := r.next(ctx, live, placement, "the Workflow is to be moved away from it")
	if err != nil {
		return err
	}
	if decision.Cluster == "" {
		return r.Refuse(ctx, workflow, "no other cluster takes it. "+strings.TrimPrefix(decision.Message(), "Waiting for a cluster. "))
	}
	r.Metrics.Requested(stellarflow.RequestMove, metrics.ResultDone)
	r.Recorder.Eventf(live, corev1.EventTypeNormal, eventMoved, "moved from cluster %s to cluster %s on request: nothing of it is on the first", placement.Cluster, decision.Cluster)
	return nil
}

func keyOf(object metav1.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: object.GetNamespace(), Name: object.GetName()}
}
