package bindingpolicy

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
)

func TestShares(t *testing.T) {
	core, batch := "", "batch"
	secrets, selector := []string{"secrets"}, []metav1.LabelSelector{label("share", "yes")}
	cases := map[string]struct {
		reason  string
		test    objectTest
		shares  bool
		chooses bool
		checked int // problems
	}{
		"Name":          {"by name", objectTest{APIGroup: &core, Resources: secrets, ObjectNames: []string{"git"}}, true, true, 0},
		"NoGroup":       {"any group is the core group too", objectTest{Resources: secrets, ObjectNames: []string{"git"}}, true, true, 0},
		"Selector":      {"by label", objectTest{APIGroup: &core, Resources: secrets, ObjectSelectors: selector}, true, true, 0},
		"Beside":        {"a clause for Workflows and what they need", objectTest{Resources: []string{"workflows", "secrets"}, ObjectSelectors: selector}, true, true, 0},
		"Claims":        {"and other kinds", objectTest{APIGroup: &core, Resources: []string{"secrets", "persistentvolumeclaims"}, ObjectNames: []string{"git"}}, true, true, 0},
		"Namespace":     {"of a namespace", objectTest{APIGroup: &core, Resources: secrets, ObjectNames: []string{"git"}, Namespaces: []string{"argo"}}, true, true, 0},
		"OtherName":     {"another one", objectTest{APIGroup: &core, Resources: secrets, ObjectNames: []string{"x"}}, false, true, 0},
		"OtherLabel":    {"another one", objectTest{APIGroup: &core, Resources: secrets, ObjectSelectors: []metav1.LabelSelector{label("share", "no")}}, false, true, 0},
		"OtherPlace":    {"of another namespace", objectTest{APIGroup: &core, Resources: secrets, ObjectNames: []string{"git"}, Namespaces: []string{"x"}}, false, true, 0},
		"OtherResource": {"another kind", objectTest{APIGroup: &core, Resources: []string{"persistentvolumeclaims"}, ObjectNames: []string{"git"}}, false, false, 0},
		"All":           {"nobody says which", objectTest{APIGroup: &core, Resources: secrets}, false, false, 1},
		"Star":          {"* is no name", objectTest{APIGroup: &core, Resources: secrets, ObjectNames: []string{"*"}}, false, false, 1},
		"Empty":         {"{} is no selector", objectTest{APIGroup: &core, Resources: secrets, ObjectSelectors: []metav1.LabelSelector{{}, label("a", "b")}}, false, false, 1},
		"BesideAll":     {"nobody says which", objectTest{Resources: []string{"workflows", "secrets"}, Namespaces: []string{"argo"}}, false, false, 1},
		"AnyResource":   {"* was written for Workflows", objectTest{Resources: []string{"*"}, ObjectNames: []string{"git"}}, false, false, 0},
		"NoResource":    {"as was nothing", objectTest{ObjectNames: []string{"git"}}, false, false, 0},
		"OtherGroup":    {"no Secrets are in it", objectTest{APIGroup: &batch, Resources: secrets, ObjectNames: []string{"git"}}, false, false, 1},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			policy := &v1alpha1.BindingPolicy{Spec: v1alpha1.BindingPolicySpec{
				ClusterSelectors: selector, Downsync: []v1alpha1.DownsyncPolicyClause{{DownsyncObjectTest: tc.test}},
			}}
			object := Object{Resource: "secrets", Namespace: "argo", Name: "git", Labels: map[string]string{"share": "yes"}}
			if got := Shares(policy, object); got != tc.shares {
				t.Errorf("%s: Shares() = %v", tc.reason, got)
			}
			if got := Chooses(policy, "secrets"); got != tc.chooses {
				t.Errorf("%s: Chooses() = %v", tc.reason, got)
			}
			if got := Check(policy); len(got) != tc.checked {
				t.Errorf("%s: problems %v", tc.reason, got)
			}
		})
	}
}

// TestSharesRepositories: of ConfigMaps a policy has a say in one only, and has to name it.
func TestSharesRepositories(t *testing.T) {
	const repositories = "artifact-repositories"
	core, selector := "", []metav1.LabelSelector{label("share", "yes")}
	cases := map[string]struct {
		reason  string
		test    objectTest
		shares  bool
		checked int // problems
	}{
		"Named":    {"by name", objectTest{APIGroup: &core, Resources: []string{"configmaps"}, ObjectNames: []string{repositories}}, true, 0},
		"Beside":   {"with its Secrets", objectTest{APIGroup: &core, Resources: []string{"configmaps", "secrets"}, ObjectNames: []string{repositories, "s"}}, true, 0},
		"Secrets":  {"another kind", objectTest{APIGroup: &core, Resources: []string{"secrets"}, ObjectNames: []string{repositories}}, false, 0},
		"Other":    {"another one, which travels anyway", objectTest{APIGroup: &core, Resources: []string{"configmaps"}, ObjectNames: []string{"x"}}, false, 1},
		"Selector": {"it may be written for others", objectTest{APIGroup: &core, Resources: []string{"configmaps"}, ObjectSelectors: selector}, false, 1},
		"All":      {"as before", objectTest{APIGroup: &core, Resources: []string{"configmaps"}}, false, 1},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			policy := &v1alpha1.BindingPolicy{Spec: v1alpha1.BindingPolicySpec{
				ClusterSelectors: selector, Downsync: []v1alpha1.DownsyncPolicyClause{{DownsyncObjectTest: tc.test}},
			}}
			object := Object{Resource: "configmaps", Namespace: "argo", Name: repositories, Labels: map[string]string{"share": "yes"}}
			if got := Shares(policy, object); got != tc.shares {
				t.Errorf("%s: Shares() = %v", tc.reason, got)
			}
			if got := Check(policy); len(got) != tc.checked {
				t.Errorf("%s: problems %v", tc.reason, got)
			}
		})
	}
}
