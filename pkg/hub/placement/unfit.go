package placement

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// maxQuoted bounds, in bytes, what an event quotes of an API server's answer.
const maxQuoted = 600

// unreadable says why nobody can tell whether a Workflow is suspended: Argo's minimal CRD checks no types, and its controller then
// cannot read the Workflow either. It is empty for all others.
func unreadable(live *unstructured.Unstructured) string {
	value, found, _ := unstructured.NestedFieldNoCopy(live.Object, "spec", "suspend")
	if _, boolean := value.(bool); boolean || !found || value == nil {
		return ""
	}
	kind := "a number"
	switch value.(type) {
	case string:
		kind = "a text"
	case map[string]any:
		kind = "an object"
	case []any:
		kind = "a list"
	}
	return fmt.Sprintf("spec.suspend is %s and not true or false, so the Workflow is not placed, and Argo cannot read it: write suspend: true, without quotes", kind)
}

// refusedHere says why the hub's own API server refuses what placing a Workflow needs, if that is what an error is: trying again does
// not help until somebody changes something.
func refusedHere(err error) string {
	if err == nil {
		return ""
	}
	said := stellarflow.OneLine(err.Error(), maxQuoted)
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Sprintf("it waits, since the hub manager may not do that: %s: run `stellarflow install` again to restore its rights, or change the admission policy", said)
	case apierrors.IsInvalid(err), apierrors.IsRequestEntityTooLargeError(err), apierrors.IsBadRequest(err):
		return fmt.Sprintf("it is not placed, since the hub's API server does not store the record of it: %s: make its annotations smaller, or correct what is named", said)
	}
	return ""
}
