package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

func clientPatch(raw []byte) client.Patch { return client.RawPatch(types.MergePatchType, raw) }

func namespaceObject(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

// as is the server's administrator acting as another user.
func (s *server) as(t *testing.T, user string) dynamic.Interface {
	t.Helper()
	config := rest.CopyConfig(s.config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:masters", "system:authenticated"}}
	d, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// touch changes something about a hub copy that nobody decides by, so that it is looked at at once.
func touch(t *testing.T, c *clusters, namespace, name string) {
	t.Helper()
	patch := fmt.Sprintf(`{"metadata":{"annotations":{"touched":"%d"}}}`, time.Now().UnixNano())
	if _, err := c.hub.workflows(namespace).Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

func mustPlacement(t *testing.T, w *unstructured.Unstructured) stellarflow.Placement {
	t.Helper()
	record, ok := stellarflow.PlacementOf(w)
	if !ok {
		t.Fatalf("no placement: %s", describe(w))
	}
	return record
}

// address is the host and port of the server, as a request's URL has it.
func (s *server) address() string {
	return strings.Trim(strings.TrimPrefix(s.config.Host, "https://"), "/")
}

// rule lets an API server refuse an operation on Workflows with a label, of value yes, unless an expression holds of them, until the test
// ends or what it returns is called.
func (s *server) rule(t *testing.T, name, label string, operation admissionregistrationv1.OperationType, expression, message string) func() {
	t.Helper()
	deny := admissionregistrationv1.Deny
	meta := metav1.ObjectMeta{Name: "reject-" + name}
	reason := metav1.StatusReasonInvalid
	objects := []client.Object{
		&admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: meta, Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionregistrationv1.MatchResources{
				ObjectSelector: &metav1.LabelSelector{MatchLabels: map[string]string{label: "yes"}},
				ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: admissionregistrationv1.RuleWithOperations{
					Operations: []admissionregistrationv1.OperationType{operation},
					Rule:       admissionregistrationv1.Rule{APIGroups: []string{"argoproj.io"}, APIVersions: []string{"*"}, Resources: []string{"workflows"}},
				}}},
			},
			Validations: []admissionregistrationv1.Validation{{Expression: expression, Message: message, Reason: &reason}},
		}},
		&admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: meta, Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: meta.Name, ValidationActions: []admissionregistrationv1.ValidationAction{deny},
		}},
	}
	repeal := func() {
		for _, object := range objects {
			_ = s.client.Delete(context.WithoutCancel(t.Context()), object)
		}
	}
	t.Cleanup(repeal)
	for _, object := range objects {
		if err := s.client.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	return repeal
}

// rejectLabelled makes a WEC refuse Workflows with the label forbidden, and waits until it does.
func (s *server) rejectLabelled(t *testing.T) {
	t.Helper()
	s.rule(t, "labelled", "forbidden", admissionregistrationv1.Create, "false", "forbidden label, says the owner of cluster1")
	eventually(t, "the WEC to refuse the label", func(ctx context.Context) (bool, string) {
		probe := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow",
			"metadata": map[string]any{"generateName": "probe-", "labels": map[string]any{"forbidden": "yes"}}, "spec": map[string]any{},
		}}
		_, err := s.workflows("default").Create(ctx, probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err != nil, "it takes it"
	})
}

// replace deletes a Workflow on a WEC by force and creates it anew: another object that says the same.
func (s *server) replace(t *testing.T, namespace, name string) *unstructured.Unstructured {
	t.Helper()
	old := s.get(t.Context(), namespace, name)
	if _, err := s.workflows(namespace).Patch(t.Context(), name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := s.workflows(namespace).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	old.SetUID("")
	old.SetResourceVersion("")
	created, err := s.workflows(namespace).Create(t.Context(), old, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return created
}
