package downsync

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
	"stellarflow.io/stellarflow/pkg/hub/upsync"
	"stellarflow.io/stellarflow/transforms"
)

// hashBytes are the bytes of a hash in Keys: few, since each label and annotation has one, and enough for two of them not to be the same.
const hashBytes = 6

// The members of metadata that are passed on.
const (
	fieldLabels      = "labels"
	fieldAnnotations = "annotations"
)

var keyFields = []string{fieldLabels, fieldAnnotations}

// Keys returns the value of stellarflow.AnnotationPassedOn for a hub copy: a hash of each of its labels and annotations that are people's,
// sorted. Those that CustomTransforms take out are among them: a transform that comes or goes is no change of the Workflow.
func Keys(hubCopy metav1.Object) string {
	var hashes []string
	for _, field := range keyFields {
		for key, value := range textsOf(travelling(hubCopy), field) {
			hashes = append(hashes, hashOf(field, key, value))
		}
	}
	slices.Sort(hashes)
	return strings.Join(hashes, ",")
}

// PassOn returns the operations that give a WEC copy what was changed of the hub copy's labels and annotations since it was given them last;
// nil if nothing was. Each change is passed on once: what somebody does on the WEC afterwards stays. What is taken away on the hub is taken
// away there if it still is as it was given. A WEC copy that an earlier version created does not say what it was given: it gets what
// differs, and loses nothing.
func PassOn(hubCopy, wecCopy metav1.Object, custom []v1alpha1.CustomTransform) []hubcopy.Operation {
	before, now := wecCopy.GetAnnotations()[stellarflow.AnnotationPassedOn], Keys(hubCopy)
	if before == now {
		return nil
	}
	given := map[string]bool{}
	for _, hash := range strings.Split(before, ",") {
		given[hash] = true
	}
	here, there := travelling(hubCopy), travelling(wecCopy)
	sent, _ := transforms.Apply(here, custom) // what is skipped was said at the create
	operations := append(hubcopy.Unchanged(wecCopy), hubcopy.Maps(wecCopy)...)
	for _, field := range keyFields {
		wanted := map[string]*string{}
		for key, value := range textsOf(sent, field) {
			if !given[hashOf(field, key, value)] {
				wanted[key] = &value
			}
		}
		kept := textsOf(here, field)
		for key, value := range textsOf(there, field) {
			if _, found := kept[key]; !found && given[hashOf(field, key, value)] {
				wanted[key] = nil
			}
		}
		operations = append(operations, hubcopy.Set(wecCopy, field, wanted)...)
	}
	return append(operations, hubcopy.Add(now, "metadata", "annotations", stellarflow.AnnotationPassedOn))
}

// travelling returns an object with those labels and annotations of another that travel to a WEC, less those whose value the WEC decides.
func travelling(object metav1.Object) map[string]any {
	metadata := &unstructured.Unstructured{Object: map[string]any{}}
	metadata.SetLabels(withoutMirrored(fieldLabels, object.GetLabels()))
	metadata.SetAnnotations(withoutMirrored(fieldAnnotations, object.GetAnnotations()))
	return transforms.Strip(metadata.Object)
}

func withoutMirrored(field string, from map[string]string) map[string]string {
	kept := maps.Clone(from)
	maps.DeleteFunc(kept, func(key, _ string) bool { return upsync.Mirrors(field, key) })
	return kept
}

// textsOf returns the labels or annotations of an object.
func textsOf(object map[string]any, field string) map[string]string {
	texts, _, _ := unstructured.NestedStringMap(object, "metadata", field)
	return texts
}

func hashOf(field, key, value string) string {
	sum := sha256.Sum256([]byte(field + "\x00" + key + "\x00" + value))
	return hex.EncodeToString(sum[:hashBytes])
}
