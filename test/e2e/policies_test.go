package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
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

// policy is a BindingPolicy for the Workflows that are meant for target.
func policy(name, target, more, clusters string) string {
	return fmt.Sprintf(`{
  "apiVersion": "control.kubestellar.io/v1alpha1", "kind": "BindingPolicy", "metadata": {"name": %q},
  "spec": {"clusterSelectors": [%s], "downsync": [{%s "objectSelectors": [{"matchLabels": {"kubestellar.io/cluster": %q}}]}]}
}`, name, clusters, more, target)
}

// applyPolicy creates or replaces a policy; it is deleted at the end.
func (f *fleet) applyPolicy(t *testing.T, name, manifest string) {
	t.Helper()
	policies := f.hub.dynamic.Resource(controlResource("bindingpolicies"))
	_, err := policies.Patch(t.Context(), name, types.ApplyPatchType, []byte(manifest), metav1.PatchOptions{FieldManager: "e2e", Force: ptr.To(true)})
	if err != nil {
		t.Fatalf("apply BindingPolicy %s: %v", name, err)
	}
	t.Cleanup(func() { _ = policies.Delete(context.Background(), name, metav1.DeleteOptions{}) })
}

// testWaiting has Workflows that cannot be placed say why, wherever a user looks, and runs them once that has changed.
func testWaiting(t *testing.T, f *fleet) {
	namespace := f.newNamespace(t, "wait")
	const nowhere, cluster2 = `{"matchLabels": {"name": "cluster9"}}`, `{"matchLabels": {"name": "cluster2"}}`
	const everywhere = `{"matchExpressions": [{"key": "name", "operator": "In", "values": ["cluster1", "cluster2"]}]}`
	const once = `"wantSingletonReportedState": true,`
	missing, several := namespace+"-missing", namespace+"-several"
	f.applyPolicy(t, missing, policy(missing, missing, once, nowhere))
	f.applyPolicy(t, several, policy(several, several, `"statusCollectors": ["own"],`, everywhere))
	f.create(t, namespace, suspended("missing", missing, shell("echo ran")))
	f.create(t, namespace, suspended("several", several, shell("echo ran")))
	f.create(t, namespace, suspended("unknown", "cluster9", shell("echo ran"))) // no policy selects it

	t.Run("policies say it", func(t *testing.T) {
		if c := f.awaitCondition(t, "bindingpolicies", missing, "Ready", metav1.ConditionFalse); c.Reason != v1alpha1.ReasonNoClusters {
			t.Errorf("reason %s: %s; wanted %s", c.Reason, c.Message, v1alpha1.ReasonNoClusters)
		}
		if c := f.awaitCondition(t, "bindingpolicies", several, "Ready", metav1.ConditionFalse); c.Reason != v1alpha1.ReasonSeveralClusters || !strings.Contains(c.Message, "wantSingletonReportedState") {
			t.Errorf("reason %s: %s; wanted %s and the field to set", c.Reason, c.Message, v1alpha1.ReasonSeveralClusters)
		}
		c := f.awaitCondition(t, "bindingpolicies", several, "FullySupported", metav1.ConditionFalse)
		if !strings.Contains(c.Message, "spec.downsync[0].statusCollectors") {
			t.Errorf("%s: %s; wanted the field that is not acted on", c.Reason, c.Message)
		}
	})
	t.Run("workflows say it", func(t *testing.T) {
		for name, wanted := range map[string][]string{
			"missing": {missing, "cluster1", "cluster2"},
			"several": {several, "wantSingletonReportedState", "cluster1, cluster2"},
		} {
			f.hub.await(t, namespace, name, "is Pending with an explanation", func(workflow *wfv1.Workflow) error {
				return wants(fmt.Sprintf("%s: %s", workflow.Status.Phase, workflow.Status.Message), append(wanted, "Pending: Waiting for a cluster.")...)
			})
		}
	})
	t.Run("explain says it", func(t *testing.T) {
		for name, wanted := range map[string][]string{
			"missing": {"Waiting for a cluster", missing, "NoClusters", "cluster1", "cluster2", "NotOffered"},
			"several": {"Waiting for a cluster", several, "SeveralClusters"},
			"unknown": {"Not ours", "No BindingPolicy selects this Workflow", "workflows-cluster1", "NotSelecting"},
		} {
			out, err := f.stellarflow(t, "explain", name, "-n", namespace)
			if err == nil {
				err = wants(out, wanted...)
			}
			if err != nil {
				t.Errorf("explain %s: %v", name, err)
			}
		}
	})
	t.Run("and run once it has changed", func(t *testing.T) {
		f.applyPolicy(t, missing, policy(missing, missing, once, cluster2))
		f.applyPolicy(t, several, policy(several, several, once, everywhere))
		f.awaitRun(t, namespace, "missing", "cluster2", 1)
		workflow := f.hub.awaitPhase(t, namespace, "several", wfv1.WorkflowSucceeded)
		f.awaitRun(t, namespace, "several", workflow.Labels[stellarflow.LabelCluster], 1)
		unknown, err := f.hub.get(t.Context(), namespace, "unknown")
		if err != nil || len(ours(unknown)) > 0 {
			t.Errorf("a Workflow that no policy selects has keys of ours: %v (%v)", ours(unknown), err)
		}
	})
}

// wants returns an error unless a text has all the parts.
func wants(text string, parts ...string) error {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return fmt.Errorf("%q is missing in: %s", part, text)
		}
	}
	return nil
}
