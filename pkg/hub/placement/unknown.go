package placement

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// adopting is how often a Workflow that takes over a WEC copy is looked at until that copy names it.
const adopting = 2 * time.Second

// adopt handles a Workflow that takes over a WEC copy which runs already: it is never created anywhere. Its record is restored when
// the copy names it.
func (r *Reconciler) adopt(ctx context.Context, key types.NamespacedName, workflow *metav1.PartialObjectMetadata) (ctrl.Result, error) {
	if stellarflow.Completed(workflow) || workflow.DeletionTimestamp != nil {
		return ctrl.Result{}, nil
	}
	if !r.Fleet.Settled() {
		return ctrl.Result{RequeueAfter: unsettled}, nil
	}
	live, err := r.unplaced(ctx, key, workflow.UID)
	if err != nil || live == nil {
		return ctrl.Result{}, err
	}
	if ours, err := r.ours(ctx, live); err != nil {
		return ctrl.Result{}, err
	} else if !ours { // it runs here: what it says of a copy elsewhere is wrong
		return ctrl.Result{}, r.disown(ctx, key, workflow)
	}
	if restored, err := r.restore(ctx, key, workflow); restored || err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: adopting}, r.wait(ctx, live, fmt.Sprintf(
		"waits for its copy %s: run `stellarflow orphans adopt` again, or delete it", live.GetAnnotations()[stellarflow.AnnotationAdopts]))
}

// heldBack returns why something that the hub knows from this time is not created by itself, empty if it may be: a hub that was
// restored from a backup has forgotten what it did between the backup and then. Both times are by the manager's clock.
func heldBack(at, restored time.Time) string {
	if restored.IsZero() || at.After(restored) {
		return ""
	}
	return fmt.Sprintf("the hub was restored from a backup at %s, and whether this has run before cannot be known: resubmit it to run it, or delete it",
		restored.UTC().Format(time.RFC3339))
}

// createdAt returns when a Workflow was created, by the manager's clock, or as early as it may have been: the API server has written it
// down by its own clock, and how far that is ahead is known to a second.
func (r *Reconciler) createdAt(workflow metav1.Object) time.Time {
	at := workflow.GetCreationTimestamp().Time
	if r.Skew == nil {
		return at
	}
	return at.Add(-r.Skew() - time.Second)
}

// failedAtSight reports whether the hub's own controller, if there is one, has failed a Workflow at its first sight of it.
func (r *Reconciler) failedAtSight(workflow metav1.Object) bool {
	return r.Profile != stellarflow.ProfileDedicated && failedAtSight(workflow, r.Now().Sub(r.createdAt(workflow)))
}

func (r *Reconciler) restoredAt() time.Time {
	if r.RestoredAt == nil {
		return time.Time{}
	}
	return r.RestoredAt()
}

// HoldBack says on a placed Workflow that nobody knows whether it has run before the hub was restored from a backup.
func (r *Reconciler) HoldBack(ctx context.Context, key types.NamespacedName, placement stellarflow.Placement) error {
	live, err := r.Hub.Live(ctx, key)
	if err != nil || live == nil || !placement.RecordedOn(live) || stellarflow.Completed(live) {
		return err
	}
	if why := heldBack(placement.Time, r.restoredAt()); why != "" {
		return r.wait(ctx, live, why)
	}
	return nil
}
