// Package hubcopytest lets tests see what an API server makes of the operations of package hubcopy.
package hubcopytest

import (
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4" // what the API server applies patches with

	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
)

// Apply returns what becomes of an object, JSON, with operations. The error is that of an operation that cannot be applied, such as a test
// that does not hold. What is no patch at all fails the test.
func Apply(t *testing.T, object []byte, operations []hubcopy.Operation) ([]byte, error) {
	t.Helper()
	text, err := hubcopy.Marshal(operations)
	if err != nil {
		t.Fatal(err)
	}
	patch, err := jsonpatch.DecodePatch(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return patch.Apply(object)
}
