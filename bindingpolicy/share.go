package bindingpolicy

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// Object is what a policy can ask about an object of the core group that a Workflow needs.
type Object struct {
	// Resource is its plural, such as secrets.
	Resource string
	// Namespace and Name are those of the object on the hub.
	Namespace, Name string
	// Labels are those of the object, NamespaceLabels those of its Namespace on the hub.
	Labels, NamespaceLabels map[string]string
}

// Shares reports whether the policy lets an object travel with the Workflows that need it: a clause lists its resource, gives names or
// selectors, and matches it.
func Shares(policy *v1alpha1.BindingPolicy, object Object) bool {
	return slices.ContainsFunc(parse(policy).clauses, func(c clause) bool {
		return c.lists(object.Resource) && c.chooses() && c.missesObject(Workflow{
			Namespace: object.Namespace, Name: object.Name, Labels: object.Labels, NamespaceLabels: object.NamespaceLabels,
		}) == ""
	})
}

// Chooses reports whether the policy lets some objects of a resource travel, such as secrets.
func Chooses(policy *v1alpha1.BindingPolicy, resource string) bool {
	return slices.ContainsFunc(parse(policy).clauses, func(c clause) bool { return c.lists(resource) && c.chooses() })
}

// lists reports whether the clause names, in so many words, a resource that travels only where a policy says so. Of ConfigMaps that is the one with
// the artifact repositories, by its name: the others travel with whoever names them, whatever a policy says.
func (c clause) lists(resource string) bool {
	shared := slices.ContainsFunc(stellarflow.Kinds(), func(kind stellarflow.Kind) bool { return kind.ByPolicy() && kind.Resource().Resource == resource })
	if resource == stellarflow.KindConfigMap.Resource().Resource {
		shared = slices.Contains(c.test.ObjectNames, stellarflow.ArtifactRepositories)
	}
	return shared && (c.test.APIGroup == nil || *c.test.APIGroup == "") && slices.Contains(c.test.Resources, resource)
}

// onlyShares reports whether the clause is for such resources and for nothing else.
func (c clause) onlyShares() bool {
	return len(c.test.Resources) > 0 && !slices.ContainsFunc(c.test.Resources, func(resource string) bool { return !c.lists(resource) })
}

// chooses reports whether the clause says which objects: it has names or selectors, and none of them stands for all.
func (c clause) chooses() bool {
	all := slices.ContainsFunc(c.test.ObjectSelectors, func(selector metav1.LabelSelector) bool {
		return len(selector.MatchLabels)+len(selector.MatchExpressions) == 0
	})
	return len(c.test.ObjectNames)+len(c.test.ObjectSelectors) > 0 && !slices.Contains(c.test.ObjectNames, every) && !all
}
