package hubcopy

import (
	"encoding/json"
	"errors"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	jsonpatch "gopkg.in/evanphx/json-patch.v4" // what the API server applies patches with
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// object is a Workflow as JSON.
func object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := json.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return u
}

// patched is what the API server makes of an object; it is nil with an error if the patch does not hold.
func patched(t *testing.T, before *unstructured.Unstructured, operations []Operation) (map[string]any, error) {
	t.Helper()
	raw, err := json.Marshal(before.Object)
	if err != nil {
		t.Fatal(err)
	}
	text, err := Marshal(operations)
	if err != nil {
		t.Fatal(err)
	}
	patch, err := jsonpatch.DecodePatch(text)
	if err != nil {
		t.Fatal(err)
	}
	if raw, err = patch.Apply(raw); err != nil {
		return nil, err
	}
	return object(t, string(raw)).Object, nil
}

func ptr(s string) *string { return &s }

func TestOperations(t *testing.T) {
	const plain = `{"metadata":{"name":"w","uid":"u1","resourceVersion":"7"}}`
	const full = `{"metadata":{"uid":"u1","resourceVersion":"7","labels":{"a/b":"1","c~d":"2"},"annotations":{"x":"1"},"finalizers":["f1","f2","f3"]}}`
	cases := map[string]struct {
		reason     string
		before     string
		operations func(*unstructured.Unstructured) []Operation
		want       string // empty: the patch does not hold
		none       bool   // there is nothing to do
	}{
		"SetFirst": {"the maps are made first", plain, func(u *unstructured.Unstructured) []Operation {
			return append(Maps(u), append(Set(u, "labels", map[string]*string{"l": ptr("1")}), Set(u, "annotations", map[string]*string{"a": ptr("2")})...)...)
		}, `{"metadata":{"name":"w","uid":"u1","resourceVersion":"7","labels":{"l":"1"},"annotations":{"a":"2"}}}`, false},
		"SetWithoutMaps": {"a map that is missing fails the patch, it is not made up", plain, func(u *unstructured.Unstructured) []Operation {
			return Set(u, "labels", map[string]*string{"l": ptr("1")})
		}, "", false},
		"SetEscapes": {"slashes and tildes in keys", full, func(u *unstructured.Unstructured) []Operation {
			return Set(u, "labels", map[string]*string{"a/b": nil, "c~d": ptr("3"), "~1/~0": ptr("4")})
		}, `{"metadata":{"uid":"u1","resourceVersion":"7","labels":{"c~d":"3","~1/~0":"4"},"annotations":{"x":"1"},"finalizers":["f1","f2","f3"]}}`, false},
		"SetSame": {"what is as wanted costs nothing", full, func(u *unstructured.Unstructured) []Operation {
			return append(Set(u, "labels", map[string]*string{"a/b": ptr("1"), "gone": nil}), Set(u, "annotations", map[string]*string{"x": ptr("1")})...)
		}, full, true},
		"SetEmpty": {"an empty value is a value", full, func(u *unstructured.Unstructured) []Operation {
			return Set(u, "annotations", map[string]*string{"x": ptr(""), "y": ptr("")})
		}, `{"metadata":{"uid":"u1","resourceVersion":"7","labels":{"a/b":"1","c~d":"2"},"annotations":{"x":"","y":""},"finalizers":["f1","f2","f3"]}}`, false},
		"SetNothing": {"nothing wanted", full, func(u *unstructured.Unstructured) []Operation { return Set(u, "labels", nil) }, full, true},
		"MapsThere":  {"maps that are there stay", full, func(u *unstructured.Unstructured) []Operation { return Maps(u) }, full, true},
		"FinalizerFirst": {
			"the list is made", plain, func(u *unstructured.Unstructured) []Operation { return AddFinalizer(u, "f") },
			`{"metadata":{"name":"w","uid":"u1","resourceVersion":"7","finalizers":["f"]}}`, false,
		},
		"FinalizerMore": {
			"the others stay", full, func(u *unstructured.Unstructured) []Operation { return AddFinalizer(u, "f") },
			`{"metadata":{"uid":"u1","resourceVersion":"7","labels":{"a/b":"1","c~d":"2"},"annotations":{"x":"1"},"finalizers":["f1","f2","f3","f"]}}`, false,
		},
		"FinalizerThere": {"it is there", full, func(u *unstructured.Unstructured) []Operation { return AddFinalizer(u, "f2") }, full, true},
		"FinalizerOff": {
			"the one in the middle", full, func(u *unstructured.Unstructured) []Operation { return RemoveFinalizer(u, "f2") },
			`{"metadata":{"uid":"u1","resourceVersion":"7","labels":{"a/b":"1","c~d":"2"},"annotations":{"x":"1"},"finalizers":["f1","f3"]}}`, false,
		},
		"FinalizerGone":    {"it is not there", full, func(u *unstructured.Unstructured) []Operation { return RemoveFinalizer(u, "f") }, full, true},
		"FinalizerGoneAll": {"none is there", plain, func(u *unstructured.Unstructured) []Operation { return RemoveFinalizer(u, "f") }, plain, true},
		"FinalizerMoved": {"another controller took one off meanwhile: the wrong one would go", full, func(u *unstructured.Unstructured) []Operation {
			older := u.DeepCopy()
			older.SetFinalizers([]string{"f0", "f1", "f2", "f3"})
			return RemoveFinalizer(older, "f2")
		}, "", false},
		"Unchanged": {"the object that was read", full, func(u *unstructured.Unstructured) []Operation { return Unchanged(u) }, full, false},
		"Changed": {"somebody wrote", full, func(u *unstructured.Unstructured) []Operation {
			older := u.DeepCopy()
			older.SetResourceVersion("6")
			return Unchanged(older)
		}, "", false},
		"Replaced": {"another object has the name", full, func(u *unstructured.Unstructured) []Operation {
			older := u.DeepCopy()
			older.SetUID("u0")
			return []Operation{SameObject(older)}
		}, "", false},
		"AddWhole": {"add replaces what is there", `{"status":{"phase":"Running","nodes":{}}}`, func(*unstructured.Unstructured) []Operation {
			return []Operation{Add(json.RawMessage(`{"phase":"Failed"}`), "status")}
		}, `{"status":{"phase":"Failed"}}`, false},
		"RemoveNone": {"removing what is not there fails", plain, func(*unstructured.Unstructured) []Operation { return []Operation{Remove("status")} }, "", false},
		"TestAbsent": {"null is what an absent value is", plain, func(*unstructured.Unstructured) []Operation { return []Operation{Test(nil, "metadata", "generation")} }, plain, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			before := object(t, tc.before)
			operations := tc.operations(before)
			if (len(operations) == 0) != tc.none {
				t.Errorf("%s: the operations are %v", tc.reason, operations)
			}
			got, err := patched(t, before, operations)
			if tc.want == "" {
				if err == nil {
					t.Errorf("%s: the patch holds and gives %v", tc.reason, got)
				}
				return
			}
			if err != nil {
				t.Fatalf("%s: %v", tc.reason, err)
			}
			if diff := cmp.Diff(object(t, tc.want).Object, got); diff != "" {
				t.Errorf("%s: -want +got:\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(object(t, tc.before), before); diff != "" {
				t.Errorf("the object was changed:\n%s", diff)
			}
		})
	}
}

