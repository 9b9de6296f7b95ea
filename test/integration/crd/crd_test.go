package crd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
)

// hub is a client of the API server that the tests of this package share.
var hub client.Client

func TestMain(m *testing.M) {
	environment := &envtest.Environment{CRDDirectoryPaths: []string{"../../../config/crd"}, ErrorIfCRDPathMissing: true}
	code, err := run(m, environment)
	if err := errors.Join(err, environment.Stop()); err != nil {
		fmt.Fprintln(os.Stderr, "test/integration/crd: use `make integration`, which sets KUBEBUILDER_ASSETS:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M, environment *envtest.Environment) (int, error) {
	config, err := environment.Start()
	if err != nil {
		return 1, fmt.Errorf("start kube-apiserver and etcd: %w", err)
	}
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return 1, err
	}
	if hub, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

const (
	policyHead    = "apiVersion: control.kubestellar.io/v1alpha1\nkind: BindingPolicy\nmetadata: {generateName: policy-}\n"
	transformHead = "apiVersion: control.kubestellar.io/v1alpha1\nkind: CustomTransform\nmetadata: {generateName: transform-}\n"
)

// TestAccepted creates objects with every unknown field an error, as kubectl does, and holds that they are refused with these
// words, or stored.
func TestAccepted(t *testing.T) {
	const noTest = "a downsync clause needs at least one of apiGroup, resources, namespaces, namespaceSelectors, objectSelectors and objectNames"
	cases := map[string]struct {
		reason  string
		object  string
		refused string
	}{
		"Older": {"a policy as KubeStellar 0.24 has it", policyHead + `
spec:
  wantSingletonReportedState: true
  clusterSelectors: [{matchLabels: {name: cluster1}}]
  downsync:
  - objectSelectors: [{matchLabels: {kubestellar.io/cluster: cluster1}}]
    statusCollection: {statusCollectors: [a]}`, ""},
		"Newer": {"a policy with every field of KubeStellar 0.30", policyHead + `
spec:
  clusterSelectors:
  - matchExpressions: [{key: name, operator: In, values: [a, b]}]
  downsync:
  - apiGroup: argoproj.io
    resources: [workflows]
    namespaces: [argo]
    namespaceSelectors: [{}]
    objectSelectors: [{matchLabels: {a: b}, matchExpressions: [{key: c, operator: Exists}]}]
    objectNames: ["*"]
    createOnly: true
    statusCollectors: [a]
    wantSingletonReportedState: true
    wantMultiWECReportedState: false`, ""},
		"NoSpec":         {"KubeStellar asks for none", policyHead, ""},
		"EmptyList":      {"a list that is empty is there", policyHead + "spec: {downsync: [{objectSelectors: []}]}", ""},
		"CoreGroup":      {"an empty group is a test", policyHead + `spec: {downsync: [{apiGroup: ""}]}`, ""},
		"NullGroup":      {"Go clients of KubeStellar write null", policyHead + "spec: {downsync: [{apiGroup: null, objectNames: [a]}]}", ""},
		"NoTest":         {"a clause without a test would select everything", policyHead + "spec: {downsync: [{createOnly: true}]}", noTest},
		"EmptyClause":    {"so would an empty one", policyHead + "spec: {downsync: [{namespaces: [a]}, {}]}", noTest},
		"OnlyNullGroup":  {"null is no test", policyHead + "spec: {downsync: [{apiGroup: null}]}", noTest},
		"UnknownField":   {"a typing error is said", policyHead + "spec: {clusterSelector: []}", `unknown field "spec.clusterSelector"`},
		"WrongType":      {"a type is said", policyHead + "spec: {downsync: [{namespaces: argo}]}", "spec.downsync[0].namespaces"},
		"BadOperator":    {"what is only wrong in a selector is for the status to say", policyHead + "spec: {clusterSelectors: [{matchExpressions: [{key: a, operator: Has}]}]}", ""},
		"Transform":      {"KubeStellar's transform for Workflows", transformHead + `spec: {apiGroup: argoproj.io, resource: workflows, remove: [$.spec.suspend, '$.metadata.labels["a/b"]']}`, ""},
		"BadPath":        {"KubeStellar takes it and says so in the status", transformHead + "spec: {apiGroup: argoproj.io, resource: workflows, remove: [nonsense]}", ""},
		"NoRemove":       {"nothing to remove", transformHead + "spec: {apiGroup: apps, resource: deployments}", ""},
		"NoResource":     {"the resource is required", transformHead + "spec: {apiGroup: argoproj.io}", "spec.resource: Required value"},
		"UnknownRemoves": {"there is nothing but remove", transformHead + "spec: {apiGroup: argoproj.io, resource: workflows, replace: []}", `unknown field "spec.replace"`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var object unstructured.Unstructured
			if err := yaml.Unmarshal([]byte(tc.object), &object.Object); err != nil {
				t.Fatal(err)
			}
			err := hub.Create(context.Background(), &object, client.FieldValidation(metav1.FieldValidationStrict))
			if tc.refused == "" {
				if err != nil {
					t.Errorf("\n%s\nCreate(...): %v", tc.reason, err)
				}
				return
			}
			if (!apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err)) || !strings.Contains(err.Error(), tc.refused) {
				t.Errorf("\n%s\nCreate(...) = %v: want a refusal with %q", tc.reason, err, tc.refused)
			}
		})
	}
}

