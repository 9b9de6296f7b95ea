package policy

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"stellarflow.io/stellarflow/bindingpolicy"
	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/inventory"
)

// BindingPolicies keeps the status of BindingPolicies.
type BindingPolicies struct {
	// Client reads from the cache and writes status.
	Client client.Client
	// Recorder says what cannot be written; nil for nobody.
	Recorder record.EventRecorder
	Fleet    inventory.Connections
}

// SetupWithManager registers the controller.
func (r *BindingPolicies) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("bindingpolicy").
		For(&v1alpha1.BindingPolicy{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&clusterv1.ManagedCluster{}, handler.EnqueueRequestsFromMapFunc(r.all), builder.WithPredicates(predicate.LabelChangedPredicate{})).
		Watches(stellarflow.NewWorkflowMetadata(), handler.EnqueueRequestsFromMapFunc(recordedPolicy), builder.OnlyMetadata, builder.WithPredicates(placementChanged())).
		Complete(r)
}

func (r *BindingPolicies) all(ctx context.Context, _ client.Object) []ctrl.Request {
	var policies v1alpha1.BindingPolicyList
	if err := r.Client.List(ctx, &policies); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list the binding policies")
		return nil
	}
	requests := make([]ctrl.Request, 0, len(policies.Items))
	for i := range policies.Items {
		requests = append(requests, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(&policies.Items[i])})
	}
	return requests
}

// recordedPolicy returns the policy that placed a Workflow.
func recordedPolicy(_ context.Context, workflow client.Object) []ctrl.Request {
	placement, ok := stellarflow.PlacementOf(workflow)
	if !ok || placement.Policy == "" {
		return nil
	}
	return []ctrl.Request{{NamespacedName: client.ObjectKey{Name: placement.Policy}}}
}

// Reconcile writes the status of one policy if it changed.
func (r *BindingPolicies) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var policy v1alpha1.BindingPolicy
	if err := r.Client.Get(ctx, request.NamespacedName, &policy); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	clusters, err := inventory.List(ctx, r.Client, r.Fleet)
	if err != nil {
		return ctrl.Result{}, err
	}
	placed, err := r.placed(ctx, policy.Name)
	if err != nil {
		return ctrl.Result{}, err
	}
	updated := policy.DeepCopy()
	updated.Status = bindingpolicy.StatusOf(&policy, clusters, placed)
	updated.Status.Conditions = merged(policy.Status.Conditions, updated.Status.Conditions)
	if equality.Semantic.DeepEqual(policy.Status, updated.Status) {
		return ctrl.Result{}, nil
	}
	if err := r.Client.Status().Patch(ctx, updated, client.MergeFrom(&policy)); err != nil {
		sayForbidden(r.Recorder, &policy, err)
		return ctrl.Result{}, client.IgnoreNotFound(fmt.Errorf("write the status of binding policy %q: %w", policy.Name, err))
	}
	return ctrl.Result{}, nil
}

// placed counts the Workflows on the hub whose placement names the policy, finished ones included.
func (r *BindingPolicies) placed(ctx context.Context, policy string) (int, error) {
	var list metav1.PartialObjectMetadataList
	list.SetGroupVersionKind(stellarflow.WorkflowKind.GroupVersion().WithKind("WorkflowList"))
	if err := r.Client.List(ctx, &list, client.HasLabels{stellarflow.LabelCluster}, client.UnsafeDisableDeepCopy); err != nil {
		return 0, fmt.Errorf("list the placed Workflows: %w", err)
	}
	count := 0
	for i := range list.Items {
		if placement, ok := stellarflow.PlacementOf(&list.Items[i]); ok && placement.Policy == policy {
			count++
		}
	}
	return count, nil
}

// merged returns the new conditions with the transition times of the old ones where nothing changed.
func merged(old, next []metav1.Condition) []metav1.Condition {
	result := append([]metav1.Condition{}, old...)
	for _, condition := range next {
		meta.SetStatusCondition(&result, condition)
	}
	return result
}
