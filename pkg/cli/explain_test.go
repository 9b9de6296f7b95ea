package cli

import (
	"bytes"
	gocmp "cmp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/bindingpolicy"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

func testWorkflow(change func(*unstructured.Unstructured)) *unstructured.Unstructured {
	w := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow",
		"metadata": map[string]any{"name": "hello", "namespace": "argo", "uid": "u1"},
		"spec":     map[string]any{"suspend": true},
	}}
	if change != nil {
		change(w)
	}
	return w
}

func testPlaced(w *unstructured.Unstructured) {
	record := stellarflow.Placement{UID: types.UID("u1"), Policy: "p1", Cluster: "cluster1", Attempt: 2, Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	w.SetLabels(map[string]string{stellarflow.LabelCluster: "cluster1"})
	w.SetAnnotations(map[string]string{stellarflow.AnnotationPlacement: record.String()})
}

func TestExplanation(t *testing.T) {
	offered := bindingpolicy.Decision{
		Cluster: "cluster2", Policy: "p1", Selected: true,
		Policies: []bindingpolicy.PolicyVerdict{{Policy: "p1", Reason: bindingpolicy.PolicyOffers, Message: "it offers cluster1, cluster2"}},
		Clusters: []bindingpolicy.ClusterVerdict{{Cluster: "cluster1", Reason: bindingpolicy.ClusterBusier, Message: "cluster2 has fewer"}},
	}
	cases := map[string]struct {
		reason   string
		change   func(*unstructured.Unstructured)
		decision bindingpolicy.Decision
		profile  stellarflow.Profile // shared if empty
		want     string
	}{
		"Waiting": {
			reason: "nothing is healthy", decision: bindingpolicy.Decision{
				Selected: true, Policies: offered.Policies,
				Clusters: []bindingpolicy.ClusterVerdict{{Cluster: "cluster1", Reason: bindingpolicy.ClusterUnhealthy, Message: "it cannot be reached"}},
			},
			want: `Workflow:   argo/hello
Phase:      -
Placement:  Waiting for a cluster. Policies: "p1": it offers cluster1, cluster2. Clusters: cluster1: it cannot be reached.

Policies:
  p1  Offers  it offers cluster1, cluster2

Clusters:
  cluster1  Unhealthy  it cannot be reached
`,
		},
		"Chosen": {
			reason: "the hub manager should have placed it", decision: offered,
			want: `Workflow:   argo/hello
Phase:      -
Placement:  Not placed yet; cluster "cluster2" would be chosen now: if that does not happen within seconds, check that the hub manager runs and that the Workflow has not started on the hub.

Policies:
  p1  Offers  it offers cluster1, cluster2

Clusters:
  cluster2  Chosen  offered by policy "p1".
  cluster1  Busier  cluster2 has fewer
`,
		},
		"NotSuspended": {
			reason: "a local Workflow", decision: bindingpolicy.Decision{},
			change: func(w *unstructured.Unstructured) { unstructured.RemoveNestedField(w.Object, "spec", "suspend") },
			want: "Workflow:   argo/hello\nPhase:      -\nPlacement:  Not ours: spec.suspend is not true, so the hub runs it itself.\n" +
				"\nPolicies:\n  none: create a BindingPolicy that selects this Workflow and a cluster\n\nClusters:\n  none: run `stellarflow join NAME --kubeconfig FILE`\n",
		},
		"Dedicated": {
			reason: "nobody else would run it", decision: offered, profile: stellarflow.ProfileDedicated,
			change: func(w *unstructured.Unstructured) { unstructured.RemoveNestedField(w.Object, "spec", "suspend") },
			want: `Workflow:   argo/hello
Phase:      -
Placement:  Not placed yet; cluster "cluster2" would be chosen now: if that does not happen within seconds, check that the hub manager runs and that the Workflow has not started on the hub.

Policies:
  p1  Offers  it offers cluster1, cluster2

Clusters:
  cluster2  Chosen  offered by policy "p1".
  cluster1  Busier  cluster2 has fewer
`,
		},
		"DedicatedAndBegun": {
			reason: "an Argo controller had begun it before the hub was a dedicated one", decision: bindingpolicy.Decision{}, profile: stellarflow.ProfileDedicated,
			change: func(w *unstructured.Unstructured) {
				unstructured.RemoveNestedField(w.Object, "spec", "suspend")
				w.Object["status"] = map[string]any{"phase": "Running"}
			},
			want: "Workflow:   argo/hello\nPhase:      Running\nPlacement:  Not ours: it has phase Running already, so it was begun elsewhere: resubmit it to run it.\n" +
				"\nPolicies:\n  none: create a BindingPolicy that selects this Workflow and a cluster\n\nClusters:\n  none: run `stellarflow join NAME --kubeconfig FILE`\n",
		},
		"NotSelected": {
			reason: "suspended, but for another reason", decision: bindingpolicy.Decision{},
			want: "Workflow:   argo/hello\nPhase:      -\nPlacement:  Not ours: No BindingPolicy exists: create one that selects this Workflow and a cluster.\n" +
				"\nPolicies:\n  none: create a BindingPolicy that selects this Workflow and a cluster\n\nClusters:\n  none: run `stellarflow join NAME --kubeconfig FILE`\n",
		},
		"Placed": {
			reason: "the recorded cluster counts, not the one that would be chosen now", decision: offered,
			change: func(w *unstructured.Unstructured) {
				testPlaced(w)
				w.Object["status"] = map[string]any{
					"phase": "Running", "message": "half way", "storedWorkflowTemplateSpec": map[string]any{"serviceAccountName": "runner"},
					"storedTemplates": map[string]any{"a": map[string]any{"serviceAccountName": "builder"}, "b": map[string]any{"serviceAccountName": "runner"}},
				}
				annotations := w.GetAnnotations()
				annotations[stellarflow.AnnotationDependencies] = `{"copied":["ConfigMap/parameters","WorkflowTemplate/lib"],"there":["ConfigMap/theirs","Nonsense/x"]}`
				w.SetAnnotations(annotations)
			},
			want: `Workflow:   argo/hello
Phase:      Running
Message:    half way
Placement:  Placed on cluster "cluster1" by policy "p1" since 2026-01-02T03:04:05Z (attempt 2); a placement does not change.
Sync:       Nothing was mirrored yet.
Suspend:    With ` + "`stellarflow suspend hello -n argo`" + `: argo suspend sends nothing, since the copy here always is.

Dependencies:
  ConfigMap         parameters  copied from the hub
  WorkflowTemplate  lib         copied from the hub
  ConfigMap         theirs      the cluster's own
  ServiceAccount    builder     made there by the hub in a namespace of its own, else the cluster's own
  ServiceAccount    runner      made there by the hub in a namespace of its own, else the cluster's own

Policies:
  p1  Offers  it offers cluster1, cluster2

Clusters:
  cluster2  Offered  a Workflow like this would be placed here now.
  cluster1  Placed   it runs here, or ran here.
`,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			workflow := testWorkflow(tc.change)
			e := newExplanation(workflow, tc.decision)
			if placement, counts := stellarflow.PlacementOf(workflow); counts {
				e.Placement = &placement
			}
			e.conclude(workflow, tc.decision, gocmp.Or(tc.profile, stellarflow.ProfileShared))
			var out bytes.Buffer
			if err := e.print(&out); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, out.String()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

func TestShutdownOf(t *testing.T) {
	stopped := func(observed int64, completed string) *unstructured.Unstructured {
		return testWorkflow(func(w *unstructured.Unstructured) {
			w.Object["spec"] = map[string]any{"suspend": true, "shutdown": "Stop"}
			w.SetGeneration(3)
			w.SetAnnotations(map[string]string{stellarflow.AnnotationObserved: stellarflow.Observed{WECUID: "w1", ResourceVersion: "7", Generation: observed, Hash: "h"}.String()})
			w.SetLabels(map[string]string{stellarflow.ArgoLabelCompleted: completed})
		})
	}
	for name, test := range map[string]struct {
		workflow *unstructured.Unstructured
		want     string
	}{
		"nothing was asked":       {testWorkflow(nil), ""},
		"the cluster is away":     {stopped(2, "false"), `Stop is not passed on to cluster "cluster1" yet.`},
		"the cluster was told":    {stopped(3, "false"), `Stop was passed on to cluster "cluster1"; it ends there.`},
		"it has ended":            {stopped(3, "true"), ""},
		"nothing is mirrored yet": {testWorkflow(func(w *unstructured.Unstructured) { w.Object["spec"] = map[string]any{"shutdown": "Terminate"} }), `Terminate is not passed on to cluster "cluster1" yet.`},
	} {
		if got := shutdownOf(test.workflow, "cluster1"); got != test.want {
			t.Errorf("%s: want %q, got %q", name, test.want, got)
		}
	}
}

func TestSyncOf(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	mirrored := func(w *unstructured.Unstructured) {
		testPlaced(w)
		annotations := w.GetAnnotations()
		annotations[stellarflow.AnnotationObserved] = stellarflow.Observed{WECUID: "w1", ResourceVersion: "7", Generation: 3, Hash: "h"}.String()
		w.SetAnnotations(annotations)
		entry := func(seconds int, fields string) metav1.ManagedFieldsEntry {
			when := metav1.NewTime(at.Add(time.Duration(seconds) * time.Second))
			return metav1.ManagedFieldsEntry{Manager: "m", Operation: metav1.ManagedFieldsOperationUpdate, FieldsType: "FieldsV1", Time: &when, FieldsV1: metav1.NewFieldsV1(fields)}
		}
		w.SetManagedFields([]metav1.ManagedFieldsEntry{
			entry(0, `{"f:metadata":{"f:annotations":{"f:stellarflow.io/observed":{}}}}`), entry(60, `{"f:metadata":{"f:labels":{"f:team":{}}}}`),
		})
	}
	cases := map[string]struct {
		reason string
		change func(*unstructured.Unstructured)
		said   string
		last   *time.Time
	}{
		"Nothing":  {"placed a moment ago", testPlaced, "Nothing was mirrored yet.", nil},
		"Mirrored": {"the time is that of the mirror write, not of a user's", mirrored, "Mirrored from WEC copy w1 at its resourceVersion 7.", &at},
		"Away": {
			"the cluster cannot be reached", func(w *unstructured.Unstructured) {
				mirrored(w)
				annotations := w.GetAnnotations()
				annotations[stellarflow.AnnotationSync] = "cluster1 cannot be reached since noon"
				w.SetAnnotations(annotations)
			}, "cluster1 cannot be reached since noon", &at,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			said, last := syncOf(testWorkflow(tc.change))
			if said != tc.said {
				t.Errorf("%s: want %q, got %q", tc.reason, tc.said, said)
			}
			if diff := cmp.Diff(tc.last, last); diff != "" {
				t.Errorf("%s: last sync (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

func managedCluster(name string, conditions ...metav1.Condition) clusterv1.ManagedCluster {
	cluster := clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"name": name}}}
	cluster.Status.Conditions = conditions
	return cluster
}

func TestInventoryOf(t *testing.T) {
	connected := metav1.Condition{Type: stellarflow.ConditionConnected, Status: metav1.ConditionTrue, Message: "it answers"}
	away := metav1.Condition{Type: stellarflow.ConditionConnected, Status: metav1.ConditionFalse, Reason: "Unreachable", Message: "it does not answer"}
	on := func(name string, cluster stellarflow.ClusterName, finished bool) placedWorkflow {
		return placedWorkflow{Namespace: "argo", Name: name, Placement: stellarflow.Placement{Cluster: cluster}, Finished: finished}
	}
	got := inventoryOf(
		[]clusterv1.ManagedCluster{managedCluster("cluster1", connected), managedCluster("cluster2", away)},
		[]placedWorkflow{on("me", "cluster1", false), on("other", "cluster1", false), on("done", "cluster1", true), on("there", "cluster2", false)},
		client.ObjectKey{Namespace: "argo", Name: "me"}, []stellarflow.ClusterName{"cluster2"},
	)
	want := []bindingpolicy.Cluster{
		{Name: "cluster1", Labels: map[string]string{"name": "cluster1"}, Unfinished: 1},
		{
			Name: "cluster2", Labels: map[string]string{"name": "cluster2"}, Unfinished: 1, Unhealthy: "it does not answer",
			Refused: true, RefusedWhy: "it refused an earlier attempt",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the Workflow itself and finished ones do not count (-want +got):\n%s", diff)
	}
}

func TestPrintClusters(t *testing.T) {
	infos := clusterList{
		{Name: "cluster1", Status: "Ready", Message: "it answers", Kubernetes: "v1.34.4", Argo: "v3.7.18", Workflows: 12, age: "3h"},
		{Name: "c2", Status: "Unreachable", Message: "it does not answer", age: "90s"},
	}
	var out bytes.Buffer
	if err := infos.print(&out); err != nil {
		t.Fatal(err)
	}
	want := `NAME       STATUS        KUBERNETES   ARGO      WORKFLOWS   AGE   MESSAGE
cluster1   Ready         v1.34.4      v3.7.18   12          3h    it answers
c2         Unreachable   -            -         0           90s   it does not answer
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestClusterID(t *testing.T) {
	joined := managedCluster("a")
	joined.Annotations = map[string]string{stellarflow.AnnotationClusterID: "id1"}
	joined.Status.ClusterClaims = []clusterv1.ManagedClusterClaim{{Name: ocmClusterID, Value: "id2"}}
	claimed := managedCluster("b")
	claimed.Status.ClusterClaims = []clusterv1.ManagedClusterClaim{{Name: "other", Value: "x"}, {Name: ocmClusterID, Value: "id2"}}
	unknown := managedCluster("c")
	for want, cluster := range map[string]*clusterv1.ManagedCluster{"id1": &joined, "id2": &claimed, "": &unknown} {
		if got := clusterID(cluster); got != want {
			t.Errorf("%s: want %q, got %q", cluster.Name, want, got)
		}
	}
}

func TestListed(t *testing.T) {
	var many []placedWorkflow
	for range 22 {
		many = append(many, placedWorkflow{Namespace: "argo", Name: "w", Placement: stellarflow.Placement{Cluster: "c"}})
	}
	got := listed(many)
	if !bytes.HasSuffix([]byte(got), []byte("\n  argo/w on c\n  and 2 more")) {
		t.Errorf("a long list is cut and says so: %s", got)
	}
}