func TestSetIsSorted(t *testing.T) {
	wanted := map[string]*string{"c": ptr("1"), "a": ptr("1"), "b": ptr("1"), "d": nil}
	want := []Operation{Add("1", "metadata", "labels", "a"), Add("1", "metadata", "labels", "b"), Add("1", "metadata", "labels", "c")}
	for range 10 {
		if diff := cmp.Diff(want, Set(&unstructured.Unstructured{Object: map[string]any{}}, "labels", wanted)); diff != "" {
			t.Fatalf("-want +got:\n%s", diff)
		}
	}
}

func TestMarshalRefuses(t *testing.T) {
	if raw, err := Marshal([]Operation{Add(func() {}, "x")}); err == nil {
		t.Errorf("it gives %s", raw)
	}
}

func TestClassify(t *testing.T) {
	workflows := schema.GroupResource{Group: "argoproj.io", Resource: "workflows"}
	withoutCauses := apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "patch", workflows, "w", "the server rejected our request", 0, false)
	withoutDetails := &apierrors.StatusError{ErrStatus: metav1.Status{Reason: metav1.StatusReasonInvalid, Code: http.StatusUnprocessableEntity}}
	refused := apierrors.NewInvalid(stellarflow.WorkflowKind.GroupKind(), "w", field.ErrorList{field.Required(field.NewPath("spec"), "")})
	other := errors.New("connection refused")
	cases := map[string]struct {
		reason string
		err    error
		lost   bool
	}{
		"None":           {"it worked", nil, false},
		"Conflict":       {"the resourceVersion moved", apierrors.NewConflict(workflows, "w", other), true},
		"TestFailed":     {"how the API server answers when a test does not hold", withoutCauses, true},
		"WithoutDetails": {"likewise, said shorter", withoutDetails, true},
		"Refused":        {"validation says what is wrong: trying again does not help", refused, false},
		"Forbidden":      {"the guard, say", apierrors.NewForbidden(workflows, "w", other), false},
		"Network":        {"no answer", other, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := Classify(tc.err)
			if errors.Is(got, ErrLostRace) != tc.lost || !errors.Is(got, tc.err) {
				t.Errorf("%s: Classify() = %v", tc.reason, got)
			}
		})
	}
}

func TestPointer(t *testing.T) {
	for want, path := range map[string][]string{"": nil, "/a/b": {"a", "b"}, "/stellarflow.io~1cluster": {stellarflow.LabelCluster}, "/~01": {"~1"}, "/": {""}} {
		if got := pointer(path); got != want {
			t.Errorf("pointer(%q) = %q, want %q", path, got, want)
		}
	}
}

func TestSplit(t *testing.T) {
	all := []Operation{
		Test("u", "metadata", "uid"), Add("1", "metadata", "labels", "l"), Add("Running", "status", "phase"), Add(map[string]any{}, "status"), Add("x", "statusx"),
		Test("7", "metadata", "resourceVersion"),
	}
	tests, status, others := split(all)
	if diff := cmp.Diff([][]Operation{{all[0], all[5]}, {all[2], all[3]}, {all[1], all[4]}}, [][]Operation{tests, status, others}); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	moved := atVersion(tests, "8")
	if diff := cmp.Diff([]Operation{all[0], Test("8", "metadata", "resourceVersion")}, moved); diff != "" || tests[1].Value != "7" {
		t.Errorf("the second write is tested against the first one's answer, -want +got:\n%s", diff)
	}
}
