package placement

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
)

// suspension returns the operations by which a record says whether spec.suspend of the hub copy follows the WEC copy's. They come after
// keys, which makes the annotations.
func (r *Reconciler) suspension(object metav1.Object) []hubcopy.Operation {
	var wanted *string
	if r.Profile == stellarflow.ProfileDedicated {
		follows := stellarflow.FollowsSuspend
		wanted = &follows
	}
	return hubcopy.Set(object, "annotations", map[string]*string{stellarflow.AnnotationFollows: wanted})
}

// begins returns the operations by which a Workflow of a dedicated hub runs from its placement on, or is suspended from its beginning, if somebody has
// suspended it while it waited for a cluster. They come after keys, which takes away what was asked of another Workflow.
func (r *Reconciler) begins(live *unstructured.Unstructured) ([]hubcopy.Operation, error) {
	if !stellarflow.SuspendedSince(live) {
		return []hubcopy.Operation{hubcopy.Add(false, "spec", "suspend")}, nil
	}
	text, err := stellarflow.MarshalIntents([]stellarflow.Intent{{
		ID: uuid.NewUUID(), Kind: stellarflow.IntentSuspend, Caller: "somebody before it was placed", Time: r.Now().UTC().Truncate(time.Second),
	}})
	return []hubcopy.Operation{hubcopy.Add(text, "metadata", "annotations", stellarflow.AnnotationIntents)}, err
}

// keepSuspended suspends a hub copy that a dedicated hub has placed: an Argo controller that acts here would start it beside its WEC copy. It
// needs no connection, and each is looked at when a process begins to lead. The ended ones too: a resubmitted copy has their spec. The
// locks that such a controller will take come with it.
func (r *Reconciler) keepSuspended(ctx context.Context, key types.NamespacedName, workflow *metav1.PartialObjectMetadata) error {
	live, err := r.Hub.Live(ctx, key)
	if err != nil || live == nil || live.GetUID() != workflow.UID || !stellarflow.FollowsWECCopy(live) {
		return err
	}
	operations := append(hubcopy.Unchanged(live), hubcopy.Add(true, "spec", "suspend"))
	operations = append(operations, r.suspension(live)...)
	if _, hasStatus := live.Object["status"].(map[string]any); hasStatus && !stellarflow.Completed(live) {
		synchronization, err := r.synchronization(ctx, live)
		if err != nil {
			return err
		}
		locks, err := r.locks(ctx, live, synchronization)
		if err != nil {
			return err
		}
		operations = append(operations, lockOperations(live, locks)...)
	}
	_, err = r.Hub.Patch(ctx, key, operations...)
	return err
}
