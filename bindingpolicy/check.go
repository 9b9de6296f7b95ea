package bindingpolicy

import (
	"encoding/json"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation"

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
	return append(problems, repeated(policy)...)
}

// repeated returns the selectors and clauses that stand there twice.
func repeated(policy *v1alpha1.BindingPolicy) []Problem {
	var problems []Problem
	first := map[string]string{}
	see := func(list string, i int, value any) {
		raw, err := json.Marshal(value)
		if err != nil {
			return
		}
		at := fmt.Sprintf("%s[%d]", list, i)
		if before, twice := first[list+string(raw)]; twice {
			problems = append(problems, Problem{Kind: ProblemAmbiguous, Field: at, Message: "it is the same as " + before + " and makes no difference: remove or correct it"})
			return
		}
		first[list+string(raw)] = at
	}
	for i := range policy.Spec.ClusterSelectors {
		see("spec.clusterSelectors", i, policy.Spec.ClusterSelectors[i])
	}
	for i := range policy.Spec.Downsync {
		see("spec.downsync", i, policy.Spec.Downsync[i])
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
	problems = append(problems, c.noNames()...)
	problems = append(problems, c.namespaces.problems...)
	problems = append(problems, c.objects.problems...)
	return append(problems, c.unsupported()...)
}

// noNames returns the names that no namespace and no Workflow can have.
func (c clause) noNames() []Problem {
	var problems []Problem
	add := func(list string, i int, name, kind string, wrong []string) {
		if len(wrong) == 0 || name == every {
			return
		}
		problems = append(problems, Problem{
			Kind: ProblemAmbiguous, Field: fmt.Sprintf("%s.%s[%d]", c.field, list, i), Value: shorten(name),
			Message: fmt.Sprintf(`it is no name that a %s can have, so it matches none: write whole names, or "*" alone for all`, kind),
		})
	}
	for i, name := range c.test.Namespaces {
		add("namespaces", i, name, "Namespace", validation.IsDNS1123Label(name))
	}
	for i, name := range c.test.ObjectNames {
		add("objectNames", i, name, "Workflow", validation.IsDNS1123Subdomain(name))
	}
	return problems
}

// shareRemedy is what to do about a clause that would share every object of its kind.
const shareRemedy = "these travel only by name or by label, and none does: write objectNames or objectSelectors, without * or {}"

// otherObjects returns what asks for other objects than Workflows and what they need.
func (c clause) otherObjects() []Problem {
	var problems []Problem
	if c.onlyShares() {
		if !c.chooses() {
			problems = append(problems, Problem{Kind: ProblemUnsupported, Field: c.field + ".resources", Value: names(c.test.Resources), Message: shareRemedy})
		}
		return problems
	}
	if group := c.test.APIGroup; group != nil && *group != workflowGroup {
		return []Problem{{Kind: ProblemUnsupported, Field: c.field + ".apiGroup", Value: shorten(*group), Message: groupRemedy}}
	}
	for i, resource := range c.test.Resources {
		switch {
		case c.lists(resource) && !c.chooses():
			problems = append(problems, Problem{
				Kind: ProblemUnsupported, Field: fmt.Sprintf("%s.resources[%d]", c.field, i), Value: shorten(resource), Message: shareRemedy,
			})
		case resource != workflowResource && resource != every && !c.lists(resource):
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
