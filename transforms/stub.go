package transforms

import "stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"

// Path is a parsed path: the names of the members on the way from the object to what it identifies, at least one.
type Path []string

// PathError is a path of a CustomTransform that is skipped.
type PathError struct {
	// Index is the position in spec.remove, Path what is there, Reason what is wrong with it and what to do.
	Index  int
	Path   string
	Reason string
}

// Error returns the sentence for status.errors: `Error in spec.remove[i]: ...`.
func (e PathError) Error() string { return "" }

// Strip returns a deep copy of a Workflow without what never travels to a WEC.
func Strip(object map[string]any) map[string]any { return nil }

// Apply returns a deep copy of a Workflow without what the CustomTransforms for Workflows remove, and an error for each path that
// was skipped. Transforms for other resources are left out.
func Apply(object map[string]any, transforms []v1alpha1.CustomTransform) (map[string]any, []error) {
	return nil, nil
}

// ParsePath reads a path in KubeStellar's dialect: `$` followed by one or more of `.name` and `["string"]`.
func ParsePath(text string) (Path, error) { return nil, nil }

// Check returns an error for each path of the transform that is skipped, in order.
func Check(transform *v1alpha1.CustomTransform) []PathError { return nil }

// StatusOf returns the status of a transform among all that exist, with its conditions Ready and FullySupported (without
// transition times).
func StatusOf(transform *v1alpha1.CustomTransform, all []v1alpha1.CustomTransform) v1alpha1.CustomTransformStatus {
	return v1alpha1.CustomTransformStatus{}
}
