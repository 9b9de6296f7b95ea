package placement

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/inventory"
)

const parallel = 8

// SetupWithManager registers the controller. states brings the ManagedClusters whose connection changed.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, states <-chan event.TypedGenericEvent[*clusterv1.ManagedCluster]) error {
	waiting := handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, _ client.Object) []ctrl.Request { return r.waiting(ctx) })
	relabelled := builder.WithPredicates(predicate.Or[client.Object](predicate.LabelChangedPredicate{}, predicate.GenerationChangedPredicate{}))
	return ctrl.NewControllerManagedBy(mgr).Named("placement").
		For(stellarflow.NewWorkflowMetadata(), builder.OnlyMetadata).
		Watches(&v1alpha1.BindingPolicy{}, waiting, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&clusterv1.ManagedCluster{}, handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, managed client.Object) []ctrl.Request {
			return append(r.waiting(ctx), r.indexed(ctx, inventory.Ending(stellarflow.ClusterName(managed.GetName())))...)
		}), builder.WithPredicates(predicate.Or[client.Object](
			predicate.LabelChangedPredicate{}, predicate.AnnotationChangedPredicate{}, predicate.GenerationChangedPredicate{}))).
		Watches(&corev1.Namespace{}, waiting, builder.OnlyMetadata, relabelled).
		WatchesRawSource(source.Channel(states, handler.TypedEnqueueRequestsFromMapFunc(
			func(ctx context.Context, _ *clusterv1.ManagedCluster) []ctrl.Request { return r.waiting(ctx) }))).
		WithOptions(controller.Options{MaxConcurrentReconciles: parallel}).
		Complete(r)
}

// waiting returns the Workflows that are not placed: something that they may wait for has changed.
func (r *Reconciler) waiting(ctx context.Context) []ctrl.Request {
	return r.indexed(ctx, inventory.Waiting)
}

func (r *Reconciler) indexed(ctx context.Context, value string) []ctrl.Request {
	items, err := inventory.Indexed(ctx, r.Cache, value)
	if err != nil {
		logf.FromContext(ctx).Error(err, "list Workflows", "index", value)
		return nil
	}
	requests := make([]ctrl.Request, 0, len(items))
	for i := range items {
		if value == inventory.Waiting {
			r.Metrics.Arrived(items[i].UID, r.Now())
		}
		requests = append(requests, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(&items[i])})
	}
	return requests
}
