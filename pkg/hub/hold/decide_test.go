package hold

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
)

// newPolicy selects by one label.
func newPolicy(name, value string, holds bool) v1alpha1.BindingPolicy {
	p := v1alpha1.BindingPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}}
	p.Spec.Downsync = []v1alpha1.DownsyncPolicyClause{{DownsyncObjectTest: v1alpha1.DownsyncObjectTest{
		ObjectSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"to": value}}},
	}}}
	if holds {
		p.Annotations = map[string]string{stellarflow.AnnotationHold: "true"}
	}
	return p
}

func parse(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &object.Object); err != nil {
		t.Fatal(err)
	}
	return object
}

func TestDecide(t *testing.T) {
	policies := []v1alpha1.BindingPolicy{newPolicy("z", "x", false), newPolicy("asks", "x", true), newPolicy("other", "there", true)}
	named := newPolicy("named", "x", false)
	named.Spec.Downsync[0].ObjectNames = []string{"w"}
	suspends := []hubcopy.Operation{hubcopy.Add(true, "spec", "suspend")}
	const selected = `{metadata: {generateName: w-, labels: {to: x}}, spec: {entrypoint: main}}`
	cases := map[string]struct {
		reason   string
		hold     string
		policies []v1alpha1.BindingPolicy
		workflow string
		want     Decision
	}{
		"All":         {"the namespace holds what any policy selects", "true", policies, selected, Decision{Policies: []string{"asks", "z"}, Operations: suspends}},
		"ByPolicy":    {"it holds what those select that ask for it", "policy", policies, selected, Decision{Policies: []string{"asks"}, Operations: suspends}},
		"NoPolicy":    {"no policy asks for it", "policy", policies[:1], selected, Decision{}},
		"NoPolicies":  {"there is none", "true", nil, selected, Decision{}},
		"NotSelected": {"what no policy selects is left as it is", "true", policies, `{metadata: {name: w}, spec: {entrypoint: main}}`, Decision{}},
		"OtherLabel":  {"a label that nobody selects", "true", policies, `{metadata: {name: w, labels: {to: z}}, spec: {}}`, Decision{}},
		"NoLabel":     {"the namespace does not hold", "", policies, selected, Decision{}},
		"OtherValue":  {"the label has another value", "yes", policies, selected, Decision{}},
		"Suspended":   {"it is suspended already", "true", policies, `{metadata: {labels: {to: there}}, spec: {suspend: true}}`, Decision{Policies: []string{"other"}}},
		"NotTrue":     {"what stands there is replaced", "true", policies, `{metadata: {labels: {to: there}}, spec: {suspend: false}}`, Decision{Policies: []string{"other"}, Operations: suspends}},
		"Unreadable":  {"and so is what Argo could not read", "true", policies, `{metadata: {labels: {to: there}}, spec: {suspend: "true"}}`, Decision{Policies: []string{"other"}, Operations: suspends}},
		"NoSpec": {
			"it has no spec", "true", policies, `{metadata: {labels: {to: there}}}`,
			Decision{Policies: []string{"other"}, Operations: []hubcopy.Operation{hubcopy.Add(map[string]any{"suspend": true}, "spec")}},
		},
		"BadSpec": {
			"its spec is no object", "true", policies, `{metadata: {labels: {to: there}}, spec: main}`,
			Decision{Policies: []string{"other"}, Refusal: "its spec is no object, so nobody can run it: write spec as a mapping with entrypoint and templates, or workflowTemplateRef"},
		},
		"BadSpecNotSelected": {"that is none of ours", "true", policies, `{metadata: {}, spec: main}`, Decision{}},
		"Completed": {
			"it has ended, and nobody runs it", "true", policies,
			`{metadata: {labels: {to: there, workflows.argoproj.io/completed: "true"}}, spec: {}}`,
			Decision{},
		},
		"Named":     {"a policy selects it by its name", "true", []v1alpha1.BindingPolicy{named}, `{metadata: {name: w, labels: {to: x}}, spec: {}}`, Decision{Policies: []string{"named"}, Operations: suspends}},
		"Generated": {"its name is not known yet", "true", []v1alpha1.BindingPolicy{named}, selected, Decision{}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			workflow := parse(t, tc.workflow)
			labels := map[string]string{stellarflow.LabelHold: tc.hold}
			if tc.hold == "" {
				labels = nil
			}
			got := Decide(tc.policies, labels, "ns", workflow)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("\n%s\nDecide(...): -want, +got:\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(parse(t, tc.workflow), workflow); diff != "" {
				t.Errorf("\n%s\nDecide changed its input: -want, +got:\n%s", tc.reason, diff)
			}
			if raw, err := json.Marshal(got.Operations); err != nil || strings.Contains(string(raw), `"remove"`) {
				t.Errorf("the patch is %s: %v", raw, err)
			}
		})
	}
}
