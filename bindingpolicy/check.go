package bindingpolicy

import (
	"fmt"
	"slices"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
)

// Check returns everything in the policy's spec that a person should look at, in the order of the fields.
func Check(policy *v1alpha1.BindingPolicy) []Problem {
	parsed := parse(policy)
	problems := slices.Clone(parsed.clusters.problems)
	if len(policy.Spec.ClusterSelectors) == 0 {
		problems = append(problems, Problem{
			Kind: ProblemEmpty, Field: "spec.clusterSelectors", Message: "it is empty, which selects no cluster: add a selector, {} for every cluster",
		})
	}
	if len(parsed.clauses) == 0 {
		problems = append(problems, Problem{
			Kind: ProblemEmpty, Field: "spec.downsync", Message: "it is empty, which selects nothing: add a clause",
		})
	}
	for _, clause := range parsed.clauses {
		problems = append(problems, clause.check()...)
	}
	return problems
}

// check returns the problems of one clause.
func (c clause) check() []Problem {
	var problems []Problem
	if !c.hasTest() {
		problems = append(problems, Problem{
			Kind: ProblemEmpty, Field: c.field,
			Message: `it has no test, would select every object, and therefore selects nothing: if all are meant write namespaces: ["*"]`,
		})
	}
	problems = append(problems, c.otherObjects()...)
	for _, list := range []struct {
		name   string
		values []string
	}{{"resources", c.test.Resources}, {"namespaces", c.test.Namespaces}, {"objectNames", c.test.ObjectNames}} {
		if len(list.values) > 1 && slices.Contains(list.values, every) {
			problems = append(problems, Problem{
				Kind: ProblemAmbiguous, Field: c.field + "." + list.name, Value: names(list.values),
				Message: `"*" matches all, so the other entries make no difference: remove them or the "*"`,
			})
		}
	}
	problems = append(problems, c.namespaces.problems...)
	problems = append(problems, c.objects.problems...)
	return append(problems, c.unsupported()...)
}

// otherObjects returns what asks for other objects than Workflows.
func (c clause) otherObjects() []Problem {
	var problems []Problem
	if group := c.test.APIGroup; group != nil && *group != workflowGroup {
		return []Problem{{Kind: ProblemUnsupported, Field: c.field + ".apiGroup", Value: shorten(*group), Message: groupRemedy}}
	}
	for i, resource := range c.test.Resources {
		if resource != workflowResource && resource != every {
			problems = append(problems, Problem{
				Kind: ProblemUnsupported, Field: fmt.Sprintf("%s.resources[%d]", c.field, i), Value: shorten(resource), Message: resourceRemedy,
			})
		}
	}
	return problems
}

// unsupported returns the fields that are accepted but not acted on.
func (c clause) unsupported() []Problem {
	var problems []Problem
	add := func(name, value, message string) {
		problems = append(problems, Problem{Kind: ProblemUnsupported, Field: c.field + "." + name, Value: value, Message: message})
	}
	const collectors = "StatusCollectors are not supported; the whole status comes back to the Workflow"
	if list := c.test.StatusCollectors; len(list) > 0 {
		add("statusCollectors", names(list), collectors)
	}
	if collection := c.test.StatusCollection; collection != nil && len(collection.StatusCollectors) > 0 {
		add("statusCollection.statusCollectors", names(collection.StatusCollectors), collectors)
	}
	if c.test.WantMultiWECReportedState {
		add("wantMultiWECReportedState", "true", "a Workflow runs on one cluster, whose status comes back as it is: use wantSingletonReportedState")
	}
	return problems
}
