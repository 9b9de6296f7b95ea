package placement

import (
	"context"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
)

// restore looks for the WEC copy of a Workflow without a record and puts the record back (after `kubectl replace`, or a hub
// restored from a backup). It reports whether there was one.
func (r *Reconciler) restore(ctx context.Context, key types.NamespacedName, workflow *metav1.PartialObjectMetadata) (bool, error) {
	state, wecCopy := r.Fleet.FindByHubUID(workflow.UID)
	if wecCopy == nil {
		return false, nil
	}
	attempt, err := strconv.Atoi(wecCopy.Annotations[stellarflow.AnnotationAttempt])
	if err != nil || attempt < 1 || wecCopy.Namespace != key.Namespace || wecCopy.Name != key.Name {
		return false, nil //nolint:nilerr // a WEC object with such an annotation was not made by us
	}
	placement := stellarflow.Placement{
		UID: workflow.UID, Cluster: state.Name, ClusterID: state.ID(), Attempt: attempt, Time: r.Now().UTC(), WECUID: wecCopy.UID,
	}
	operations := append(hubcopy.Unchanged(workflow), keys(workflow, placement)...)
	written, err := r.Hub.Patch(ctx, key, operations...)
	if err != nil {
		return false, err
	}
	r.Recorder.Eventf(written, nil, corev1.EventTypeWarning, eventRestored, "Place", "the record of the placement was lost; the Workflow was found on cluster %s and is followed there", state.Name)
	return true, nil
}

// removeCopied takes off our keys that came with a copy of another Workflow: for everybody, the guard included, such a record
// does not exist.
func (r *Reconciler) removeCopied(ctx context.Context, key types.NamespacedName, workflow *metav1.PartialObjectMetadata) error {
	labels, annotations := foreignKeys(workflow)
	operations := append(hubcopy.Unchanged(workflow), hubcopy.Set(workflow, "labels", labels)...)
	operations = append(operations, hubcopy.Set(workflow, "annotations", annotations)...)
	operations = append(operations, hubcopy.RemoveFinalizer(workflow, stellarflow.FinalizerCleanup)...)
	_, err := r.Hub.Patch(ctx, key, operations...)
	return err
}
