package transforms

import (
	"cmp"
	"fmt"
	"slices"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
)

// Group and Resource are those of the objects that are sent to clusters: only transforms for them are applied.
const (
	Group    = "argoproj.io"
	Resource = "workflows"
)

// PathError is a path of a CustomTransform that is skipped.
type PathError struct {
	// Index is the position in spec.remove, Path what is there, Reason what is wrong with it and what to do.
	Index  int
	Path   string
	Reason string
}

// Error returns the sentence for status.errors. It begins as KubeStellar's does.
func (e PathError) Error() string {
	return fmt.Sprintf("Error in spec.remove[%d]: %s: %s", e.Index, shorten(e.Path), e.Reason)
}

// Apply returns a deep copy of a Workflow without what the CustomTransforms for Workflows remove, and an error for each path that
// was skipped, by the name of the transform. Transforms for other resources are left out. As in KubeStellar a member that is
// missing is no error, paths do not go through lists, and a path that is skipped does not stop the others.
func Apply(object map[string]any, transforms []v1alpha1.CustomTransform) (map[string]any, []error) {
	result, _ := deepCopy(object).(map[string]any)
	var problems []error
	for _, transform := range byName(transforms) {
		if !forWorkflows(transform) {
			continue
		}
		paths, skipped := parse(transform)
		for _, path := range paths {
			remove(result, path)
		}
		for _, problem := range skipped {
			problems = append(problems, fmt.Errorf("customtransform %q: %w", transform.Name, problem))
		}
	}
	return result, problems
}

// Check returns an error for each path of the transform that is skipped, in order.
func Check(transform *v1alpha1.CustomTransform) []PathError {
	_, skipped := parse(transform)
	return skipped
}

// parse returns the paths that are applied and an error for each of the others.
func parse(transform *v1alpha1.CustomTransform) (paths []Path, skipped []PathError) {
	for i, text := range transform.Spec.Remove {
		path, err := ParsePath(text)
		if err == nil {
			err = allowed(path)
		}
		if err != nil {
			skipped = append(skipped, PathError{Index: i, Path: text, Reason: err.Error()})
			continue
		}
		paths = append(paths, path)
	}
	return paths, skipped
}

// needed are the paths of what an object cannot be created without.
var needed = []Path{{"apiVersion"}, {"kind"}, {"metadata", "name"}, {"metadata", "namespace"}, {"spec"}}

// allowed refuses a path that would remove what identifies the object, whole or in part.
func allowed(path Path) error {
	for _, keep := range needed {
		if len(path) <= len(keep) && slices.Equal(path, keep[:len(path)]) {
			return fmt.Errorf("it would remove %s, without which the object cannot be created: delete this path", keep)
		}
	}
	return nil
}

// remove deletes what the path identifies, if it is there.
func remove(object map[string]any, path Path) {
	last := len(path) - 1
	for _, name := range path[:last] {
		next, isObject := object[name].(map[string]any)
		if !isObject {
			return
		}
		object = next
	}
	delete(object, path[last])
}

func forWorkflows(transform *v1alpha1.CustomTransform) bool {
	return transform.Spec.APIGroup == Group && transform.Spec.Resource == Resource
}

// byName returns pointers to the transforms, sorted, so that the order of a list does not matter.
func byName(transforms []v1alpha1.CustomTransform) []*v1alpha1.CustomTransform {
	sorted := make([]*v1alpha1.CustomTransform, 0, len(transforms))
	for i := range transforms {
		sorted = append(sorted, &transforms[i])
	}
	slices.SortStableFunc(sorted, func(a, b *v1alpha1.CustomTransform) int { return cmp.Compare(a.Name, b.Name) })
	return sorted
}

// deepCopy copies JSON. Unlike apimachinery's it does not panic on a Go value that JSON does not have, such as an int.
func deepCopy(value any) any {
	switch value := value.(type) {
	case map[string]any:
		if value == nil {
			return value
		}
		result := make(map[string]any, len(value))
		for key, member := range value {
			result[key] = deepCopy(member)
		}
		return result
	case []any:
		if value == nil {
			return value
		}
		result := make([]any, len(value))
		for i, element := range value {
			result[i] = deepCopy(element)
		}
		return result
	default:
		return value
	}
}
