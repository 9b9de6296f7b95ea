package placement

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
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
		if got := stellarflow.Suspended(workflow(t, text)); got != want {
			t.Errorf("Suspended(%s) = %v", text, got)
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

func TestFailedAtSight(t *testing.T) {
	const at, before = `"finishedAt":"2026-01-02T03:04:05Z"`, `"finishedAt":"2025-01-02T03:04:05Z"`
	cases := map[string]struct {
		reason  string
		labels  string
		age     time.Duration
		rest    string
		sight   bool
		unbegun bool
	}{
		"Error":     {"a template is missing on the hub", `"completed":"true","phase":"Error"`, time.Second, `"status":{"phase":"Error",` + at + `}`, true, true},
		"Failed":    {"its spec is not valid there", `"completed":"true","phase":"Failed"`, time.Second, `"status":{"phase":"Failed","nodes":{},` + at + `}`, true, true},
		"Old":       {"that was seen as its end by now", `"completed":"true","phase":"Error"`, young, `"status":{"phase":"Error",` + at + `}`, false, true},
		"Succeeded": {"imported with its end", `"completed":"true","phase":"Succeeded"`, time.Second, `"status":{"phase":"Succeeded",` + at + `}`, false, false},
		"Running":   {"not ended", `"completed":"false","phase":"Running"`, time.Second, `"status":{"phase":"Running"}`, false, false},
		"Imported":  {"it failed before it was created here", `"completed":"true","phase":"Failed"`, time.Second, `"status":{"phase":"Failed",` + before + `}`, true, false},
		"Stripped":  {"an export or a backup without its status", `"completed":"true","phase":"Failed"`, time.Second, `"spec":{"suspend":true}`, true, false},
		"Nodes":     {"it has done something", `"completed":"true","phase":"Failed"`, time.Second, `"status":{"phase":"Failed","nodes":{"n":{}},` + at + `}`, true, false},
		"Packed":    {"as before, many", `"completed":"true","phase":"Failed"`, time.Second, `"status":{"phase":"Failed","compressedNodes":"x",` + at + `}`, true, false},
		"Offloaded": {"as before, more", `"completed":"true","phase":"Failed"`, time.Second, `"status":{"phase":"Failed","offloadNodeStatusVersion":"x",` + at + `}`, true, false},
		"Odd":       {"not understood: leave it alone", `"completed":"true","phase":"Failed"`, time.Second, `"status":{"phase":"Failed","nodes":[1],` + at + `}`, true, false},
		"Stopped":   {"a person has ended it", `"completed":"true","phase":"Failed"`, time.Second, `"spec":{"shutdown":"Stop"},"status":{"phase":"Failed",` + at + `}`, true, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			labels := strings.NewReplacer(`"completed"`, `"workflows.argoproj.io/completed"`, `"phase":`, `"workflows.argoproj.io/phase":`).Replace(tc.labels)
			w := workflow(t, `{"metadata":{"creationTimestamp":"2026-01-02T03:04:05Z","labels":{`+labels+`}},`+tc.rest+`}`)
			if got := failedAtSight(w, tc.age); got != tc.sight {
				t.Errorf("%s: failedAtSight() = %v", tc.reason, got)
			}
			if got := unbegun(w); got != tc.unbegun {
				t.Errorf("%s: unbegun() = %v", tc.reason, got)
			}
		})
	}
}

func TestDeadlocked(t *testing.T) {
	cases := map[string]struct{ reason, spec, status, want string }{
		"None":      {"no locks", `{}`, `{}`, ""},
		"Local":     {"each controller has locks of its own", `{"synchronization":{"mutexes":[{"name":"m"}],"semaphores":[{"configMapKeyRef":{"name":"c","key":"k"}}],"mutex":{"name":"n","database":false}}}`, `{}`, ""},
		"Mutex":     {"the hub's controller holds it", `{"synchronization":{"mutexes":[{"name":"l"},{"name":"m","database":true}]}}`, `{}`, `mutex "m"`},
		"Semaphore": {"as before", `{"synchronization":{"semaphores":[{"database":{"key":"k"}}]}}`, `{}`, `semaphore "k"`},
		"Older":     {"the older fields", `{"synchronization":{"semaphore":{"database":{"key":"k"}}}}`, `{}`, `semaphore "k"`},
		"OlderM":    {"the older fields", `{"synchronization":{"mutex":{"name":"m","database":true}}}`, `{}`, `mutex "m"`},
		"Template":  {"of the template that it is made from", `{}`, `{"storedWorkflowTemplateSpec":{"synchronization":{"mutexes":[{"name":"m","database":true}]}}}`, `mutex "m"`},
		"Steps":     {"those of a template are taken where it runs", `{"templates":[{"synchronization":{"mutexes":[{"name":"m","database":true}]}}]}`, `{}`, ""},
		"Odd":       {"not understood: its cluster will say so", `{"synchronization":{"mutexes":"m"}}`, `{}`, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synchronization, err := (&Reconciler{}).synchronization(t.Context(), workflow(t, `{"spec":`+tc.spec+`,"status":`+tc.status+`}`))
			got := deadlocked(synchronization)
			if err != nil || (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
				t.Errorf("%s: deadlocked() = %q, %v", tc.reason, got, err)
			}
		})
	}
}

