package transforms

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
)

const allSupported = "Every field is acted on."

// conditions are Ready and FullySupported as StatusOf returns them.
func conditions(ready metav1.ConditionStatus, reason, message string, supported metav1.ConditionStatus, why, what string) []metav1.Condition {
	return []metav1.Condition{
		{Type: v1alpha1.ConditionReady, Status: ready, ObservedGeneration: 3, Reason: reason, Message: message},
		{Type: v1alpha1.ConditionFullySupported, Status: supported, ObservedGeneration: 3, Reason: why, Message: what},
	}
}

func TestStatusOf(t *testing.T) {
	other := func(group, resource string) v1alpha1.CustomTransform {
		result := transform("other", "$.spec.x")
		result.Spec.APIGroup, result.Spec.Resource = group, resource
		return result
	}
	const (
		foreign = "It is kept for KubeStellar's sake; Workflows are apiGroup: argoproj.io, resource: workflows."
		near    = "For Workflows write apiGroup: argoproj.io (no version) and resource: workflows (lowercase, plural)."
	)
	otherwise := func(group, resource, remedy string) []metav1.Condition {
		return conditions("False", "OtherResource", "It is applied to nothing: only Workflows are sent to clusters. "+remedy,
			"False", "UnsupportedFields", fmt.Sprintf("Not acted on: spec.apiGroup %q with spec.resource %q. %s", group, resource, remedy))
	}
	ready := func(count int) []metav1.Condition {
		return conditions("True", "Applied", fmt.Sprintf("%d paths are removed from each Workflow when it is sent to a cluster.", count),
			"True", "AllFieldsSupported", allSupported)
	}
	cases := map[string]struct {
		reason    string
		transform v1alpha1.CustomTransform
		all       []v1alpha1.CustomTransform
		want      v1alpha1.CustomTransformStatus
	}{
		"Applied": {
			reason:    "good paths; it does not matter that the list has the transform itself and one for another resource",
			transform: transform("t", "$.a", "$.b"), all: []v1alpha1.CustomTransform{transform("t", "$.a", "$.b"), other("", "pods")},
			want: v1alpha1.CustomTransformStatus{Conditions: ready(2)},
		},
		"Empty": {
			reason: "nothing to remove is said", transform: transform("t"),
			want: v1alpha1.CustomTransformStatus{Conditions: ready(0), Warnings: []string{"spec.remove is empty: the transform changes nothing"}},
		},
		"Multiple": {
			reason: "several for one resource add up, and each says so", transform: transform("b", "$.a"),
			all: []v1alpha1.CustomTransform{transform("b", "$.a"), transform("a", "$.a")},
			want: v1alpha1.CustomTransformStatus{Conditions: ready(1), Warnings: []string{
				`multiple CustomTransform objects specify the same GroupResource; their names are "a", "b"; what any of them removes is removed`,
			}},
		},
		"InvalidPaths": {
			reason: "paths that are skipped are listed", transform: transform("t", "$.a", "b"),
			want: v1alpha1.CustomTransformStatus{
				Conditions: conditions("False", "InvalidPaths", "1 of 2 paths are skipped, see status.errors; the others are applied.",
					"True", "AllFieldsSupported", allSupported),
				Errors: []string{`Error in spec.remove[1]: "b": a path starts with $, as in $.spec.suspend`},
			},
		},
		"OtherResource": {
			reason: "accepted for KubeStellar's sake", transform: other("kubeflow.org", "pytorchjobs"),
			want: v1alpha1.CustomTransformStatus{Conditions: otherwise("kubeflow.org", "pytorchjobs", foreign)},
		},
		"Kind":    {"a kind instead of a resource", other("argoproj.io", "Workflow"), nil, v1alpha1.CustomTransformStatus{Conditions: otherwise("argoproj.io", "Workflow", near)}},
		"Version": {"a version in the group", other("argoproj.io/v1alpha1", "workflows"), nil, v1alpha1.CustomTransformStatus{Conditions: otherwise("argoproj.io/v1alpha1", "workflows", near)}},
		"NoGroup": {"the group is missing", other("", "workflows"), nil, v1alpha1.CustomTransformStatus{Conditions: otherwise("", "workflows", near)}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			tc.want.ObservedGeneration = 3
			if diff := cmp.Diff(tc.want, StatusOf(&tc.transform, tc.all)); diff != "" {
				t.Errorf("\n%s\nStatusOf(...): -want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

// TestStatusIsBounded holds that very many bad paths and transforms make a status of a bounded size.
func TestStatusIsBounded(t *testing.T) {
	many := transform("t-000", make([]string, 500)...)
	var all []v1alpha1.CustomTransform
	for i := range 500 {
		all = append(all, transform(fmt.Sprintf("t-%03d", i), "$.a"))
	}
	status := StatusOf(&many, all)
	if len(status.Errors) != maxListed+1 || status.Errors[maxListed] != "and 480 more" {
		t.Errorf("%d errors, the last %q: want %d and how many more", len(status.Errors), status.Errors[len(status.Errors)-1], maxListed)
	}
	if len(status.Warnings) != 1 || len(status.Warnings[0]) > 500 {
		t.Errorf("warnings %q: want one, with some of the names", status.Warnings)
	}
}
