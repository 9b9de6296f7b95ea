package travel

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/bindingpolicy"
	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// shared reports whether an object may travel with a Workflow: most kinds may, the others where the policy that placed it says so. A
// policy that is gone says nothing any more. Nothing is asked of the hub's API server for what no policy can share.
func (c *Carrier) shared(ctx context.Context, workflow metav1.Object, reference stellarflow.Reference) (bool, error) {
	if !reference.Kind.ByPolicy() {
		return true, nil
	}
	return c.selected(ctx, workflow, reference)
}

// selected reports whether the policy that placed a Workflow says that an object may travel with it.
func (c *Carrier) selected(ctx context.Context, workflow metav1.Object, reference stellarflow.Reference) (bool, error) {
	placement, placed := stellarflow.PlacementOf(workflow)
	if !placed {
		return false, nil
	}
	var policy v1alpha1.BindingPolicy
	err := c.Policies.Get(ctx, client.ObjectKey{Name: placement.Policy}, &policy)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read binding policy %q: %w", placement.Policy, err)
	}
	namespace := stellarflow.NewNamespaceMetadata()
	if err := c.Policies.Get(ctx, types.NamespacedName{Name: workflow.GetNamespace()}, namespace); err != nil {
		return false, fmt.Errorf("read namespace %q: %w", workflow.GetNamespace(), err)
	}
	object := bindingpolicy.Object{
		Resource: reference.Kind.Resource().Resource, Namespace: workflow.GetNamespace(), Name: reference.Name, NamespaceLabels: namespace.Labels,
	}
	if bindingpolicy.Shares(&policy, object) {
		return true, nil
	}
	if !bindingpolicy.Chooses(&policy, object.Resource) {
		return false, nil
	}
	onHub, err := ReadHub(ctx, c.Objects, reference, object.Namespace)
	if err != nil || onHub == nil {
		return false, err
	}
	object.Labels = onHub.GetLabels()
	return bindingpolicy.Shares(&policy, object), nil
}
