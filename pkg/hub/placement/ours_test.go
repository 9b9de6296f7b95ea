package placement

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
)

func workflow(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := json.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return u
}

func TestSuspended(t *testing.T) {
	for text, want := range map[string]bool{
		`{"spec":{"suspend":true}}`: true, `{"spec":{"suspend":false}}`: false, `{"spec":{}}`: false, `{}`: false, `{"spec":{"suspend":"true"}}`: false,
		`{"spec":{"suspend":null}}`: false, `{"spec":"x"}`: false,
	} {
		if got := suspended(workflow(t, text)); got != want {
			t.Errorf("suspended(%s) = %v", text, got)
		}
	}
}

func TestStarted(t *testing.T) {
	const pod = `{"type":"Pod","phase":"Running","startedAt":"2026-01-02T03:04:06Z"}`
	cases := map[string]struct {
		reason string
		status string
		want   bool
	}{
		"None":        {"just created", `null`, false},
		"NoNodes":     {"the hub's controller looked at it: suspended", `{"phase":"Running","startedAt":"2026-01-02T03:04:06Z"}`, false},
		"Pod":         {"a pod began here", `{"nodes":{"n":` + pod + `}}`, true},
		"Among":       {"one is enough", `{"nodes":{"a":{"type":"Steps","startedAt":"2026-01-02T03:04:06Z"},"n":` + pod + `}}`, true},
		"Older":       {"nodes of a memoized resubmit are older than it", `{"nodes":{"n":{"type":"Pod","phase":"Succeeded","startedAt":"2026-01-02T03:04:04Z"}}}`, false},
		"SameSecond":  {"both times have whole seconds, and the hub's controller needs less than one", `{"nodes":{"n":{"type":"Pod","phase":"Succeeded","startedAt":"2026-01-02T03:04:05Z"}}}`, true},
		"Skipped":     {"a node that was reused", `{"nodes":{"n":{"type":"Pod","phase":"Skipped","startedAt":"2026-01-02T03:04:06Z"}}}`, false},
		"NotBegun":    {"a pod that waits for a node has begun for Argo only with a time", `{"nodes":{"n":{"type":"Pod","phase":"Pending"}}}`, false},
		"NullTime":    {"null is none", `{"nodes":{"n":{"type":"Pod","phase":"Pending","startedAt":null}}}`, false},
		"OddTime":     {"no time", `{"nodes":{"n":{"type":"Pod","startedAt":"soon"}}}`, false},
		"OddNode":     {"no node", `{"nodes":{"n":"x"}}`, false},
		"OtherTypes":  {"nodes that no pod belongs to", `{"nodes":{"n":{"type":"Suspend","startedAt":"2026-01-02T03:04:06Z"}}}`, false},
		"OddNodes":    {"not understood: leave it alone", `{"nodes":[1]}`, true},
		"EmptyStatus": {"nothing", `{}`, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := workflow(t, `{"metadata":{"creationTimestamp":"2026-01-02T03:04:05Z"},"status":`+tc.status+`}`)
			if tc.status == "null" {
				delete(w.Object, "status")
			}
			if got := started(w); got != tc.want {
				t.Errorf("%s: started() = %v", tc.reason, got)
			}
		})
	}
}

func TestRan(t *testing.T) {
	pod := func(owners ...metav1.OwnerReference) metav1.PartialObjectMetadata {
		return metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{OwnerReferences: owners}}
	}
	owner := func(kind string, uid types.UID, controller bool) metav1.OwnerReference {
		return metav1.OwnerReference{Kind: kind, UID: uid, Controller: &controller}
	}
	cases := map[string]struct {
		reason string
		pods   []metav1.PartialObjectMetadata
		want   bool
	}{
		"None":    {"nothing runs", nil, false},
		"Own":     {"it runs here", []metav1.PartialObjectMetadata{pod(owner("Workflow", "u1", true))}, true},
		"Earlier": {"pods of a deleted Workflow of the same name are still ending", []metav1.PartialObjectMetadata{pod(owner("Workflow", "u0", true))}, false},
		"Both":    {"one of each", []metav1.PartialObjectMetadata{pod(owner("Workflow", "u0", true)), pod(owner("Workflow", "u1", true))}, true},
		"NoOwner": {"a pod that somebody made for it", []metav1.PartialObjectMetadata{pod()}, true},
		"Other":   {"a resource template's pod is owned by something in between", []metav1.PartialObjectMetadata{pod(owner("Job", "j", true))}, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := ran(tc.pods, "u1"); got != tc.want {
				t.Errorf("%s: ran() = %v", tc.reason, got)
			}
		})
	}
}

