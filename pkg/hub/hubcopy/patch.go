package hubcopy

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// ErrLostRace is the sentinel of a write whose tests did not hold: somebody else wrote first. Decide again.
var ErrLostRace = errors.New("the object changed meanwhile")

// Operation is one operation of a JSON patch (RFC 6902).
type Operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// Add sets the value at a path.
func Add(value any, path ...string) Operation { return Operation{"add", pointer(path), value} }

// Test lets the whole patch fail unless the value at a path is this.
func Test(value any, path ...string) Operation { return Operation{"test", pointer(path), value} }

// Remove removes a path. It fails the patch if there is none.
func Remove(path ...string) Operation { return Operation{Op: "remove", Path: pointer(path)} }

// RemoveFinalizer removes one finalizer of an object and fails if it does not stand where it stood. It is nil if the object
// does not have it.
func RemoveFinalizer(object metav1.Object, finalizer string) []Operation {
	index := slices.Index(object.GetFinalizers(), finalizer)
	if index < 0 {
		return nil
	}
	at := fmt.Sprint(index)
	return []Operation{Test(finalizer, "metadata", "finalizers", at), Remove("metadata", "finalizers", at)}
}

// AddFinalizer appends a finalizer; it is nil if the object has it.
func AddFinalizer(object metav1.Object, finalizer string) []Operation {
	switch finalizers := object.GetFinalizers(); {
	case slices.Contains(finalizers, finalizer):
		return nil
	case len(finalizers) == 0:
		return []Operation{Add([]string{finalizer}, "metadata", "finalizers")}
	}
	return []Operation{Add(finalizer, "metadata", "finalizers", "-")}
}

// Set makes the labels (or annotations: field) of an object have the wanted values; a key with a nil value is removed. It
// returns only operations that change something, and needs the map to be there (Maps).
func Set(object metav1.Object, field string, wanted map[string]*string) []Operation {
	have := object.GetLabels()
	if field == "annotations" {
		have = object.GetAnnotations()
	}
	keys := make([]string, 0, len(wanted))
	for key := range wanted {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	var operations []Operation
	for _, key := range keys {
		value, found := have[key]
		switch want := wanted[key]; {
		case want == nil && found:
			operations = append(operations, Remove("metadata", field, key))
		case want != nil && (!found || value != *want):
			operations = append(operations, Add(*want, "metadata", field, key))
		}
	}
	return operations
}

// Maps returns the operations that give an object the empty labels and annotations that Set needs; none if it has them. They
// go first in a patch, once.
func Maps(object metav1.Object) []Operation {
	var operations []Operation
	if len(object.GetLabels()) == 0 {
		operations = append(operations, Add(map[string]string{}, "metadata", "labels"))
	}
	if len(object.GetAnnotations()) == 0 {
		operations = append(operations, Add(map[string]string{}, "metadata", "annotations"))
	}
	return operations
}

// SameObject tests the UID.
func SameObject(object metav1.Object) Operation { return Test(object.GetUID(), "metadata", "uid") }

// Release takes the cleanup finalizer off an object that is being deleted; it is nil if the object does not have it. It fails unless
// the object is being deleted since the time that it says: in a hub that was restored from a backup the object of the same UID may
// not be.
func Release(object metav1.Object) []Operation {
	finalizer := RemoveFinalizer(object, stellarflow.FinalizerCleanup)
	if finalizer == nil {
		return nil
	}
	return append([]Operation{SameObject(object), Test(object.GetDeletionTimestamp(), "metadata", "deletionTimestamp")}, finalizer...)
}

// Unchanged tests the UID and the resourceVersion: nothing at all was written since the object was read.
func Unchanged(object metav1.Object) []Operation {
	return []Operation{SameObject(object), Test(object.GetResourceVersion(), "metadata", "resourceVersion")}
}

// Marshal returns the patch document.
func Marshal(operations []Operation) ([]byte, error) {
	raw, err := json.Marshal(operations)
	if err != nil {
		return nil, fmt.Errorf("write a JSON patch: %w", err)
	}
	return raw, nil
}

// PatchType is the type of what Marshal returns.
const PatchType = types.JSONPatchType

// Classify turns an API server's answer to a patch into ErrLostRace where the tests of the patch failed: Invalid without
// causes (k8s.io/apiserver endpoints/handlers/patch.go). With causes it is a refusal and stays what it is.
func Classify(err error) error {
	if err == nil {
		return nil
	}
	if apierrors.IsConflict(err) {
		return fmt.Errorf("%w: %w", ErrLostRace, err)
	}
	var status apierrors.APIStatus
	if errors.As(err, &status) && apierrors.IsInvalid(err) {
		if details := status.Status().Details; details == nil || len(details.Causes) == 0 {
			return fmt.Errorf("%w: %w", ErrLostRace, err)
		}
	}
	return err
}

func pointer(path []string) string {
	var b strings.Builder
	for _, part := range path {
		b.WriteByte('/')
		b.WriteString(strings.NewReplacer("~", "~0", "/", "~1").Replace(part))
	}
	return b.String()
}
