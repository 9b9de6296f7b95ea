package transforms

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
)

// maxListed is how many errors or names a status lists before it says how many more there are.
const maxListed = 20

// StatusOf returns the status of a transform among all that exist, with its conditions Ready and FullySupported. The conditions
// have no transition times: the caller merges them into those that are there.
func StatusOf(transform *v1alpha1.CustomTransform, all []v1alpha1.CustomTransform) v1alpha1.CustomTransformStatus {
	skipped := Check(transform)
	ready, supported := readiness(transform, skipped), support(transform)
	ready.ObservedGeneration, supported.ObservedGeneration = transform.Generation, transform.Generation
	return v1alpha1.CustomTransformStatus{
		Conditions:         []metav1.Condition{ready, supported},
		ObservedGeneration: transform.Generation,
		Errors:             sentences(skipped),
		Warnings:           warnings(transform, all),
	}
}

func readiness(transform *v1alpha1.CustomTransform, skipped []PathError) metav1.Condition {
	condition := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse}
	total := len(transform.Spec.Remove)
	switch {
	case !forWorkflows(transform):
		condition.Reason = v1alpha1.ReasonOtherResource
		condition.Message = "It is applied to nothing: only Workflows are sent to clusters. " + remedy(transform)
	case len(skipped) > 0:
		condition.Reason = v1alpha1.ReasonInvalidPaths
		condition.Message = fmt.Sprintf("%d of %d paths are skipped, see status.errors; the others are applied.", len(skipped), total)
	default:
		condition.Status = metav1.ConditionTrue
		condition.Reason = v1alpha1.ReasonApplied
		condition.Message = fmt.Sprintf("%d paths are removed from each Workflow when it is sent to a cluster.", total)
	}
	return condition
}

func support(transform *v1alpha1.CustomTransform) metav1.Condition {
	if forWorkflows(transform) {
		return metav1.Condition{
			Type: v1alpha1.ConditionFullySupported, Status: metav1.ConditionTrue,
			Reason: v1alpha1.ReasonAllFieldsSupported, Message: "Every field is acted on.",
		}
	}
	return metav1.Condition{
		Type: v1alpha1.ConditionFullySupported, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonUnsupportedFields,
		Message: fmt.Sprintf("Not acted on: spec.apiGroup %s with spec.resource %s. %s",
			shorten(transform.Spec.APIGroup), shorten(transform.Spec.Resource), remedy(transform)),
	}
}

// remedy says what to write for Workflows; it is more certain if the transform nearly says so.
func remedy(transform *v1alpha1.CustomTransform) string {
	group, resource := strings.ToLower(transform.Spec.APIGroup), strings.ToLower(transform.Spec.Resource)
	if strings.HasPrefix(group, Group) && strings.HasPrefix(resource, "workflow") || strings.TrimSuffix(resource, "s") == "workflow" {
		return fmt.Sprintf("For Workflows write apiGroup: %s (no version) and resource: %s (lowercase, plural).", Group, Resource)
	}
	return fmt.Sprintf("It is kept for KubeStellar's sake; Workflows are apiGroup: %s, resource: %s.", Group, Resource)
}

// sentences returns the errors as text, at most maxListed of them.
func sentences(skipped []PathError) []string {
	var texts []string
	for i, problem := range skipped {
		if i == maxListed {
			return append(texts, fmt.Sprintf("and %d more", len(skipped)-i))
		}
		texts = append(texts, problem.Error())
	}
	return texts
}

func warnings(transform *v1alpha1.CustomTransform, all []v1alpha1.CustomTransform) []string {
	var texts []string
	if len(transform.Spec.Remove) == 0 {
		texts = append(texts, "spec.remove is empty: the transform changes nothing")
	}
	texts = append(texts, repeated(transform)...)
	names := []string{transform.Name}
	for i := range all {
		other := &all[i]
		if other.Spec.APIGroup == transform.Spec.APIGroup && other.Spec.Resource == transform.Spec.Resource {
			names = append(names, other.Name)
		}
	}
	slices.Sort(names)
	if names = slices.Compact(names); len(names) > 1 {
		texts = append(texts, "multiple CustomTransform objects specify the same GroupResource; their names are "+
			quoted(names)+"; what any of them removes is removed")
	}
	return texts
}

// repeated says which paths are there twice, at most maxListed of them.
func repeated(transform *v1alpha1.CustomTransform) []string {
	var texts []string
	first := map[string]int{}
	for i, text := range transform.Spec.Remove {
		path, err := ParsePath(text)
		if err != nil || len(texts) == maxListed {
			continue
		}
		if before, twice := first[path.String()]; twice {
			texts = append(texts, fmt.Sprintf("spec.remove[%d] removes the same as spec.remove[%d]: one of them is enough", i, before))
			continue
		}
		first[path.String()] = i
	}
	return texts
}

// quoted lists names, at most maxListed of them.
func quoted(names []string) string {
	var list []string
	for i, name := range names {
		if i == maxListed {
			return strings.Join(list, ", ") + fmt.Sprintf(" and %d more", len(names)-i)
		}
		list = append(list, strconv.Quote(name))
	}
	return strings.Join(list, ", ")
}
