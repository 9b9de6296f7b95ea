package bindingpolicy

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
)

// option changes a policy under construction.
type option func(*v1alpha1.BindingPolicy)

// newPolicy is a policy of generation 7 that sends every Workflow of every namespace to one of every cluster.
func newPolicy(name string, options ...option) v1alpha1.BindingPolicy {
	policy := v1alpha1.BindingPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name, Generation: 7},
		Spec: v1alpha1.BindingPolicySpec{
			WantSingletonReportedState: true,
			ClusterSelectors:           []metav1.LabelSelector{{}},
			Downsync:                   []v1alpha1.DownsyncPolicyClause{{DownsyncObjectTest: v1alpha1.DownsyncObjectTest{Namespaces: []string{"*"}}}},
		},
	}
	for _, option := range options {
		option(&policy)
	}
	return policy
}

// clusters replaces the cluster selectors.
func clusters(selectors ...metav1.LabelSelector) option {
	return func(p *v1alpha1.BindingPolicy) { p.Spec.ClusterSelectors = selectors }
}

// tests replaces the clauses.
func tests(list ...v1alpha1.DownsyncObjectTest) option {
	return func(p *v1alpha1.BindingPolicy) {
		p.Spec.Downsync = nil
		for _, test := range list {
			p.Spec.Downsync = append(p.Spec.Downsync, v1alpha1.DownsyncPolicyClause{DownsyncObjectTest: test})
		}
	}
}

// clauses replaces the clauses.
func clauses(list ...v1alpha1.DownsyncPolicyClause) option {
	return func(p *v1alpha1.BindingPolicy) { p.Spec.Downsync = list }
}

// noSingleton takes the flag away from the spec.
func noSingleton(p *v1alpha1.BindingPolicy) { p.Spec.WantSingletonReportedState = false }

// label is a selector of one label.
func label(key, value string) metav1.LabelSelector {
	return metav1.LabelSelector{MatchLabels: map[string]string{key: value}}
}

// expr is a selector of one expression.
func expr(key string, operator metav1.LabelSelectorOperator, values ...string) metav1.LabelSelector {
	return metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: key, Operator: operator, Values: values}}}
}

// ptr returns a pointer to a string.
func ptr(text string) *string { return &text }

// hello is a Workflow as KubeStellar's samples have it.
func hello() Workflow {
	return Workflow{
		Namespace: "argo", Name: "hello-1",
		Labels:          map[string]string{"kubestellar.io/cluster": "cluster1", "app": "hello"},
		NamespaceLabels: map[string]string{"kubernetes.io/metadata.name": "argo", "team": "a"},
	}
}

// three is an inventory of three healthy, idle clusters.
func three() []Cluster {
	return []Cluster{
		{Name: "cluster1", Labels: map[string]string{"name": "cluster1", "zone": "east"}},
		{Name: "cluster2", Labels: map[string]string{"name": "cluster2", "zone": "west"}},
		{Name: "cluster3", Labels: map[string]string{"name": "cluster3", "zone": "west"}},
	}
}
