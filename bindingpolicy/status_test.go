package bindingpolicy

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
)

func TestCheck(t *testing.T) {
	empty, invalid, unsupported, ambiguous := ProblemEmpty, ProblemInvalid, ProblemUnsupported, ProblemAmbiguous
	type found struct {
		Kind         ProblemKind
		Field, Value string
	}
	cases := map[string]struct {
		reason  string
		options []option
		want    []found
	}{
		"Sample": {
			"KubeStellar's sample has no problem",
			[]option{clusters(label("name", "cluster1")), tests(objectTest{ObjectSelectors: []metav1.LabelSelector{label("kubestellar.io/cluster", "cluster1")}})},
			nil,
		},
		"Empty":   {"nothing in it", []option{clusters(), tests()}, []found{{empty, "spec.clusterSelectors", ""}, {empty, "spec.downsync", ""}}},
		"NoTests": {"a clause without tests", []option{tests(objectTest{})}, []found{{empty, "spec.downsync[0]", ""}}},
		"InvalidSelectors": {
			"each part that cannot be read, by field",
			[]option{
				clusters(label("a b", "x"), expr("zone", "Has", "v")),
				tests(objectTest{NamespaceSelectors: []metav1.LabelSelector{expr("x", "Exists", "v")}, ObjectSelectors: []metav1.LabelSelector{
					{}, {MatchLabels: map[string]string{"b": "a b", "a": "a b"}, MatchExpressions: expr("x", "In").MatchExpressions},
				}}),
			},
			[]found{
				{invalid, `spec.clusterSelectors[0].matchLabels["a b"]`, `"x"`},
				{invalid, "spec.clusterSelectors[1].matchExpressions[0]", `"zone Has [v]"`},
				{invalid, "spec.downsync[0].namespaceSelectors[0].matchExpressions[0]", `"x Exists [v]"`},
				{invalid, `spec.downsync[0].objectSelectors[1].matchLabels["a"]`, `"a b"`},
				{invalid, `spec.downsync[0].objectSelectors[1].matchLabels["b"]`, `"a b"`},
				{invalid, "spec.downsync[0].objectSelectors[1].matchExpressions[0]", `"x In []"`},
			},
		},
		"OtherObjects": {
			"other objects are not sent; a group says it for the clause, else each resource",
			[]option{tests(
				objectTest{APIGroup: ptr(""), Resources: []string{"configmaps"}},
				objectTest{Resources: []string{"workflows", "pods", "jobs"}}, objectTest{APIGroup: ptr("argoproj.io"), Resources: []string{"*"}},
			)},
			[]found{
				{unsupported, "spec.downsync[0].apiGroup", `""`},
				{unsupported, "spec.downsync[1].resources[1]", `"pods"`},
				{unsupported, "spec.downsync[1].resources[2]", `"jobs"`},
			},
		},
		"Unsupported": {
			"fields that are not acted on",
			[]option{clauses(v1alpha1.DownsyncPolicyClause{
				DownsyncObjectTest: objectTest{Namespaces: []string{"*"}}, CreateOnly: true, StatusCollectors: []string{"a", "b"},
				StatusCollection: &v1alpha1.StatusCollection{StatusCollectors: []string{"c"}}, WantSingletonReportedState: true, WantMultiWECReportedState: true,
			})},
			[]found{
				{unsupported, "spec.downsync[0].statusCollectors", `["a" "b"]`},
				{unsupported, "spec.downsync[0].statusCollection.statusCollectors", `["c"]`},
				{unsupported, "spec.downsync[0].wantMultiWECReportedState", "true"},
			},
		},
		"EmptyCollection": {
			"an empty list of collectors asks for nothing",
			[]option{clauses(v1alpha1.DownsyncPolicyClause{
				DownsyncObjectTest: objectTest{Namespaces: []string{"*"}}, StatusCollection: &v1alpha1.StatusCollection{},
			})},
			nil,
		},
		"Ambiguous": {
			"* beside other names",
			[]option{tests(objectTest{Resources: []string{"*", "workflows"}, Namespaces: []string{"a", "*"}, ObjectNames: []string{"*", "*"}})},
			[]found{
				{ambiguous, "spec.downsync[0].resources", `["*" "workflows"]`},
				{ambiguous, "spec.downsync[0].namespaces", `["a" "*"]`},
				{ambiguous, "spec.downsync[0].objectNames", `["*" "*"]`},
			},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			policy := newPolicy("p", tc.options...)
			var got []found
			for _, problem := range Check(&policy) {
				got = append(got, found{problem.Kind, problem.Field, problem.Value})
				if problem.Message == "" || !strings.HasPrefix(problem.String(), problem.Field+": ") || !strings.Contains(problem.String(), problem.Value) {
					t.Errorf("\n%s\nproblem %q: want field, value and a message", tc.reason, problem)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("\n%s\nCheck(...): -want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestStatusOf(t *testing.T) {
	const several = "it selects 3 clusters (cluster1, cluster2, cluster3) without wantSingletonReportedState, which would mean a run on each: " +
		"that is not supported; set wantSingletonReportedState: true for one run on one of them, or select one cluster"
	everyName := []string{"cluster1", "cluster2", "cluster3"}
	singleton := v1alpha1.DownsyncPolicyClause{DownsyncObjectTest: objectTest{Namespaces: []string{"a"}}, WantSingletonReportedState: true}
	plain := v1alpha1.DownsyncPolicyClause{DownsyncObjectTest: objectTest{Namespaces: []string{"b"}}}
	foreign := v1alpha1.DownsyncPolicyClause{DownsyncObjectTest: objectTest{APIGroup: ptr("apps")}}
	cases := map[string]struct {
		reason      string
		options     []option
		ready       string // status/reason/a part of the message
		unsupported string // a part of the message; empty if FullySupported is true
		clusters    []string
		errors      []string
	}{
		"Ready": {reason: "works", ready: "True/ClustersSelected/3 clusters are selected: cluster1, cluster2, cluster3.", clusters: everyName},
		"OneCluster": {
			reason: "one cluster", options: []option{clusters(label("name", "cluster2"))},
			ready: "True/ClustersSelected/1 cluster is selected: cluster2.", clusters: everyName[1:2],
		},
		"OneClusterWithoutFlag": {
			reason: "where KubeStellar differs is said", options: []option{noSingleton, clusters(label("name", "cluster2"))},
			ready: "True/ClustersSelected/KubeStellar would not return the status", clusters: everyName[1:2],
		},
		"Several": {
			reason: "a run on each of several", options: []option{noSingleton},
			ready: "False/SeveralClusters/Nothing is placed: " + several, clusters: everyName, errors: []string{"spec.downsync[0]: " + several},
		},
		"SeveralForOneClause": {
			reason: "one clause asks for a single run, the other for several: what works is ready", options: []option{noSingleton, clauses(singleton, plain, foreign)},
			ready: "True/ClustersSelected/3 clusters", clusters: everyName, errors: []string{"spec.downsync[1]: " + several},
			unsupported: `Not acted on: spec.downsync[2].apiGroup: "apps": only Workflows are sent`,
		},
		"NoClusterSelectors": {
			reason: "no selectors", options: []option{clusters()}, ready: "False/NoClusterSelectors/spec.clusterSelectors is empty",
			errors: []string{"spec.clusterSelectors: it is empty, which selects no cluster: add a selector, {} for every cluster"},
		},
		"NoClusters": {
			reason: "no cluster has the label", options: []option{clusters(label("name", "x"))},
			ready: "False/NoClusters/no ManagedCluster has labels that match",
		},
		"NoClauses": {
			reason: "no clause", options: []option{tests()}, ready: "False/NoWorkflows/It is empty: add a clause", clusters: everyName,
			errors: []string{"spec.downsync: it is empty, which selects nothing: add a clause"},
		},
		"NoWorkflows": {
			reason: "no clause for Workflows", options: []option{clauses(foreign)}, ready: `False/NoWorkflows/spec.downsync[0].apiGroup: "apps"`, clusters: everyName,
			unsupported: `spec.downsync[0].apiGroup: "apps"`,
		},
		"InvalidSelector": {
			reason: "what cannot be read comes first, the rest still counts", options: []option{clusters(expr("zone", "Has"), label("name", "cluster1"))},
			ready: `False/InvalidSelector/spec.clusterSelectors[0].matchExpressions[0]: "zone Has []"`, clusters: everyName[:1],
			errors: []string{`spec.clusterSelectors[0].matchExpressions[0]: "zone Has []": it cannot be read, so this selector matches nothing: ` +
				`the operators are In, NotIn, Exists and DoesNotExist: use one of them`},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			policy := newPolicy("p", tc.options...)
			got := StatusOf(&policy, three(), 4)
			if got.ObservedGeneration != 7 || got.Workflows != 4 || len(got.Conditions) != 2 {
				t.Fatalf("\n%s\nStatusOf(...) = %+v: want generation 7, 4 Workflows and 2 conditions", tc.reason, got)
			}
			ready, supported := got.Conditions[0], got.Conditions[1]
			parts := strings.SplitN(tc.ready, "/", 3)
			if ready.Type != v1alpha1.ConditionReady || ready.ObservedGeneration != 7 || string(ready.Status) != parts[0] || ready.Reason != parts[1] ||
				!strings.Contains(ready.Message, parts[2]) {
				t.Errorf("\n%s\nReady: want %s, got %+v", tc.reason, tc.ready, ready)
			}
			if supported.Type != v1alpha1.ConditionFullySupported || supported.ObservedGeneration != 7 ||
				(supported.Status == metav1.ConditionTrue) != (tc.unsupported == "") || !strings.Contains(supported.Message, tc.unsupported) {
				t.Errorf("\n%s\nFullySupported: want %q, got %+v", tc.reason, tc.unsupported, supported)
			}
			if diff := cmp.Diff(tc.clusters, got.Clusters); diff != "" {
				t.Errorf("\n%s\nclusters: -want, +got:\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(tc.errors, got.Errors); diff != "" {
				t.Errorf("\n%s\nerrors: -want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

// TestStatusIsBounded holds that a very long spec makes a status of a bounded size, and that counts stay in their type.
func TestStatusIsBounded(t *testing.T) {
	var list []v1alpha1.DownsyncPolicyClause
	for i := range 300 {
		list = append(list, v1alpha1.DownsyncPolicyClause{
			DownsyncObjectTest: objectTest{ObjectSelectors: []metav1.LabelSelector{label(strings.Repeat("x", 400), fmt.Sprint(i))}},
			StatusCollectors:   []string{strings.Repeat("s", 400)},
		})
	}
	policy := newPolicy("p", noSingleton, clauses(list...))
	status := StatusOf(&policy, three(), math.MaxInt)
	if status.Workflows != math.MaxInt32 {
		t.Errorf("workflows = %d: want the largest number", status.Workflows)
	}
	if len(status.Errors) != maxProblems+1 || status.Errors[maxProblems] != "and 590 more" {
		t.Errorf("%d errors, the last %q: want %d and how many more", len(status.Errors), status.Errors[len(status.Errors)-1], maxProblems)
	}
	for _, condition := range status.Conditions {
		if len(condition.Message) > maxCondition {
			t.Errorf("%s: a message of %d bytes", condition.Type, len(condition.Message))
		}
	}
	if status := StatusOf(&policy, nil, -1); status.Workflows != 0 {
		t.Errorf("workflows = %d: want 0", status.Workflows)
	}
}