// TestOver: as Argo merges a Workflow's locks with those of its template.
func TestOver(t *testing.T) {
	cases := map[string]struct{ reason, own, template, want string }{
		"Template": {"only the template has one", `null`, `{"mutexes":[{"name":"t"}]}`, `{"mutexes":[{"name":"t"}]}`},
		"Own":      {"only the Workflow", `{"mutexes":[{"name":"w"}]}`, `null`, `{"mutexes":[{"name":"w"}]}`},
		"Both":     {"the Workflow's list is the whole list", `{"mutexes":[{"name":"w"}]}`, `{"mutexes":[{"name":"t","database":true}],"mutex":{"name":"o"}}`, `{"mutex":{"name":"o"},"mutexes":[{"name":"w"}]}`},
		"Fields":   {"field by field", `{"mutex":{"name":"w"}}`, `{"mutex":{"name":"t","database":true}}`, `{"mutex":{"database":true,"name":"w"}}`},
		"Odd":      {"not understood", `{"mutex":"w"}`, `{"mutex":{"name":"t"}}`, `{"mutex":"w"}`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			object := workflow(t, `{"own":`+tc.own+`,"template":`+tc.template+`}`).Object
			own, _ := object["own"].(map[string]any)
			template, _ := object["template"].(map[string]any)
			got, err := json.Marshal(over(own, template))
			if err != nil || string(got) != tc.want {
				t.Errorf("%s: %v: %s", tc.reason, err, got)
			}
		})
	}
}

func TestLocks(t *testing.T) {
	cases := map[string]struct{ reason, spec, want string }{
		"None": {"most have none", `{"spec":{}}`, ""},
		"Mutexes": {
			"of the whole Workflow", `{"spec":{"synchronization":{"mutexes":[{"name":"a"},{"name":"b","namespace":"argo"}],"mutex":{"name":"c"}}}}`,
			`{"mutex":{"holding":[{"mutex":"argo/Mutex/a","holder":"argo/w"},{"mutex":"argo/Mutex/b","holder":"argo/w"},{"mutex":"argo/Mutex/c","holder":"argo/w"}],` +
				`"waiting":[{"mutex":"argo/Mutex/a","holder":"argo/w"},{"mutex":"argo/Mutex/b","holder":"argo/w"},{"mutex":"argo/Mutex/c","holder":"argo/w"}]}}`,
		},
		"Template": {
			"of the template that it is made from", `{"status":{"storedWorkflowTemplateSpec":{"synchronization":{"mutexes":[{"name":"a"}]}}}}`,
			`{"mutex":{"holding":[{"mutex":"argo/Mutex/a","holder":"argo/w"}],"waiting":[{"mutex":"argo/Mutex/a","holder":"argo/w"}]}}`,
		},
		"Unknown":  {"one whose name is made when it runs: Argo's controller would not start with it", `{"spec":{"synchronization":{"mutexes":[{"name":"{{workflow.name}}"},{"name":"a/b"},{"name":""}]}}}`, ""},
		"Others":   {"another namespace is not ours to hold", `{"spec":{"synchronization":{"mutexes":[{"name":"a","namespace":"other"}],"semaphores":[{"namespace":"other","configMapKeyRef":{"name":"c","key":"k"}}]}}}`, ""},
		"Database": {"it is not placed with those", `{"spec":{"synchronization":{"mutexes":[{"name":"a","database":true}]}}}`, ""},
		"Odd":      {"not understood", `{"spec":{"synchronization":[]}}`, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := workflow(t, tc.spec)
			w.SetNamespace("argo")
			w.SetName("w")
			r := &Reconciler{}
			synchronization, err := r.synchronization(t.Context(), w)
			if err != nil {
				t.Fatal(err)
			}
			unstructured.RemoveNestedField(w.Object, "status") // its template is not read again: nil for a reader would panic
			if err := unstructured.SetNestedField(w.Object, "t", "spec", "workflowTemplateRef", "name"); err != nil {
				t.Fatal(err)
			}
			got, err := r.locks(t.Context(), w, synchronization)
			if err != nil || got != tc.want {
				t.Errorf("%s: %v -want +got:\n%s", tc.reason, err, cmp.Diff(tc.want, got))
			}
		})
	}
}

