package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/wec"
)

// ReasonReady is the reason of the condition while a WEC is connected.
const ReasonReady = "Ready"

// Reconciler connects to the ManagedClusters that have a credential and says on each whether it can be used.
type Reconciler struct {
	// Client reads from the cache and writes status.
	Client client.Client
	Fleet  *Fleet
	// Recorder says what cannot be written; nil for nobody.
	Recorder record.EventRecorder
	// Events brings the ManagedClusters whose state changed.
	Events <-chan event.TypedGenericEvent[*clusterv1.ManagedCluster]
}

// SetupWithManager registers the controller.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("cluster").
		For(&clusterv1.ManagedCluster{}, builder.WithPredicates(predicate.Or[client.Object](predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}, ownConditionChanged))).
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(func(_ context.Context, secret client.Object) []ctrl.Request {
			if name := secret.GetLabels()[stellarflow.LabelManagedCluster]; name != "" {
				return []ctrl.Request{{NamespacedName: types.NamespacedName{Name: name}}}
			}
			return nil
		})).
		WatchesRawSource(source.Channel(r.Events, &handler.TypedEnqueueRequestForObject[*clusterv1.ManagedCluster]{})).
		Complete(r)
}

// ownConditionChanged lets our own writes of the condition bring another look. Two changes of a connection in quick succession would
// leave the first one said otherwise: the cache does not show it yet when the second is compared with what is there.
var ownConditionChanged = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	return !equality.Semantic.DeepEqual(ownCondition(e.ObjectOld), ownCondition(e.ObjectNew))
}}

func ownCondition(object client.Object) *metav1.Condition {
	managed, _ := object.(*clusterv1.ManagedCluster)
	if managed == nil {
		return nil
	}
	return meta.FindStatusCondition(managed.Status.Conditions, stellarflow.ConditionConnected)
}

// Prime connects to every ManagedCluster that exists now.
func (r *Reconciler) Prime(ctx context.Context) error {
	var list clusterv1.ManagedClusterList
	if err := r.Client.List(ctx, &list); err != nil {
		return fmt.Errorf("list the managed clusters: %w", err)
	}
	for i := range list.Items {
		if err := r.connect(ctx, &list.Items[i]); err != nil {
			var trouble *wec.Trouble
			if !errors.As(err, &trouble) {
				return err
			}
		}
	}
	return nil
}

