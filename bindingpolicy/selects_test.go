package bindingpolicy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

type objectTest = v1alpha1.DownsyncObjectTest

func TestSelects(t *testing.T) {
	const (
		noLabel   = "spec.downsync[0].objectSelectors: none matches the labels of the Workflow"
		noNSLabel = `spec.downsync[0].namespaceSelectors: none matches the labels of Namespace "argo"`
	)
	cases := map[string]struct {
		reason string
		tests  []objectTest
		why    string // a part; empty if it selects
	}{
		"Sample":              {"KubeStellar's sample selects by label only", []objectTest{{ObjectSelectors: []metav1.LabelSelector{label("kubestellar.io/cluster", "cluster1")}}}, ""},
		"NoClauses":           {"no clause selects nothing", nil, "spec.downsync is empty, which selects nothing"},
		"NoTest":              {"a clause without tests is an accident", []objectTest{{}}, "spec.downsync[0]: it has no test"},
		"Group":               {"the group of Workflows", []objectTest{{APIGroup: ptr("argoproj.io")}}, ""},
		"CoreGroup":           {"the empty group is the core one", []objectTest{{APIGroup: ptr("")}}, `spec.downsync[0].apiGroup: "": only Workflows`},
		"GroupVersion":        {"a version is no part of the group", []objectTest{{APIGroup: ptr("argoproj.io/v1alpha1")}}, "without a version"},
		"Resource":            {"the resource of Workflows", []objectTest{{Resources: []string{"pods", "workflows"}}}, ""},
		"AnyResource":         {"* is every resource", []objectTest{{Resources: []string{"*"}}}, ""},
		"OtherResource":       {"another resource", []objectTest{{Resources: []string{"pods", "jobs"}}}, `spec.downsync[0].resources: ["pods" "jobs"]: only Workflows`},
		"Kind":                {"a kind is no resource", []objectTest{{Resources: []string{"Workflow"}}}, "lowercase and plural"},
		"Namespace":           {"the namespace by name", []objectTest{{Namespaces: []string{"x", "argo"}}}, ""},
		"AnyNamespace":        {"* is every namespace", []objectTest{{Namespaces: []string{"*"}}}, ""},
		"OtherNamespace":      {"another namespace", []objectTest{{Namespaces: []string{"x"}}}, `spec.downsync[0].namespaces: ["x"] does not list "argo"`},
		"ManyNamespaces":      {"a long list is cut", []objectTest{{Namespaces: strings.Split("a b c d e f g", " ")}}, `["a" "b" "c" "d" "e" and 2 more] does not list`},
		"Name":                {"the object by name", []objectTest{{ObjectNames: []string{"hello-1"}}}, ""},
		"AnyName":             {"* is every name", []objectTest{{ObjectNames: []string{"*"}}}, ""},
		"OtherName":           {"another name", []objectTest{{ObjectNames: []string{"hello"}}}, `spec.downsync[0].objectNames: ["hello"] does not list "hello-1"`},
		"NamespaceSelector":   {"the labels of the Namespace", []objectTest{{NamespaceSelectors: []metav1.LabelSelector{label("team", "a")}}}, ""},
		"OtherNSSelector":     {"other labels of the Namespace", []objectTest{{NamespaceSelectors: []metav1.LabelSelector{label("team", "b")}}}, noNSLabel},
		"NSSelectorNotObject": {"the Workflow's labels are not the Namespace's", []objectTest{{NamespaceSelectors: []metav1.LabelSelector{label("app", "hello")}}}, noNSLabel},
		"AnyOfSelectors":      {"one matching selector is enough", []objectTest{{ObjectSelectors: []metav1.LabelSelector{label("app", "x"), label("app", "hello")}}}, ""},
		"EmptySelector":       {"{} matches all", []objectTest{{ObjectSelectors: []metav1.LabelSelector{{}}}}, ""},
		"OtherLabel":          {"another label", []objectTest{{ObjectSelectors: []metav1.LabelSelector{label("app", "x")}}}, noLabel},
		"AllInSelector": {
			"all parts of one selector must match",
			[]objectTest{{ObjectSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"app": "hello", "x": "y"}}}}},
			noLabel,
		},
		"LabelsAndExpressions": {
			"labels and expressions of one selector must match",
			[]objectTest{{ObjectSelectors: []metav1.LabelSelector{{
				MatchLabels: map[string]string{"app": "hello"}, MatchExpressions: expr("app", "DoesNotExist").MatchExpressions,
			}}}},
			noLabel,
		},
		"In":              {"In", []objectTest{{ObjectSelectors: []metav1.LabelSelector{expr("app", "In", "x", "hello")}}}, ""},
		"InNot":           {"In of other values", []objectTest{{ObjectSelectors: []metav1.LabelSelector{expr("app", "In", "x")}}}, noLabel},
		"NotIn":           {"NotIn matches a missing label too", []objectTest{{ObjectSelectors: []metav1.LabelSelector{expr("no", "NotIn", "x")}}}, ""},
		"NotInNot":        {"NotIn of the value", []objectTest{{ObjectSelectors: []metav1.LabelSelector{expr("app", "NotIn", "hello")}}}, noLabel},
		"Exists":          {"Exists", []objectTest{{ObjectSelectors: []metav1.LabelSelector{expr("app", "Exists")}}}, ""},
		"ExistsNot":       {"Exists of a missing label", []objectTest{{ObjectSelectors: []metav1.LabelSelector{expr("no", "Exists")}}}, noLabel},
		"DoesNotExist":    {"DoesNotExist", []objectTest{{ObjectSelectors: []metav1.LabelSelector{expr("no", "DoesNotExist")}}}, ""},
		"DoesNotExistNot": {"DoesNotExist of a label that is there", []objectTest{{ObjectSelectors: []metav1.LabelSelector{expr("app", "DoesNotExist")}}}, noLabel},
		"BadOperator": {
			"an unknown operator matches nothing",
			[]objectTest{{ObjectSelectors: []metav1.LabelSelector{expr("app", "Has")}}},
			`spec.downsync[0].objectSelectors[0].matchExpressions[0]: "app Has []": it cannot be read, so this selector matches nothing: the operators are In, NotIn, Exists and DoesNotExist: use one of them`,
		},
		"NotInWithoutValues": {
			"a selector that cannot be read does not match what its other parts match",
			[]objectTest{{ObjectSelectors: []metav1.LabelSelector{{
				MatchLabels: map[string]string{"app": "hello"}, MatchExpressions: expr("no", "NotIn").MatchExpressions,
			}}}},
			"spec.downsync[0].objectSelectors[0].matchExpressions[0]",
		},
		"BadKey": {
			"a key that no label can have",
			[]objectTest{{ObjectSelectors: []metav1.LabelSelector{label("a b", "c")}}},
			`spec.downsync[0].objectSelectors[0].matchLabels["a b"]: "c": it cannot be read`,
		},
		"BadValue": {
			"a value that no label can have",
			[]objectTest{{NamespaceSelectors: []metav1.LabelSelector{label("team", "a b")}}},
			`spec.downsync[0].namespaceSelectors[0].matchLabels["team"]: "a b": it cannot be read`,
		},
		"BadBesideGood": {
			"a selector that cannot be read does not stop another",
			[]objectTest{{ObjectSelectors: []metav1.LabelSelector{expr("app", "Has"), label("app", "hello")}}},
			"",
		},
		"AllTests": {
			"all tests together",
			[]objectTest{{
				APIGroup: ptr("argoproj.io"), Resources: []string{"workflows"}, Namespaces: []string{"argo"}, ObjectNames: []string{"hello-1"},
				NamespaceSelectors: []metav1.LabelSelector{label("team", "a")}, ObjectSelectors: []metav1.LabelSelector{label("app", "hello")},
			}},
			"",
		},
		"AllButOne": {
			"one test that fails is enough",
			[]objectTest{{APIGroup: ptr("argoproj.io"), Resources: []string{"workflows"}, Namespaces: []string{"argo"}, ObjectNames: []string{"x"}}},
			"objectNames",
		},
		"AnyClause": {"one clause that matches is enough", []objectTest{{Namespaces: []string{"x"}}, {Namespaces: []string{"argo"}}}, ""},
		"NoClause": {
			"each clause says why it does not match",
			[]objectTest{{Namespaces: []string{"x"}}, {ObjectNames: []string{"y"}}},
			`spec.downsync[0].namespaces: ["x"] does not list "argo"; spec.downsync[1].objectNames: ["y"] does not list "hello-1"`,
		},
		"ManyClauses": {
			"of many clauses a few say why", []objectTest{{Namespaces: []string{"x"}}, {}, {}, {}, {}}, "; and 2 more",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			policy := newPolicy("p", tests(tc.tests...))
			before := policy.DeepCopy()
			selected, why := Selects(&policy, hello())
			if selected != (tc.why == "") || !strings.Contains(why, tc.why) || selected != (why == "") {
				t.Errorf("\n%s\nSelects(...) = %t, %q: want %q", tc.reason, selected, why, tc.why)
			}
			if diff := cmp.Diff(before, &policy); diff != "" {
				t.Errorf("\n%s\nSelects changed its input: -want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestClustersOf(t *testing.T) {
	cases := map[string]struct {
		reason    string
		selectors []metav1.LabelSelector
		want      []stellarflow.ClusterName
	}{
		"None":    {"no selector selects no cluster", nil, nil},
		"All":     {"{} selects every cluster", []metav1.LabelSelector{{}}, []stellarflow.ClusterName{"cluster1", "cluster2", "cluster3"}},
		"One":     {"by label", []metav1.LabelSelector{label("name", "cluster2")}, []stellarflow.ClusterName{"cluster2"}},
		"AnyOf":   {"any selector", []metav1.LabelSelector{label("name", "cluster3"), label("zone", "east")}, []stellarflow.ClusterName{"cluster1", "cluster3"}},
		"Several": {"one selector, several clusters", []metav1.LabelSelector{expr("zone", "NotIn", "east")}, []stellarflow.ClusterName{"cluster2", "cluster3"}},
		"Invalid": {"a selector that cannot be read selects none, the other does", []metav1.LabelSelector{expr("zone", "In"), label("zone", "east")}, []stellarflow.ClusterName{"cluster1"}},
		"Nothing": {"no cluster has the label", []metav1.LabelSelector{label("zone", "north")}, nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			policy := newPolicy("p", clusters(tc.selectors...))
			inventory := three()
			inventory[0], inventory[2] = inventory[2], inventory[0]
			if diff := cmp.Diff(tc.want, ClustersOf(&policy, inventory)); diff != "" {
				t.Errorf("\n%s\nClustersOf(...): -want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}
