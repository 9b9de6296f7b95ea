package downsync

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// parse reads YAML.
func parse(t *testing.T, text string) map[string]any {
	t.Helper()
	var object map[string]any
	if err := yaml.Unmarshal([]byte(text), &object); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return object
}

// sample is the Workflow of DESIGN.md §2 as it stands on the hub when it is placed.
const sample = `
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata:
  generateName: hello-world-
  name: hello-world-abcde
  namespace: argo
  uid: hub-1
  resourceVersion: "77"
  generation: 3
  creationTimestamp: "2026-01-02T03:04:05Z"
  finalizers: [stellarflow.io/cleanup]
  ownerReferences: [{apiVersion: argoproj.io/v1alpha1, kind: CronWorkflow, name: c, uid: x}]
  managedFields: [{manager: kubectl}]
  labels:
    kubestellar.io/cluster: cluster1
    stellarflow.io/cluster: cluster1
    workflows.argoproj.io/phase: Pending
    workflows.argoproj.io/completed: "false"
    team: a
  annotations:
    stellarflow.io/placement: '{"uid":"hub-1"}'
    stellarflow.io/observed: ""
    workflows.argoproj.io/pod-name-format: v2
    workflows.argoproj.io/scheduled-time: "2026-01-02T03:00:00Z"
spec:
  suspend: true
  entrypoint: whalesay
  ttlStrategy: {secondsAfterCompletion: 60}
  templates: [{name: whalesay, container: {image: docker/whalesay}}]
status: {phase: Pending, message: placed on cluster cluster1 by policy p}
`

// sent is what arrives on the WEC.
const sent = `
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata:
  name: hello-world-abcde
  namespace: argo
  finalizers: [stellarflow.io/harvest]
  labels: {kubestellar.io/cluster: cluster1, team: a, stellarflow.io/origin: hub-id}
  annotations:
    workflows.argoproj.io/scheduled-time: "2026-01-02T03:00:00Z"
    stellarflow.io/hub-uid: hub-1
    stellarflow.io/attempt: "2"
    stellarflow.io/passed-on: 7fe9a3da31f1,e903941ab076,e90cb6bd8e7f
spec:
  entrypoint: whalesay
  templates: [{name: whalesay, container: {image: docker/whalesay}}]
`

// with returns the YAML of sample or sent with a status instead of its own.
func with(t *testing.T, text, status string) map[string]any {
	t.Helper()
	object := parse(t, text)
	delete(object, "status")
	if status != "" {
		object["status"] = parse(t, status)
	}
	return object
}

func TestObject(t *testing.T) {
	cases := map[string]struct {
		reason string
		status string
		want   string // the status that goes down
	}{
		"Sample":   {"DESIGN.md §2: a status of ours does not travel", "{phase: Pending, message: m}", ""},
		"NoStatus": {"created a moment ago", "", ""},
		"Memoized": {
			"a memoized resubmit goes down with what Argo filled in, and nothing of a run",
			`{phase: Pending, message: m, startedAt: "2026-01-02T03:04:05Z", progress: 1/2, nodes: {n: {phase: Succeeded, outputs: {parameters: [{name: p, value: "1"}]}}},
			  storedTemplates: {t: {name: t}}, storedWorkflowTemplateSpec: {suspend: true, entrypoint: x}, taskResultsCompletionStatus: {n: true}, outputs: {parameters: []},
			  synchronization: {mutex: {}}, offloadNodeStatusVersion: "fnv:1", artifactRepositoryRef: {default: true}, conditions: [{type: Completed}]}`,
			`{nodes: {n: {phase: Succeeded, outputs: {parameters: [{name: p, value: "1"}]}}},
			  taskResultsCompletionStatus: {n: true}, outputs: {parameters: []}}`,
		},
		"Packed":     {"nodes may be packed", "{compressedNodes: H4sI, phase: Pending}", "{compressedNodes: H4sI}"},
		"NodesOnly":  {"the least", "{nodes: {n: {}}}", "{nodes: {n: {}}}"},
		"EmptyNodes": {"a map without nodes is one", "{nodes: {}}", "{nodes: {}}"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			hubCopy := &unstructured.Unstructured{Object: with(t, sample, tc.status)}
			before := hubCopy.DeepCopy()
			got, skipped := Object(hubCopy, stellarflow.Placement{UID: "hub-1", Cluster: "cluster1", Attempt: 2}, "hub-id", nil)
			if len(skipped) > 0 {
				t.Errorf("skipped: %v", skipped)
			}
			if diff := cmp.Diff(with(t, sent, tc.want), got.Object); diff != "" {
				t.Errorf("%s: -want +got:\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(before, hubCopy); diff != "" {
				t.Errorf("the hub copy was changed:\n%s", diff)
			}
			if status, ok := got.Object["status"].(map[string]any); ok { // nothing is shared with what may be a cache's
				status["nodes"], status["storedTemplates"] = "changed", "changed"
				if diff := cmp.Diff(before, hubCopy); diff != "" {
					t.Errorf("hub copy and WEC copy share memory:\n%s", diff)
				}
			}
		})
	}
}

