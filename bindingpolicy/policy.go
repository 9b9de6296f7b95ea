package bindingpolicy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// The resource that Workflows are, and the word that stands for every name in a clause.
const (
	workflowGroup    = "argoproj.io"
	workflowResource = "workflows"
	every            = "*"
)

// policy is a BindingPolicy with its selectors read, once for all Workflows and clusters it is held against.
type policy struct {
	name      string
	singleton bool
	clusters  selectors
	clauses   []clause
}

// clause is one entry of spec.downsync.
type clause struct {
	field      string
	test       *v1alpha1.DownsyncPolicyClause
	singleton  bool
	namespaces selectors
	objects    selectors
}

func parse(source *v1alpha1.BindingPolicy) policy {
	result := policy{
		name:      source.Name,
		singleton: source.Spec.WantSingletonReportedState,
		clusters:  parseSelectors("spec.clusterSelectors", source.Spec.ClusterSelectors),
	}
	for i := range source.Spec.Downsync {
		field, test := fmt.Sprintf("spec.downsync[%d]", i), &source.Spec.Downsync[i]
		result.clauses = append(result.clauses, clause{
			field: field, test: test, singleton: result.singleton || test.WantSingletonReportedState,
			namespaces: parseSelectors(field+".namespaceSelectors", test.NamespaceSelectors),
			objects:    parseSelectors(field+".objectSelectors", test.ObjectSelectors),
		})
	}
	return result
}

// parseAll reads policies, sorted by name.
func parseAll(sources []v1alpha1.BindingPolicy) []policy {
	result := make([]policy, 0, len(sources))
	for i := range sources {
		result = append(result, parse(&sources[i]))
	}
	slices.SortStableFunc(result, func(a, b policy) int { return cmp.Compare(a.name, b.name) })
	return result
}

// selects reports whether a clause matches the Workflow, whether one that does asks for a single run and, if none does, why.
func (p policy) selects(workflow Workflow) (selected, singleton bool, why string) {
	if len(p.clauses) == 0 {
		return false, false, "spec.downsync is empty, which selects nothing: add a clause"
	}
	var misses []string
	for _, clause := range p.clauses {
		if miss := clause.misses(workflow); miss != "" {
			misses = append(misses, miss)
			continue
		}
		selected, singleton = true, singleton || clause.singleton
	}
	if selected {
		return true, singleton, ""
	}
	return false, false, listed(misses, maxClauses, "; ")
}

// clustersOf returns the clusters that the policy selects, in the order of the inventory.
func (p policy) clustersOf(inventory []Cluster) []stellarflow.ClusterName {
	var names []stellarflow.ClusterName
	for _, cluster := range inventory {
		if p.clusters.match(cluster.Labels) {
			names = append(names, cluster.Name)
		}
	}
	return names
}

// misses returns why the clause does not match the Workflow; empty if it does. All tests that are given must pass.
func (c clause) misses(workflow Workflow) string {
	if miss := c.missesKind(); miss != "" {
		return miss
	}
	return c.missesObject(workflow)
}

// missesObject is misses for an object of the right kind.
func (c clause) missesObject(workflow Workflow) string {
	switch {
	case !contains(c.test.Namespaces, workflow.Namespace):
		return fmt.Sprintf("%s.namespaces: %s does not list %q", c.field, names(c.test.Namespaces), workflow.Namespace)
	case !contains(c.test.ObjectNames, workflow.Name):
		return fmt.Sprintf("%s.objectNames: %s does not list %q", c.field, names(c.test.ObjectNames), workflow.Name)
	case len(c.test.NamespaceSelectors) > 0 && !c.namespaces.match(workflow.NamespaceLabels):
		return c.namespaces.why(fmt.Sprintf("Namespace %q", workflow.Namespace))
	case len(c.test.ObjectSelectors) > 0 && !c.objects.match(workflow.Labels):
		return c.objects.why("the Workflow")
	default:
		return ""
	}
}

// missesKind returns why the clause cannot match any Workflow, whatever it is called and labelled; empty if it can.
func (c clause) missesKind() string {
	switch {
	case !c.hasTest():
		return c.field + ": it has no test, and would select every object: if that is meant write namespaces: [\"*\"]"
	case c.onlyShares():
		return fmt.Sprintf("%s.resources: %s: it is for what Workflows need, not for Workflows", c.field, names(c.test.Resources))
	case c.test.APIGroup != nil && *c.test.APIGroup != workflowGroup:
		return fmt.Sprintf("%s.apiGroup: %s: %s", c.field, shorten(*c.test.APIGroup), groupRemedy)
	case !contains(c.test.Resources, workflowResource):
		return fmt.Sprintf("%s.resources: %s: %s", c.field, names(c.test.Resources), resourceRemedy)
	default:
		return ""
	}
}

// What to do about a clause for other objects than Workflows.
const (
	groupRemedy    = "only Workflows are sent to clusters: leave apiGroup out or write argoproj.io, without a version"
	resourceRemedy = "only Workflows are sent to clusters: write workflows, lowercase and plural"
)

// hasTest reports whether anything in the clause tells objects apart.
func (c clause) hasTest() bool {
	t := c.test
	return t.APIGroup != nil ||
		len(t.Resources)+len(t.Namespaces)+len(t.NamespaceSelectors)+len(t.ObjectSelectors)+len(t.ObjectNames) > 0
}

// contains reports whether a list of names matches one: an empty list and "*" match all.
func contains(list []string, name string) bool {
	return len(list) == 0 || slices.Contains(list, name) || slices.Contains(list, every)
}

// names shows a list of names.
func names(list []string) string {
	quoted := make([]string, 0, len(list))
	for _, name := range list {
		quoted = append(quoted, shorten(name))
	}
	return "[" + strings.TrimSpace(listed(quoted, maxNames, " ")) + "]"
}