func TestForeignKeys(t *testing.T) {
	cases := map[string]struct {
		reason      string
		metadata    string
		labels      map[string]*string
		annotations map[string]*string
		carries     bool
	}{
		"None":      {"a user's own", `{"labels":{"kubestellar.io/cluster":"cluster1"},"annotations":{"x":"y"},"finalizers":["workflows.argoproj.io/artifact-gc"]}`, map[string]*string{}, map[string]*string{}, false},
		"Label":     {"resubmitted", `{"labels":{"stellarflow.io/cluster":"cluster1","a":"b"}}`, map[string]*string{"stellarflow.io/cluster": nil}, map[string]*string{}, true},
		"Both":      {"imported", `{"labels":{"stellarflow.io/cluster":"c"},"annotations":{"stellarflow.io/placement":"{}","stellarflow.io/observed":"","x":"y"}}`, map[string]*string{"stellarflow.io/cluster": nil}, map[string]*string{"stellarflow.io/placement": nil, "stellarflow.io/observed": nil}, true},
		"Finalizer": {"only the finalizer: nobody would ever take it off", `{"finalizers":["stellarflow.io/cleanup"]}`, map[string]*string{}, map[string]*string{}, true},
		"Similar":   {"another prefix", `{"labels":{"stellarflow.iox/cluster":"c","my.stellarflow.io/x":"y"}}`, map[string]*string{}, map[string]*string{}, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := workflow(t, `{"metadata":`+tc.metadata+`}`)
			labels, annotations := foreignKeys(w)
			if diff := cmp.Diff(tc.labels, labels); diff != "" {
				t.Errorf("%s: labels -want +got:\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(tc.annotations, annotations); diff != "" {
				t.Errorf("%s: annotations -want +got:\n%s", tc.reason, diff)
			}
			if got := carriesKeys(w); got != tc.carries {
				t.Errorf("%s: carriesKeys() = %v", tc.reason, got)
			}
		})
	}
}

func TestKeys(t *testing.T) {
	placement := stellarflow.Placement{UID: "u1", Policy: "p", Cluster: "cluster1", Attempt: 1}
	cluster, record, observed := hubcopy.Add("cluster1", "metadata", "labels", stellarflow.LabelCluster),
		hubcopy.Add(placement.String(), "metadata", "annotations", stellarflow.AnnotationPlacement), hubcopy.Add("", "metadata", "annotations", stellarflow.AnnotationObserved)
	noLabels, noAnnotations := hubcopy.Add(map[string]string{}, "metadata", "labels"), hubcopy.Add(map[string]string{}, "metadata", "annotations")
	cases := map[string]struct {
		reason   string
		metadata string
		want     []hubcopy.Operation
	}{
		"Plain": {"label, record, nothing observed and the finalizer, all or nothing", `{}`, []hubcopy.Operation{
			noLabels, noAnnotations, cluster, observed, record, hubcopy.Add([]string{stellarflow.FinalizerCleanup}, "metadata", "finalizers"),
		}},
		"NextAttempt": {
			"what the last attempt left goes", `{"labels":{"stellarflow.io/cluster":"cluster0"},"annotations":{"stellarflow.io/sync":"away","stellarflow.io/observed":"x/1/2/h"},"finalizers":["stellarflow.io/cleanup"]}`,
			[]hubcopy.Operation{cluster, observed, record, hubcopy.Remove("metadata", "annotations", stellarflow.AnnotationSync)},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, keys(workflow(t, `{"metadata":`+tc.metadata+`}`), placement)); diff != "" {
				t.Errorf("%s: -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestLocal(t *testing.T) {
	var l local
	w := workflow(t, `{"metadata":{"uid":"u1"}}`)
	w.SetGeneration(3)
	if l.is(w) {
		t.Error("an unknown Workflow is local")
	}
	l.add(w)
	if !l.is(w) {
		t.Error("it is read again and again")
	}
	w.SetGeneration(4)
	if l.is(w) {
		t.Error("it may have been suspended since")
	}
}
