package e2e

import (
	"context"
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
)

// awaitCondition waits for a condition of an object of our API group that is of its newest generation.
func (f *fleet) awaitCondition(t *testing.T, resource, name, condition string, status metav1.ConditionStatus) metav1.Condition {
	t.Helper()
	var found metav1.Condition
	eventually(t, moment, fmt.Sprintf("%s %s has the condition %s %s", resource, name, condition, status), func(ctx context.Context) error {
		object, err := f.hub.dynamic.Resource(controlResource(resource)).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		var known v1alpha1.BindingPolicy // the conditions of both kinds are in the same place
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(map[string]any{"status": object.Object["status"]}, &known); err != nil {
			return finalError{err}
		}
		current := meta.FindStatusCondition(known.Status.Conditions, condition)
		switch {
		case current == nil:
			return fmt.Errorf("it has the conditions %v", known.Status.Conditions)
		case current.Status != status || current.ObservedGeneration != object.GetGeneration():
			return fmt.Errorf("it is %+v at generation %d", *current, object.GetGeneration())
		}
		found = *current
		return nil
	})
	return found
}
