package policy

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/transforms"
)

// CustomTransforms keeps the status of CustomTransforms.
type CustomTransforms struct {
	// Client reads from the cache and writes status.
	Client client.Client
	// Recorder says what cannot be written; nil for nobody.
	Recorder record.EventRecorder
}

// SetupWithManager registers the controller. Each change is a reason to look at all: two transforms for one resource warn
// about each other.
func (r *CustomTransforms) SetupWithManager(mgr ctrl.Manager) error {
	changed := builder.WithPredicates(predicate.GenerationChangedPredicate{})
	return ctrl.NewControllerManagedBy(mgr).Named("customtransform").
		For(&v1alpha1.CustomTransform{}, changed).
		Watches(&v1alpha1.CustomTransform{}, handler.EnqueueRequestsFromMapFunc(r.all), changed).
		Complete(r)
}

func (r *CustomTransforms) all(ctx context.Context, _ client.Object) []ctrl.Request {
	var list v1alpha1.CustomTransformList
	if err := r.Client.List(ctx, &list); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list the custom transforms")
		return nil
	}
	requests := make([]ctrl.Request, 0, len(list.Items))
	for i := range list.Items {
		requests = append(requests, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
	}
	return requests
}

// Reconcile writes the status of one transform if it changed.
func (r *CustomTransforms) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var transform v1alpha1.CustomTransform
	if err := r.Client.Get(ctx, request.NamespacedName, &transform); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	var list v1alpha1.CustomTransformList
	if err := r.Client.List(ctx, &list); err != nil {
		return ctrl.Result{}, fmt.Errorf("list the custom transforms: %w", err)
	}
	updated := transform.DeepCopy()
	updated.Status = transforms.StatusOf(&transform, list.Items)
	updated.Status.Conditions = merged(transform.Status.Conditions, updated.Status.Conditions)
	if equality.Semantic.DeepEqual(transform.Status, updated.Status) {
		return ctrl.Result{}, nil
	}
	if err := r.Client.Status().Patch(ctx, updated, client.MergeFrom(&transform)); err != nil {
		sayForbidden(r.Recorder, &transform, err)
		return ctrl.Result{}, client.IgnoreNotFound(fmt.Errorf("write the status of custom transform %q: %w", transform.Name, err))
	}
	return ctrl.Result{}, nil
}