func TestUnfailed(t *testing.T) {
	w := workflow(t, `{"metadata":{"labels":{"a":"b","workflows.argoproj.io/completed":"true","workflows.argoproj.io/workflow-archiving-status":"Pending"}},
		"status":{"phase":"Error","message":"x","finishedAt":"2026-01-02T03:04:05Z","conditions":[{"type":"Completed","status":"True"}]}}`)
	want := []hubcopy.Operation{
		hubcopy.Remove("metadata", "labels", stellarflow.ArgoLabelCompleted), hubcopy.Remove("metadata", "labels", stellarflow.ArgoLabelArchivingStatus),
		hubcopy.Remove("status", "finishedAt"), hubcopy.Remove("status", "conditions"),
	}
	if diff := cmp.Diff(want, unfailed(w)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestUntouched(t *testing.T) {
	for text, want := range map[string]bool{
		`{"spec":{}}`: true, `{"spec":{"suspend":false}}`: true, `{"spec":{},"status":{"nodes":{"n":{}}}}`: true, `{"spec":{},"status":{"phase":""}}`: true,
		`{"spec":{},"status":{"phase":"Running"}}`: false, `{"spec":{},"status":{"phase":"Pending"}}`: false, `{"spec":{},"status":{"phase":"Succeeded"}}`: false,
		`{"metadata":{"annotations":{"stellarflow.io/waiting":"true"}},"spec":{},"status":{"phase":"Pending"}}`: true,
		`{"metadata":{"annotations":{"stellarflow.io/waiting":"true"}},"spec":{},"status":{"phase":"Running"}}`: false,
		`{"spec":{"suspend":"no"}}`: false, `{"spec":{},"status":{"phase":1}}`: false,
	} {
		if got := untouched(workflow(t, text)); got != want {
			t.Errorf("untouched(%s) = %v", text, got)
		}
	}
}

func TestRan(t *testing.T) {
	pod := func(owners ...metav1.OwnerReference) corev1.Pod {
		return corev1.Pod{ObjectMeta: metav1.ObjectMeta{OwnerReferences: owners}}
	}
	mirror := func(node string, owners ...metav1.OwnerReference) corev1.Pod {
		one := pod(owners...)
		one.Labels, one.Spec.NodeName = map[string]string{stellarflow.LabelMirrorOf: "real", stellarflow.LabelCluster: "cluster1"}, node
		return one
	}
	owner := func(kind string, uid types.UID, controller bool) metav1.OwnerReference {
		return metav1.OwnerReference{Kind: kind, UID: uid, Controller: &controller}
	}
	cases := map[string]struct {
		reason string
		pods   []corev1.Pod
		want   bool
	}{
		"None":     {"nothing runs", nil, false},
		"Own":      {"it runs here", []corev1.Pod{pod(owner("Workflow", "u1", true))}, true},
		"Earlier":  {"pods of a deleted Workflow of the same name are still ending", []corev1.Pod{pod(owner("Workflow", "u0", true))}, false},
		"Both":     {"one of each", []corev1.Pod{pod(owner("Workflow", "u0", true)), pod(owner("Workflow", "u1", true))}, true},
		"NoOwner":  {"a pod that somebody made for it", []corev1.Pod{pod()}, true},
		"Other":    {"a resource template's pod is owned by something in between", []corev1.Pod{pod(owner("Job", "j", true))}, true},
		"Mirrored": {"it runs on a cluster, and is shown here", []corev1.Pod{mirror("stellarflow-cluster1", owner("Workflow", "u1", true))}, false},
		"Labelled": {"it runs here, whatever its labels say", []corev1.Pod{mirror("worker", owner("Workflow", "u1", true))}, true},
		"NoNode":   {"it may yet, as its Workflow has begun", []corev1.Pod{mirror("", owner("Workflow", "u1", true))}, true},
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
