package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"stellarflow.io/stellarflow/bindingpolicy"
	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// TestHoldSelectsAsPolicies holds the API server's own reading of BindingPolicies (config/webhook/hold.yaml) against the one by which the hub
// manager selects. NS in a clause is the namespace.
func TestHoldSelectsAsPolicies(t *testing.T) {
	c := sharedClusters(t)
	ns := c.holding(t, stellarflow.HoldByPolicy)
	patch := []byte(`{"metadata":{"labels":{"team":"a","empty":""}}}`)
	if _, err := c.hub.core.CoreV1().Namespaces().Patch(t.Context(), ns, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	p := newPerson(t, c)
	labels := map[string]string{"app": "hello", "none": ""}
	cases := map[string]struct {
		clause string
		want   bool
	}{
		"Group":              {`{apiGroup: argoproj.io}`, true},
		"OtherGroup":         {`{apiGroup: apps}`, false},
		"CoreGroup":          {`{apiGroup: ""}`, false},
		"Resource":           {`{resources: [pods, workflows]}`, true},
		"AnyResource":        {`{resources: ["*"]}`, true},
		"OtherResource":      {`{resources: [pods]}`, false},
		"NoTest":             {`{resources: []}`, false},
		"Namespace":          {`{namespaces: [x, NS]}`, true},
		"AnyNamespace":       {`{namespaces: ["*"]}`, true},
		"OtherNamespace":     {`{namespaces: [x]}`, false},
		"Name":               {`{objectNames: [x, w]}`, true},
		"AnyName":            {`{objectNames: ["*"]}`, true},
		"OtherName":          {`{objectNames: [x]}`, false},
		"Label":              {`{objectSelectors: [{matchLabels: {app: hello}}]}`, true},
		"OtherLabel":         {`{objectSelectors: [{matchLabels: {app: bye}}]}`, false},
		"EmptyValue":         {`{objectSelectors: [{matchLabels: {none: ""}}]}`, true},
		"EmptyValueAbsent":   {`{objectSelectors: [{matchLabels: {absent: ""}}]}`, false},
		"AllLabels":          {`{objectSelectors: [{matchLabels: {app: hello, none: x}}]}`, false},
		"AnySelector":        {`{objectSelectors: [{matchLabels: {app: bye}}, {matchLabels: {app: hello}}]}`, true},
		"EmptySelector":      {`{objectSelectors: [{}]}`, true},
		"In":                 {`{objectSelectors: [{matchExpressions: [{key: app, operator: In, values: [bye, hello]}]}]}`, true},
		"InNot":              {`{objectSelectors: [{matchExpressions: [{key: app, operator: In, values: [bye]}]}]}`, false},
		"InAbsent":           {`{objectSelectors: [{matchExpressions: [{key: absent, operator: In, values: [bye]}]}]}`, false},
		"InNothing":          {`{objectSelectors: [{matchExpressions: [{key: app, operator: In}]}]}`, false},
		"NotIn":              {`{objectSelectors: [{matchExpressions: [{key: app, operator: NotIn, values: [bye]}]}]}`, true},
		"NotInNot":           {`{objectSelectors: [{matchExpressions: [{key: app, operator: NotIn, values: [hello]}]}]}`, false},
		"NotInAbsent":        {`{objectSelectors: [{matchExpressions: [{key: absent, operator: NotIn, values: [x]}]}]}`, true},
		"NotInNothing":       {`{objectSelectors: [{matchExpressions: [{key: app, operator: NotIn}]}]}`, false},
		"Exists":             {`{objectSelectors: [{matchExpressions: [{key: app, operator: Exists}]}]}`, true},
		"ExistsNot":          {`{objectSelectors: [{matchExpressions: [{key: absent, operator: Exists}]}]}`, false},
		"ExistsValues":       {`{objectSelectors: [{matchExpressions: [{key: app, operator: Exists, values: [hello]}]}]}`, false},
		"DoesNotExist":       {`{objectSelectors: [{matchExpressions: [{key: absent, operator: DoesNotExist}]}]}`, true},
		"DoesNotExistNot":    {`{objectSelectors: [{matchExpressions: [{key: app, operator: DoesNotExist}]}]}`, false},
		"DoesNotExistValues": {`{objectSelectors: [{matchExpressions: [{key: absent, operator: DoesNotExist, values: [x]}]}]}`, false},
		"BadOperator":        {`{objectSelectors: [{matchExpressions: [{key: app, operator: Has}]}]}`, false},
		"BadKey":             {`{objectSelectors: [{matchExpressions: [{key: "a b", operator: DoesNotExist}]}]}`, false},
		"BadValueBesideGood": {`{objectSelectors: [{matchExpressions: [{key: app, operator: In, values: [hello, "a b"]}]}]}`, false},
		"BadLabel":           {`{objectSelectors: [{matchLabels: {app: hello, "a b": c}}]}`, false},
		"LongValue":          {`{objectSelectors: [{matchExpressions: [{key: app, operator: NotIn, values: [` + strings.Repeat("x", 64) + `]}]}]}`, false},
		"PrefixedKey":        {`{objectSelectors: [{matchExpressions: [{key: example.com/absent, operator: DoesNotExist}]}]}`, true},
		"BadValue":           {`{objectSelectors: [{matchExpressions: [{key: app, operator: NotIn, values: ["a b"]}]}]}`, false},
		"LabelsAndExpr":      {`{objectSelectors: [{matchLabels: {app: hello}, matchExpressions: [{key: app, operator: DoesNotExist}]}]}`, false},
		"NamespaceLabel":     {`{namespaceSelectors: [{matchLabels: {team: a}}]}`, true},
		"NamespaceOther":     {`{namespaceSelectors: [{matchLabels: {team: b}}]}`, false},
		"NamespaceExpr":      {`{namespaceSelectors: [{matchExpressions: [{key: team, operator: NotIn, values: [b]}]}]}`, true},
		"NamespaceNoObject":  {`{namespaceSelectors: [{matchLabels: {app: hello}}]}`, false},
		"Both":               {`{namespaceSelectors: [{matchLabels: {team: a}}], objectSelectors: [{matchLabels: {app: hello}}]}`, true},
		"OneOfBoth":          {`{namespaceSelectors: [{matchLabels: {team: b}}], objectSelectors: [{matchLabels: {app: hello}}]}`, false},
		"All": {
			`{apiGroup: argoproj.io, resources: [workflows], namespaces: [NS], objectNames: [w], namespaceSelectors: [{matchLabels: {team: a}}], objectSelectors: [{matchLabels: {app: hello}}]}`, true,
		},
		"AllButOne": {`{apiGroup: argoproj.io, resources: [workflows], namespaces: [NS], objectNames: [x]}`, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			// what has a label of the case's own is selected in any case: once that is refused the API server knows the policy
			text := fmt.Sprintf(`{apiVersion: control.kubestellar.io/v1alpha1, kind: BindingPolicy, metadata: {name: holds-%s, annotations: {stellarflow.io/hold: "true"}},
				spec: {downsync: [{objectSelectors: [{matchLabels: {known: %s}}]}, %s]}}`, strings.ToLower(name), name, strings.ReplaceAll(tc.clause, "NS", ns))
			sent, object := &unstructured.Unstructured{}, &v1alpha1.BindingPolicy{}
			if err := yaml.Unmarshal([]byte(text), &sent.Object); err != nil {
				t.Fatal(err)
			}
			if err := yaml.Unmarshal([]byte(text), object); err != nil {
				t.Fatal(err)
			}
			if err := c.hub.client.Create(t.Context(), sent); err != nil {
				t.Fatal(err)
			}
			known := func(label string) (bool, error) {
				_, err := p.creates(t, ns, fmt.Sprintf(`{metadata: {name: w, labels: {app: hello, none: "", known: %q}}, spec: {}}`, label), metav1.DryRunAll)
				if err != nil && !strings.Contains(err.Error(), "BindingPolicy "+object.Name+" selects") {
					t.Fatal(err)
				}
				return apierrors.IsForbidden(err), err
			}
			await := func(what string, want bool) {
				eventually(t, what, func(context.Context) (bool, string) {
					refused, err := known(name)
					return refused == want, fmt.Sprint(err)
				})
			}
			await("the policy to be known", true)
			selected, why := bindingpolicy.Selects(object, bindingpolicy.Workflow{Namespace: ns, Name: "w", Labels: labels, NamespaceLabels: map[string]string{"team": "a", "empty": ""}})
			if selected != tc.want {
				t.Errorf("the hub manager selects: %t, %s; want %t", selected, why, tc.want)
			}
			if refused, err := known(""); refused != tc.want {
				t.Errorf("the API server selects: %t, %v; want %t", refused, err, tc.want)
			}
			if err := c.hub.client.Delete(t.Context(), sent); err != nil {
				t.Fatal(err)
			}
			await("the policy to be forgotten", false)
		})
	}
}
