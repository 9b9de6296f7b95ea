package placement

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

func TestUnreadable(t *testing.T) {
	const rest = " and not true or false, so the Workflow is not placed, and Argo cannot read it: write suspend: true, without quotes"
	for name, tc := range map[string]struct {
		suspend any
		want    string
	}{
		"True": {true, ""}, "False": {false, ""}, "Null": {nil, ""}, "Text": {"true", "spec.suspend is a text" + rest}, "Number": {int64(1), "spec.suspend is a number" + rest},
		"Object": {map[string]any{}, "spec.suspend is an object" + rest}, "List": {[]any{true}, "spec.suspend is a list" + rest},
	} {
		if got := unreadable(&unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"suspend": tc.suspend}}}); got != tc.want {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
	for name, object := range map[string]map[string]any{"Missing": {"spec": map[string]any{}}, "NoSpec": {}, "TextSpec": {"spec": "x"}} {
		if got := unreadable(&unstructured.Unstructured{Object: object}); got != "" {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

func TestRefusedHere(t *testing.T) {
	resource := stellarflow.Workflows.GroupResource()
	invalid := apierrors.NewInvalid(stellarflow.WorkflowKind.GroupKind(), "w", field.ErrorList{field.TooLong(field.NewPath("metadata", "annotations"), "", 262144)})
	for name, tc := range map[string]struct {
		err  error
		want string // a part
	}{
		"None":      {nil, ""},
		"Network":   {errors.New("connection refused"), ""},
		"Busy":      {apierrors.NewTooManyRequests("later", 1), ""},
		"Forbidden": {fmt.Errorf("patch: %w", apierrors.NewForbidden(resource, "w", errors.New("no\x1b[2J"))), "no\ufffd[2J: run `stellarflow install` again"},
		"Invalid":   {fmt.Errorf("patch: %w", invalid), "make its annotations smaller"},
		"Huge":      {apierrors.NewBadRequest(strings.Repeat("x", 5000)), "...: make its annotations smaller"},
	} {
		got := refusedHere(tc.err)
		if (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) || len(got) > 1024 {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
}