// TestObjectSuspended: what was to be suspended before it was created is created so, and says that this is done.
func TestObjectSuspended(t *testing.T) {
	suspend := stellarflow.Intent{ID: "i", Kind: stellarflow.IntentSuspend}
	cases := map[string]struct {
		reason  string
		intents []stellarflow.Intent
		want    bool
	}{
		"Asked":         {"no step begins", []stellarflow.Intent{suspend}, true},
		"AmongOthers":   {"the others come after it", []stellarflow.Intent{suspend, {ID: "j", Kind: stellarflow.IntentSet}}, true},
		"NotFirst":      {"what comes before it would count as done", []stellarflow.Intent{{ID: "j", Kind: stellarflow.IntentSet}, suspend}, false},
		"OfAnEarlier":   {"it was asked of the run of an earlier attempt", []stellarflow.Intent{{ID: "i", Kind: stellarflow.IntentSuspend, WECUID: "gone"}}, false},
		"SomethingElse": {"a resume", []stellarflow.Intent{{ID: "j", Kind: stellarflow.IntentResume, Whole: true}}, false},
		"Nothing":       {"suspended is what the hub copy is anyway", nil, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			hubCopy := &unstructured.Unstructured{Object: parse(t, sample)}
			text, err := stellarflow.MarshalIntents(tc.intents)
			if err != nil {
				t.Fatal(err)
			}
			setAnnotation(hubCopy, stellarflow.AnnotationIntents, text)
			got, _ := Object(hubCopy, stellarflow.Placement{Attempt: 2}, "hub-id", nil)
			if applied := got.GetAnnotations()[stellarflow.AnnotationApplied]; stellarflow.Suspended(got) != tc.want || (applied == "i") != tc.want {
				t.Errorf("%s: suspended %t, applied %q", tc.reason, stellarflow.Suspended(got), applied)
			}
		})
	}
}

func TestObjectOddStatus(t *testing.T) {
	hubCopy := &unstructured.Unstructured{Object: parse(t, sample)}
	hubCopy.Object["status"] = "text"
	got, _ := Object(hubCopy, stellarflow.Placement{Attempt: 2}, "hub-id", nil)
	if diff := cmp.Diff(with(t, sent, ""), got.Object); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestObjectIsOursWhateverTransformsDo: users may remove labels and annotations; identity is put on after that.
func TestObjectIsOursWhateverTransformsDo(t *testing.T) {
	transform := v1alpha1.CustomTransform{Spec: v1alpha1.CustomTransformSpec{
		APIGroup: "argoproj.io", Resource: "workflows",
		Remove: []string{"$.metadata.labels", "$.metadata.annotations", "$.metadata.finalizers", "$.spec.entrypoint", "$.metadata.name", "$.[", "$.status"},
	}}
	transform.Name = "all"
	hubCopy := &unstructured.Unstructured{Object: with(t, sample, "{nodes: {n: {}}}")}
	got, skipped := Object(hubCopy, stellarflow.Placement{Attempt: 3}, "hub-id", []v1alpha1.CustomTransform{transform})
	want := parse(t, `
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata:
  name: hello-world-abcde
  namespace: argo
  finalizers: [stellarflow.io/harvest]
  labels: {stellarflow.io/origin: hub-id}
  annotations: {stellarflow.io/hub-uid: hub-1, stellarflow.io/attempt: "3", stellarflow.io/passed-on: "7fe9a3da31f1,e903941ab076,e90cb6bd8e7f"}
spec:
  templates: [{name: whalesay, container: {image: docker/whalesay}}]
status: {nodes: {n: {}}}
`)
	if diff := cmp.Diff(want, got.Object); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if len(skipped) != 2 {
		t.Errorf("the name and the broken path are skipped and said, got %v", skipped)
	}
}

func TestMetadataOf(t *testing.T) {
	u := &unstructured.Unstructured{Object: parse(t, sample)}
	u.SetGeneration(3) // YAML has it as a float
	got := metadataOf(u)
	created := u.GetCreationTimestamp()
	if got.GroupVersionKind() != stellarflow.WorkflowKind || got.Namespace != "argo" || got.Name != "hello-world-abcde" || got.UID != "hub-1" ||
		got.ResourceVersion != "77" || got.Generation != 3 || !got.CreationTimestamp.Equal(&created) || got.DeletionTimestamp != nil ||
		!cmp.Equal(got.Labels, u.GetLabels()) || !cmp.Equal(got.Annotations, u.GetAnnotations()) || !cmp.Equal(got.Finalizers, u.GetFinalizers()) {
		t.Errorf("metadataOf() = %+v", got)
	}
}