// Reconcile connects to one ManagedCluster and reports.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	defer r.Fleet.Beats.Begin("report on cluster "+request.Name, r.Fleet.Now())()
	var managed clusterv1.ManagedCluster
	if err := r.Client.Get(ctx, request.NamespacedName, &managed); err != nil {
		if apierrors.IsNotFound(err) {
			r.Fleet.Remove(stellarflow.ClusterName(request.Name))
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, fmt.Errorf("read managed cluster %q: %w", request.Name, err)
	}
	err := r.connect(ctx, &managed)
	var trouble *wec.Trouble
	if err != nil && !errors.As(err, &trouble) {
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, r.report(ctx, &managed, trouble)
}

// connect gives the credential to the fleet. A *wec.Trouble says why there is no connection.
func (r *Reconciler) connect(ctx context.Context, managed *clusterv1.ManagedCluster) error {
	name := stellarflow.ClusterName(managed.Name)
	if err := name.Validate(); err != nil {
		r.Fleet.Remove(name)
		return &wec.Trouble{Reason: wec.ReasonBadCredential, Message: err.Error()}
	}
	var secret corev1.Secret
	key := types.NamespacedName{Namespace: stellarflow.SystemNamespace, Name: stellarflow.CredentialName(name)}
	switch err := r.Client.Get(ctx, key, &secret); {
	case err == nil && secret.Labels[stellarflow.LabelManagedCluster] != managed.Name:
		r.Fleet.Remove(name)
		return &wec.Trouble{Reason: wec.ReasonBadCredential, Message: fmt.Sprintf("Secret %s does not say that it is its credential: label it %s=%s, or run `stellarflow join %s`",
			key, stellarflow.LabelManagedCluster, name, name)}
	case apierrors.IsNotFound(err):
		r.Fleet.Remove(name)
		return &wec.Trouble{Reason: wec.ReasonBadCredential, Message: fmt.Sprintf("there is no credential for it in Secret %s: run `stellarflow join %s`", key, name)}
	case err != nil:
		return fmt.Errorf("read secret %s: %w", key, err)
	}
	return r.Fleet.Ensure(name, secret.Data[stellarflow.SecretKeyKubeconfig], Accepted(managed)) //nolint:contextcheck // a connection outlives the reconcile that starts it
}

// Accepted returns the WEC namespaces that the join of a cluster accepted.
func Accepted(managed *clusterv1.ManagedCluster) []string {
	return strings.FieldsFunc(managed.Annotations[stellarflow.AnnotationNamespaces], func(r rune) bool { return r == ',' || r <= ' ' }) // people write blanks too
}

// report keeps our condition, and the version where no OCM agent does. A cluster that was never ours gets none.
func (r *Reconciler) report(ctx context.Context, managed *clusterv1.ManagedCluster, trouble *wec.Trouble) error {
	condition := metav1.Condition{Type: stellarflow.ConditionConnected, Status: metav1.ConditionFalse, ObservedGeneration: managed.Generation}
	known := meta.FindStatusCondition(managed.Status.Conditions, stellarflow.ConditionConnected) != nil
	updated := managed.DeepCopy()
	if trouble != nil {
		if !known && managed.Annotations[stellarflow.AnnotationNamespaces] == "" && trouble.Reason == wec.ReasonBadCredential {
			return nil
		}
		condition.Reason, condition.Message = trouble.Reason, trouble.Message
	} else {
		connection, found := r.Fleet.Get(stellarflow.ClusterName(managed.Name))
		if !found {
			return nil
		}
		state := connection.State()
		if !state.Tried {
			return nil // what was said before a restart stands until something is known
		}
		condition.Reason, condition.Message = state.Reason, state.Message
		if state.Healthy() {
			condition.Status, condition.Reason, condition.Message = metav1.ConditionTrue, ReasonReady, "the cluster answers and its Workflows are watched"
			if state.Restored {
				condition.Reason, condition.Message = wec.ReasonRestored, messageRestored
			}
			condition.Message += orphanText(state.Orphans) + crowdedText(state.Crowded) + unwatchedText(state.Unwatched)
		}
		if !meta.IsStatusConditionPresentAndEqual(managed.Status.Conditions, clusterv1.ManagedClusterConditionJoined, metav1.ConditionTrue) && state.Facts.Version != "" {
			updated.Status.Version.Kubernetes = state.Facts.Version
		}
	}
	meta.SetStatusCondition(&updated.Status.Conditions, condition)
	if equality.Semantic.DeepEqual(managed.Status, updated.Status) {
		return nil
	}
	if err := r.Client.Status().Patch(ctx, updated, client.MergeFromWithOptions(managed, client.MergeFromWithOptimisticLock{})); err != nil {
		if apierrors.IsForbidden(err) && r.Recorder != nil {
			r.Recorder.Eventf(managed, corev1.EventTypeWarning, "StatusNotWritten", "the hub manager may not write the status: %s: run `stellarflow install` again to restore its rights", stellarflow.OneLine(err.Error(), maxMessage/2))
		}
		return fmt.Errorf("write the status of managed cluster %q: %w", managed.Name, err)
	}
	return nil
}

const messageRestored = "the cluster was restored from a backup: a Workflow whose copy there is older than what was mirrored is not mirrored until the copy is newer again, " +
	"and one that is missing there ends as Error"

// maxOrphansNamed bounds the message.
const maxOrphansNamed = 10

func orphanText(orphans []string) string {
	if len(orphans) == 0 {
		return ""
	}
	named := orphans[:min(len(orphans), maxOrphansNamed)]
	return fmt.Sprintf("; %d unfinished Workflows of this hub are there that the hub does not know (%s): see `stellarflow orphans list`", len(orphans), stellarflow.OneLine(strings.Join(named, ", "), maxMessage))
}

func crowdedText(kinds string) string {
	if kinds == "" {
		return ""
	}
	return fmt.Sprintf("; more %s are there that this hub has copied than it lists: the others are removed when there are fewer: delete Workflows that have ended", kinds)
}

func unwatchedText(why string) string {
	if why == "" {
		return ""
	}
	return "; its pods are not shown on the hub, or not as they are now: " + why
}
