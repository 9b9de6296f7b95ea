package diagnosis

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// Differs returns the path of the first place at which an object that is there is not what was wanted, and the empty string if it
// has all of that. What the object has beside it (defaults, status, what others added) does not count, but in lists it does.
func Differs(wanted, there any) string { return differs(wanted, there, "") }

func differs(wanted, there any, path string) string {
	switch wanted := wanted.(type) {
	case nil:
		return ""
	case map[string]any:
		return mapDiffers(wanted, there, path)
	case []any:
		return listDiffers(wanted, there, path)
	}
	if there == nil && reflect.ValueOf(wanted).IsZero() || reflect.DeepEqual(wanted, there) { // false and 0 are not stored
		return ""
	}
	return path
}

func mapDiffers(wanted map[string]any, there any, path string) string {
	has, isMap := there.(map[string]any)
	if !isMap && len(wanted) > 0 {
		return path
	}
	for _, key := range slices.Sorted(maps.Keys(wanted)) {
		if at := differs(wanted[key], has[key], path+"."+key); at != "" {
			return at
		}
	}
	return ""
}

func listDiffers(wanted []any, there any, path string) string {
	has, isList := there.([]any)
	if !isList && len(wanted) > 0 || len(has) != len(wanted) {
		return path
	}
	for i := range wanted {
		if at := differs(wanted[i], has[i], fmt.Sprintf("%s[%d]", path, i)); at != "" {
			return at
		}
	}
	return ""
}
