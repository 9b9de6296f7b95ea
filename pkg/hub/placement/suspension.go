package placement

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

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
		locks, err := r.locks(ctx, live)
		if err != nil {
			return err
		}
		operations = append(operations, lockOperations(live, locks)...)
	}
	_, err = r.Hub.Patch(ctx, key, operations...)
	return err
}
