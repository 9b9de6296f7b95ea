package transforms

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
)

// object reads JSON, as an object comes from an API server.
func object(t testing.TB, text string) map[string]any {
	t.Helper()
	var result map[string]any
	if err := json.Unmarshal([]byte(text), &result); err != nil {
		t.Fatalf("test data %s: %v", text, err)
	}
	return result
}

// transform is a CustomTransform for Workflows.
func transform(name string, remove ...string) v1alpha1.CustomTransform {
	return v1alpha1.CustomTransform{
		ObjectMeta: metav1.ObjectMeta{Name: name, Generation: 3},
		Spec:       v1alpha1.CustomTransformSpec{APIGroup: Group, Resource: Resource, Remove: remove},
	}
}

func TestApply(t *testing.T) {
	const workflow = `{"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow",
		"metadata": {"name": "n", "namespace": "argo", "labels": {"a/b": "1", "workflows.argoproj.io/phase": "Running"}},
		"spec": {"suspend": true, "priority": 5, "templates": [{"name": "x"}], "nothing": null}}`
	other := transform("pods", "$.spec.suspend", "nonsense")
	other.Spec.APIGroup, other.Spec.Resource = "", "pods"
	otherGroup := transform("group", "$.spec.suspend")
	otherGroup.Spec.APIGroup = "example.com"

	cases := map[string]struct {
		reason     string
		object     string
		transforms []v1alpha1.CustomTransform
		want       string
		errors     []string
	}{
		"Sample": {
			reason: "KubeStellar's transform for Workflows works as it stands",
			object: workflow,
			transforms: []v1alpha1.CustomTransform{transform("workflow", "$.spec.suspend",
				`$.metadata.labels["workflows.argoproj.io/completed"]`, `$.metadata.labels["workflows.argoproj.io/phase"]`)},
			want: `{"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": "n", "namespace": "argo", "labels": {"a/b": "1"}},
				"spec": {"priority": 5, "templates": [{"name": "x"}], "nothing": null}}`,
		},
		"None": {reason: "without transforms it is a copy", object: workflow, want: workflow},
		"OtherResource": {
			reason: "a transform for another resource does nothing, and its errors are not the Workflow's",
			object: workflow, transforms: []v1alpha1.CustomTransform{other, otherGroup}, want: workflow,
		},
		"Missing": {
			reason: "a missing member is no error, at the end and on the way; nor is a value that has no members",
			object: workflow, want: workflow,
			transforms: []v1alpha1.CustomTransform{transform("t", "$.x", "$.spec.x", "$.x.y.z", "$.spec.priority.x", "$.spec.nothing.x")},
		},
		"Lists": {
			reason: "lists cannot be traversed, but removed whole",
			object: `{"a": [{"name": "x"}], "b": [1]}`, want: `{"a": [{"name": "x"}]}`,
			transforms: []v1alpha1.CustomTransform{transform("t", "$.a.name", `$.a["0"]`, "$.b")},
		},
		"Null": {
			reason: "a member that is null is there", object: `{"a": null, "b": {"c": null}}`, want: `{"b": {}}`,
			transforms: []v1alpha1.CustomTransform{transform("t", "$.a", "$.b.c")},
		},
		"Several": {
			reason: "the removals of several transforms add up; errors come by name",
			object: `{"a": 1, "b": 2, "c": 3}`, want: `{"c": 3}`,
			transforms: []v1alpha1.CustomTransform{transform("z", "$.a", "$"), transform("a", "b", "$.b")},
			errors: []string{
				`customtransform "a": Error in spec.remove[0]: "b": a path starts with $, as in $.spec.suspend`,
				`customtransform "z": Error in spec.remove[1]: "$": it identifies the whole object: name a member of it, as in $.spec.suspend`,
			},
		},
		"BadPath": {
			reason: "a bad path is skipped, the rest apply", object: `{"a": 1, "b": 2}`, want: `{}`,
			transforms: []v1alpha1.CustomTransform{transform("t", "$.a", "$.x[0]", "$.b")},
			errors: []string{`customtransform "t": Error in spec.remove[1]: "$.x[0]": at character 4: only ["name"], in double quotes, may follow [: ` +
				`indexes, wildcards, filters and single quotes are not supported`},
		},
		"Identity": {
			reason: "what identifies the object stays, whole and in part; what is beside it goes",
			object: workflow,
			want: `{"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": "n", "namespace": "argo"},
				"spec": {"suspend": true, "priority": 5, "templates": [{"name": "x"}], "nothing": null}}`,
			transforms: []v1alpha1.CustomTransform{transform("t", "$.apiVersion", `$["kind"]`, "$.metadata.name", `$.metadata["namespace"]`, "$.metadata",
				"$.metadata.labels", "$.metadata.name.x", "$.metadata.nameX")},
			errors: []string{
				`customtransform "t": Error in spec.remove[0]: "$.apiVersion": it would remove $["apiVersion"], without which the object cannot be created: delete this path`,
				`customtransform "t": Error in spec.remove[1]: "$[\"kind\"]": it would remove $["kind"], without which the object cannot be created: delete this path`,
				`customtransform "t": Error in spec.remove[2]: "$.metadata.name": it would remove $["metadata"]["name"], without which the object cannot be created: delete this path`,
				`customtransform "t": Error in spec.remove[3]: "$.metadata[\"namespace\"]": it would remove $["metadata"]["namespace"], without which the object cannot be created: delete this path`,
				`customtransform "t": Error in spec.remove[4]: "$.metadata": it would remove $["metadata"]["name"], without which the object cannot be created: delete this path`,
			},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			in := object(t, tc.object)
			got, errs := Apply(in, tc.transforms)
			if diff := cmp.Diff(object(t, tc.want), got); diff != "" {
				t.Errorf("\n%s\nApply(...): -want, +got:\n%s", tc.reason, diff)
			}
			var texts []string
			for _, err := range errs {
				texts = append(texts, err.Error())
				if problem := (PathError{}); !errors.As(err, &problem) {
					t.Errorf("\n%s\nApply(...): %T is not a PathError", tc.reason, err)
				}
			}
			if diff := cmp.Diff(tc.errors, texts); diff != "" {
				t.Errorf("\n%s\nApply(...) errors: -want, +got:\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(object(t, tc.object), in); diff != "" {
				t.Errorf("\n%s\nApply changed its input: -want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

// TestApplyCopies holds that the result shares nothing with the input, and that values which JSON does not have do no harm.
func TestApplyCopies(t *testing.T) {
	in := map[string]any{
		"list": []any{map[string]any{"a": "b"}, []any{int64(1)}}, "nilMap": map[string]any(nil), "nilList": []any(nil),
		"int": 1, "strings": []string{"a"}, "nil": nil,
	}
	got, errs := Apply(in, nil)
	if len(errs) > 0 {
		t.Fatalf("Apply(...): %v", errs)
	}
	if diff := cmp.Diff(in, got); diff != "" {
		t.Errorf("Apply(...): -want, +got:\n%s", diff)
	}
	got["list"].([]any)[0].(map[string]any)["a"] = "changed"
	if in["list"].([]any)[0].(map[string]any)["a"] != "b" {
		t.Error("Apply(...): the result shares a map with the input")
	}
	if got, _ := Apply(nil, []v1alpha1.CustomTransform{transform("t", "$.a")}); len(got) != 0 {
		t.Errorf("Apply(nil) = %v", got)
	}
}

func TestCheck(t *testing.T) {
	checked := transform("t", "$.a", "b", "$.kind")
	want := []PathError{
		{Index: 1, Path: "b", Reason: "a path starts with $, as in $.spec.suspend"},
		{Index: 2, Path: "$.kind", Reason: `it would remove $["kind"], without which the object cannot be created: delete this path`},
	}
	if diff := cmp.Diff(want, Check(&checked)); diff != "" {
		t.Errorf("Check(...): -want, +got:\n%s", diff)
	}
	long := PathError{Index: 0, Path: strings.Repeat("ä", 1000), Reason: "r"}
	if text := long.Error(); len([]rune(text)) > 120 || !strings.HasPrefix(text, "Error in spec.remove[0]: ") {
		t.Errorf("Error() of a long path = %s: want it cut", text)
	}
}

func FuzzApply(f *testing.F) {
	f.Add(`{"metadata": {"name": "n", "labels": {"a": "b"}}, "spec": {"suspend": true}, "status": {"phase": "Running"}}`,
		"$.spec.suspend", `$.metadata.labels["a"]`)
	f.Add(`{"a": [{"b": null}], "spec": {"workflowMetadata": {"labels": {"stellarflow.io/cluster": "c"}}}}`, "$.a.b", "$.a")
	f.Add(`{"metadata": null, "spec": []}`, "$.metadata.x", "$")
	f.Add(`{"metadata": {"labels": [], "annotations": "x"}}`, "$.metadata", "nonsense")
	f.Fuzz(func(t *testing.T, text, first, second string) {
		var in, before map[string]any
		if json.Unmarshal([]byte(text), &in) != nil || json.Unmarshal([]byte(text), &before) != nil {
			t.Skip("not an object")
		}
		list := []v1alpha1.CustomTransform{transform("a", first), transform("b", second, first)}
		once, errs := Apply(in, list)
		if diff := cmp.Diff(before, in); diff != "" {
			t.Fatalf("the input changed: -want, +got:\n%s", diff)
		}
		twice, again := Apply(once, list)
		if diff := cmp.Diff(once, twice); diff != "" {
			t.Fatalf("not idempotent: -once, +twice:\n%s", diff)
		}
		if fmt.Sprint(errs) != fmt.Sprint(again) {
			t.Fatalf("errors differ: %v, then %v", errs, again)
		}
		for _, key := range []string{"apiVersion", "kind"} {
			if _, had := before[key]; had {
				if _, has := once[key]; !has {
					t.Fatalf("%s is gone", key)
				}
			}
		}
		checkPath(t, once, first)
		checkPath(t, once, second)
		stripped := Strip(in)
		if diff := cmp.Diff(before, in); diff != "" {
			t.Fatalf("Strip changed its input: -want, +got:\n%s", diff)
		}
		if diff := cmp.Diff(stripped, Strip(stripped)); diff != "" {
			t.Fatalf("Strip is not idempotent: -once, +twice:\n%s", diff)
		}
	})
}

// checkPath fails if an applied path still identifies something.
func checkPath(t *testing.T, in map[string]any, text string) {
	t.Helper()
	path, err := ParsePath(text)
	if err != nil || allowed(path) != nil {
		return
	}
	for i, name := range path {
		value, found := in[name]
		if !found {
			return
		}
		if i == len(path)-1 {
			t.Fatalf("%s is still there: %v", path, value)
		}
		next, isObject := value.(map[string]any)
		if !isObject {
			return
		}
		in = next
	}
}
