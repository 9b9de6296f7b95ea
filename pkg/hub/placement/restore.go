package placement

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
)

// restore looks for the WEC copy of a Workflow without a record and puts the record back (after `kubectl replace`, or a hub
// restored from a backup). It reports whether there was one.
func (r *Reconciler) restore(ctx context.Context, key types.NamespacedName, workflow *metav1.PartialObjectMetadata) (bool, error) {
	state, wecCopy, err := r.Fleet.FindByHubUID(workflow.UID)
	if err != nil || wecCopy == nil {
		return false, err
	}
	attempt, err := strconv.Atoi(wecCopy.Annotations[stellarflow.AnnotationAttempt])
	if err != nil || attempt < 1 || wecCopy.Namespace != key.Namespace || wecCopy.Name != key.Name {
		return false, nil //nolint:nilerr // a WEC object with such an annotation was not made by us
	}
	if adopts, found := workflow.Annotations[stellarflow.AnnotationAdopts]; found && adopts != string(state.Name)+"/"+string(wecCopy.UID) {
		return false, nil // another copy than the one that it was made for
	}
	q, err := r.observe(ctx, workflow)
	if err != nil {
		return false, err
	}
	placement := stellarflow.Placement{ // of which policy is not known any more
		UID: workflow.UID, Cluster: state.Name, ClusterID: state.ID(), Attempt: attempt, Time: r.Now().UTC(), WECUID: wecCopy.UID, Hidden: q.hidden(""),
	}
	operations := append(hubcopy.Unchanged(workflow), keys(workflow, placement)...)
	operations = append(operations, r.suspension(workflow)...)
	if r.Profile != stellarflow.ProfileDedicated { // a dedicated hub may have placed it
		operations = append(operations, hubcopy.Add(true, "spec", "suspend"))
	}
	written, err := r.Hub.Patch(ctx, key, operations...)
	if err != nil {
		return false, err
	}
	r.Metrics.Restored(placement.Cluster)
	r.Recorder.Eventf(written, corev1.EventTypeWarning, eventRestored, "the record of the placement was lost; the Workflow was found on cluster %s and is followed there", state.Name)
	return true, nil
}

// ambiguous says that two clusters have a copy of a Workflow without a record, and that a person has to decide.
func (r *Reconciler) ambiguous(ctx context.Context, key types.NamespacedName, workflow *metav1.PartialObjectMetadata, cause error) (ctrl.Result, error) {
	live, err := r.unplaced(ctx, key, workflow.UID)
	if err != nil || live == nil {
		return ctrl.Result{}, err
	}
	if ours, err := r.ours(ctx, live); err != nil || !ours {
		return ctrl.Result{}, errors.Join(cause, err)
	}
	return ctrl.Result{RequeueAfter: adopting}, r.wait(ctx, live, fmt.Sprintf(
		"%s: delete there, with its finalizer %s, what is not to count; it is followed once one is left", cause, stellarflow.FinalizerHarvest))
}

// disown takes off our keys from a Workflow that is none of ours. They came with a copy of another Workflow: for everybody, the
// guard included, such a record does not exist. Or the Workflow waited for us until no policy selected it any more, or until it
// was resumed: then what was said of its waiting goes too.
func (r *Reconciler) disown(ctx context.Context, key types.NamespacedName, workflow *metav1.PartialObjectMetadata) error {
	labels, annotations := foreignKeys(workflow)
	operations := append(hubcopy.Unchanged(workflow), hubcopy.Set(workflow, "labels", labels)...)
	operations = append(operations, hubcopy.Set(workflow, "annotations", annotations)...)
	operations = append(operations, hubcopy.RemoveFinalizer(workflow, stellarflow.FinalizerCleanup)...)
	_, waited := annotations[stellarflow.AnnotationWaiting]
	if waited {
		live, err := r.Hub.Live(ctx, key)
		if err != nil || live == nil {
			return err
		}
		operations = append(operations, hubcopy.NotPending(live)...)
	}
	written, err := r.Hub.Patch(ctx, key, operations...)
	if err != nil {
		return err
	}
	if !waited {
		r.Recorder.Eventf(written, corev1.EventTypeNormal, eventCleaned,
			"labels and annotations under %s came with a copy of another Workflow and were removed: they say nothing about this one", stellarflow.Prefix)
	}
	return nil
}

// departed lets a finished hub copy go whose cluster has left: its end is known, nothing runs there, and nobody will ever say
// that the copy is gone.
func (r *Reconciler) departed(ctx context.Context, key types.NamespacedName, workflow *metav1.PartialObjectMetadata, placement stellarflow.Placement) error {
	operations := hubcopy.Release(workflow)
	if operations == nil || workflow.DeletionTimestamp == nil || !stellarflow.Completed(workflow) {
		return nil
	}
	if _, connected := r.Fleet.Get(placement.Cluster); connected || !r.Fleet.Settled() {
		return nil
	}
	if left, err := r.left(ctx, placement.Cluster); !left {
		return err // nil while the cluster is known: a later join may bring the credential back
	}
	r.Recorder.Eventf(workflow, corev1.EventTypeNormal, eventDeparted, "cluster %s has left; a finished copy that may be there stays there", placement.Cluster)
	_, err := r.Hub.Patch(ctx, key, operations...)
	return err
}

// left reports whether a cluster was taken off the hub: its ManagedCluster is gone, or it is somebody else's (OCM's) and has neither
// what a join writes on it nor a credential any more.
func (r *Reconciler) left(ctx context.Context, name stellarflow.ClusterName) (bool, error) {
	var managed clusterv1.ManagedCluster
	if err := r.Live.Get(ctx, types.NamespacedName{Name: string(name)}, &managed); err != nil {
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	}
	for _, key := range []string{stellarflow.AnnotationClusterID, stellarflow.AnnotationNamespaces, stellarflow.AnnotationArgoVersion} {
		if _, joined := managed.Annotations[key]; joined {
			return false, nil
		}
	}
	var credentials corev1.SecretList // the manager may list them, not get one
	err := r.Live.List(ctx, &credentials, client.InNamespace(stellarflow.SystemNamespace), client.MatchingFields{metav1.ObjectNameField: stellarflow.CredentialName(name)})
	return err == nil && len(credentials.Items) == 0, err
}
