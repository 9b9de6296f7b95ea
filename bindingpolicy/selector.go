package bindingpolicy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// selectors is a list of label selectors of which any may match, as it stands at one field of a policy.
type selectors struct {
	field string
	// valid holds those that can be read; problems says why the others cannot.
	valid    []labels.Selector
	problems []Problem
}

// parseSelectors reads a list of selectors. One that cannot be read matches nothing and leaves a Problem for each part at fault.
func parseSelectors(at string, list []metav1.LabelSelector) selectors {
	result := selectors{field: at}
	for i := range list {
		selector, problems := parseSelector(fmt.Sprintf("%s[%d]", at, i), &list[i])
		if len(problems) > 0 {
			result.problems = append(result.problems, problems...)
			continue
		}
		result.valid = append(result.valid, selector)
	}
	return result
}

// parseSelector reads a selector part by part, so that a Problem can name the part.
func parseSelector(at string, selector *metav1.LabelSelector) (labels.Selector, []Problem) {
	parsed := labels.NewSelector()
	var problems []Problem
	add := func(part metav1.LabelSelector, at, value string) {
		one, err := metav1.LabelSelectorAsSelector(&part)
		if err != nil {
			problems = append(problems, Problem{
				Kind: ProblemInvalid, Field: at, Value: shorten(value),
				Message: "it cannot be read, so this selector matches nothing: " + remedy(err),
			})
			return
		}
		requirements, _ := one.Requirements()
		parsed = parsed.Add(requirements...)
	}
	for _, key := range slices.Sorted(maps.Keys(selector.MatchLabels)) {
		value := selector.MatchLabels[key]
		add(metav1.LabelSelector{MatchLabels: map[string]string{key: value}},
			fmt.Sprintf("%s.matchLabels[%s]", at, shorten(key)), value)
	}
	for i, expression := range selector.MatchExpressions {
		add(metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{expression}},
			fmt.Sprintf("%s.matchExpressions[%d]", at, i),
			fmt.Sprintf("%s %s %v", expression.Key, expression.Operator, expression.Values))
	}
	return parsed, problems
}

// remedy says what is wrong with a part of a selector. The value is left out: the Problem has it, cut.
func remedy(err error) string {
	var details []string
	if list, several := err.(interface{ Errors() []error }); several { //nolint:errorlint // an Aggregate does not unwrap
		for _, one := range list.Errors() {
			details = append(details, remedy(one))
		}
		return strings.Join(details, "; ")
	}
	var wrong *field.Error
	switch {
	case errors.As(err, &wrong) && wrong.Detail != "":
		return strings.TrimPrefix(wrong.Field+": ", ": ") + strings.TrimSuffix(wrong.Detail, ".") + ": correct it"
	case strings.HasSuffix(err.Error(), "is not a valid label selector operator"):
		return "the operators are In, NotIn, Exists and DoesNotExist: use one of them"
	}
	return stellarflow.OneLine(err.Error(), maxPart)
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
