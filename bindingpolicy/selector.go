package bindingpolicy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// selectors is a list of label selectors of which any may match, as it stands at one field of a policy.
type selectors struct {
	field string
	// valid holds those that can be read; problems says why the others cannot.
	valid    []labels.Selector
	problems []Problem
}

// parseSelectors reads a list of selectors. One that cannot be read matches nothing and leaves a Problem for each part at fault.
func parseSelectors(field string, list []metav1.LabelSelector) selectors {
	result := selectors{field: field}
	for i := range list {
		selector, problems := parseSelector(fmt.Sprintf("%s[%d]", field, i), &list[i])
		if len(problems) > 0 {
			result.problems = append(result.problems, problems...)
			continue
		}
		result.valid = append(result.valid, selector)
	}
	return result
}

// parseSelector reads a selector part by part, so that a Problem can name the part.
func parseSelector(field string, selector *metav1.LabelSelector) (labels.Selector, []Problem) {
	parsed := labels.NewSelector()
	var problems []Problem
	add := func(part metav1.LabelSelector, field, value string) {
		one, err := metav1.LabelSelectorAsSelector(&part)
		if err != nil {
			problems = append(problems, Problem{
				Kind: ProblemInvalid, Field: field, Value: shorten(value),
				Message: "it cannot be read, so this selector matches nothing: " + strings.TrimSuffix(err.Error(), "."),
			})
			return
		}
		requirements, _ := one.Requirements()
		parsed = parsed.Add(requirements...)
	}
	for _, key := range slices.Sorted(maps.Keys(selector.MatchLabels)) {
		value := selector.MatchLabels[key]
		add(metav1.LabelSelector{MatchLabels: map[string]string{key: value}},
			fmt.Sprintf("%s.matchLabels[%q]", field, key), value)
	}
	for i, expression := range selector.MatchExpressions {
		add(metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{expression}},
			fmt.Sprintf("%s.matchExpressions[%d]", field, i),
			fmt.Sprintf("%s %s %v", expression.Key, expression.Operator, expression.Values))
	}
	return parsed, problems
}

// match reports whether any of the selectors matches.
func (s selectors) match(set map[string]string) bool {
	return slices.ContainsFunc(s.valid, func(selector labels.Selector) bool { return selector.Matches(labels.Set(set)) })
}

// why says why nothing matched; whose are the labels that were looked at.
func (s selectors) why(whose string) string {
	if len(s.problems) > 0 {
		return s.problems[0].String()
	}
	return fmt.Sprintf("%s: none matches the labels of %s", s.field, whose)
}