// TestStatusIsSeparate holds that the status is a subresource: it cannot be set with the spec, and does not raise the generation.
func TestStatusIsSeparate(t *testing.T) {
	ctx := context.Background()
	policy := &v1alpha1.BindingPolicy{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "policy-"},
		Status:     v1alpha1.BindingPolicyStatus{Workflows: 5},
	}
	if err := hub.Create(ctx, policy); err != nil {
		t.Fatal(err)
	}
	if policy.Status.Workflows != 0 {
		t.Errorf("workflows = %d after the create: want 0", policy.Status.Workflows)
	}
	want := v1alpha1.BindingPolicyStatus{
		Conditions: []metav1.Condition{{
			Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonClustersSelected, Message: "m",
			LastTransitionTime: metav1.Unix(1700000000, 0),
		}},
		ObservedGeneration: 1, Errors: []string{"e"}, Clusters: []string{"a", "b"}, Workflows: 2,
	}
	policy.Status = want
	if err := hub.Status().Update(ctx, policy); err != nil {
		t.Fatal(err)
	}
	var got v1alpha1.BindingPolicy
	if err := hub.Get(ctx, client.ObjectKeyFromObject(policy), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got.Status); diff != "" {
		t.Errorf("status: -want, +got:\n%s", diff)
	}
	if got.Generation != 1 {
		t.Errorf("generation = %d after a write of the status: want 1", got.Generation)
	}
}

// TestColumns holds what `kubectl get bindingpolicies` and `kubectl get customtransforms` print.
func TestColumns(t *testing.T) {
	for name, want := range map[string][]string{
		"bindingpolicies.control.kubestellar.io":  {"Ready", "Reason", "Clusters", "Workflows", "Supported", "Age"},
		"customtransforms.control.kubestellar.io": {"Group", "Resource", "Ready", "Reason", "Age"},
	} {
		crd := unstructured.Unstructured{}
		crd.SetAPIVersion("apiextensions.k8s.io/v1")
		crd.SetKind("CustomResourceDefinition")
		if err := hub.Get(context.Background(), client.ObjectKey{Name: name}, &crd); err != nil {
			t.Fatal(err)
		}
		versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
		columns, _, _ := unstructured.NestedSlice(versions[0].(map[string]any), "additionalPrinterColumns")
		var got []string
		for _, column := range columns {
			got = append(got, column.(map[string]any)["name"].(string))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("columns of %s: -want, +got:\n%s", name, diff)
		}
	}
}
