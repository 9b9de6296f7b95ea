package upsync

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// FuzzRender is law 6: whatever a WEC says there is no panic; what is rendered holds nothing forbidden; and rendering the hub's
// own text again changes nothing, so that a hub whose WECs are hubs settles.
func FuzzRender(f *testing.F) {
	for _, status := range []string{
		`null`, `{}`, `{ }`, `[]`, `{"phase":"Succeeded","x":1e400}`, `{"phase":"Running","compressedNodes":"!"}`, `{"phase":"Running","nodes":null}`,
		`{"phase":"Running","nodes":{"archivelocation":{"archiveLocation":{},"S3":1,"artifacts":[{"S3":{"key":"k"}},{"s3":{"key":"a"},"http":{}}]}}}`,
		`{"phase":"Running","compressedNodes":"` + packed(f, `{"n":{"outputs":{"artifacts":[{"git":{}}]}}}`) + `"}`,
		`{"phase":"Running","compressedNodes":"` + packed(f, `null`) + `"}`,
		`{"phase":"Running","nodes":` + manyNodes(3000, same) + `}`,
	} {
		f.Add([]byte(`{"metadata":{"labels":{"workflows.argoproj.io/phase":"Running"}},"spec":{"shutdown":"Stop"},"status":`+status+`}`), true)
	}
	f.Fuzz(func(t *testing.T, raw []byte, withStore bool) {
		copied, err := Decode(raw)
		if err != nil {
			return
		}
		r := Rules{}
		if withStore {
			r = rules
		}
		first, err := Render(copied, r)
		if err != nil {
			return
		}
		if len(first.Status) > maxStatusBytes {
			t.Errorf("the status has %d bytes", len(first.Status))
		}
		checkForbidden(t, first)
		again := WECCopy{Metadata: metav1.ObjectMeta{Labels: first.Labels, Annotations: first.Annotations}, Status: first.Status}
		again.Spec.Suspend = copied.Spec.Suspend
		second, err := Render(again, r)
		if err != nil {
			t.Fatalf("what was rendered is not mirrorable: %v\n%s", err, first.Status)
		}
		if second.Removed > 0 {
			t.Errorf("%d artifact locations were left by the first time", second.Removed)
		}
		first.Removed, first.Cut = 0, second.Cut // there is nothing left to take out
		if diff := cmp.Diff(first, second); diff != "" {
			t.Errorf("rendering twice differs, -first +second:\n%s", diff)
		}
	})
}

// checkForbidden looks for what may not be in a rendered status, in its own way.
func checkForbidden(t *testing.T, r Rendered) {
	t.Helper()
	for key := range r.Labels {
		if !slices.Contains(carriedLabels, key) {
			t.Errorf("label %q travels", key)
		}
	}
	if keys := slices.Collect(maps.Keys(r.Annotations)); len(keys) > 1 || len(keys) == 1 && keys[0] != carriedAnnotations[0] {
		t.Errorf("annotations %q travel", keys)
	}
	if r.Status == nil {
		return
	}
	status, err := decodeObject(r.Status)
	if err != nil {
		t.Fatal(err)
	}
	if text, ok := status["compressedNodes"].(string); ok {
		decoder := json.NewDecoder(strings.NewReader(argoReads(t, text)))
		decoder.UseNumber()
		var nodes any
		if err := decoder.Decode(&nodes); err != nil {
			t.Fatal(err)
		}
		status["nodes"] = nodes
		delete(status, "compressedNodes")
	}
	delete(status, "artifactRepositoryRef")
	for key := range status {
		for _, field := range []string{"synchronization", "offloadNodeStatusVersion", "compressedNodes"} {
			if strings.EqualFold(key, field) {
				t.Errorf("status.%s is there", key)
			}
		}
	}
	if nodes, ok := status["nodes"].(map[string]any); ok {
		for _, node := range nodes {
			forbidden(t, node, "")
		}
		delete(status, "nodes")
	}
	forbidden(t, status, "")
}

func forbidden(t *testing.T, value any, parent string) {
	t.Helper()
	switch value := value.(type) {
	case map[string]any:
		artifact := slices.Contains([]string{"artifact", "artifacts", "artifactpaths"}, parent)
		for key, child := range value {
			folded := fold(key)
			if folded == "archivelocation" || folded == "artifactrepositoryref" {
				t.Errorf("%s is there", key)
			}
			if artifact && parent != "artifacts" || parent == "artifacts[]" {
				checkLocation(t, key, folded, child)
			}
			forbidden(t, child, folded)
		}
	case []any:
		for _, child := range value {
			forbidden(t, child, parent+"[]")
		}
	}
}

func checkLocation(t *testing.T, key, folded string, value any) {
	t.Helper()
	if key == "s3" {
		s3, _ := value.(map[string]any)
		text, ok := s3["key"].(string)
		if len(s3) != 1 || !ok || text == "" || strings.HasPrefix(text, "/") || len(text) > maxKeyBytes {
			t.Errorf("an artifact is at %v", value)
		}
		return
	}
	if slices.ContainsFunc(locations, func(location string) bool { return location == folded }) {
		t.Errorf("an artifact has %s", key)
	}
}

// fold is a key as encoding/json compares it with the names of fields.
func fold(key string) string {
	return string(bytes.ToLower(bytes.ToUpper([]byte(key))))
}

// FuzzUnpack: packed nodes give an object within the limits that pack gives again, or ErrNotMirrorable.
func FuzzUnpack(f *testing.F) {
	for _, nodes := range []string{`{}`, `{"n":{"id":"n","x":[1,2.50,"a"]}}`, `null`, `[]`, strings.Repeat("[", 300)} {
		f.Add(packed(f, nodes))
	}
	f.Add("!")
	f.Fuzz(func(t *testing.T, text string) {
		nodes, err := unpack(text)
		if err != nil {
			if !errors.Is(err, ErrNotMirrorable) || len(err.Error()) > 500 {
				t.Errorf("unpack(%q) = %v", text, err)
			}
			return
		}
		again, err := Pack(nodes)
		if err != nil {
			t.Fatalf("%q cannot be packed again: %v", text, err)
		}
		if read, err := unpack(again); err != nil || !cmp.Equal(nodes, read) {
			t.Errorf("%q is not read back: %v", text, err)
		}
	})
}

// FuzzSound: what sound lets pass, the decoder nests no deeper and makes no more values of.
func FuzzSound(f *testing.F) {
	for _, raw := range []string{`{"a":[1,{"b":"]}\\\""}]}`, strings.Repeat(`[`, 257), strings.Repeat(`{"a":`, 256) + "1" + strings.Repeat("}", 256), `"\\"`, `"`} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var value any
		if sound(raw) != nil || json.Unmarshal(raw, &value) != nil {
			return
		}
		if depth, values := measure(value); depth > maxDepth || values > maxValues {
			t.Errorf("%d deep, %d values", depth, values)
		}
	})
}

func measure(value any) (depth, values int) {
	var children []any
	switch value := value.(type) {
	case map[string]any:
		for _, child := range value {
			children = append(children, child)
		}
	case []any:
		children = value
	default:
		return 0, 1
	}
	values = 1
	for _, child := range children {
		d, v := measure(child)
		depth, values = max(depth, d), values+v
	}
	return depth + 1, values
}
