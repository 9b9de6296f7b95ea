package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// sharedLetter is the key under which one sample writes what another reads.
const sharedLetter = "shared/letter.txt"

// samples says what becomes of each file of samples/.
var samples = map[string]func(*testing.T, *fleet, string){
	"bindingpolicy-cluster1.yaml": objectIsReady("bindingpolicies", "workflows-cluster1"),
	"bindingpolicy-cluster2.yaml": objectIsReady("bindingpolicies", "workflows-cluster2"),
	"customtransform.yaml":        objectIsReady("customtransforms", "workflow"),
	"hello-world-cluster1.yaml":   helloWorld("cluster1"),
	"hello-world-cluster2.yaml":   helloWorld("cluster2"),
	"diamond-dag.yaml":            diamond,
	"nested-dag.yaml":             nested,
	"conditional-artifacts.yaml":  conditional,
	"local.yaml":                  local,
	"write-on-cluster2.yaml":      letter,
	"read-on-cluster1.yaml":       nil, // letter creates it, after the other
	"secrets-hub.yaml":            nil, // testDependencies applies both
	"secrets-wec.yaml":            nil,
}

// testSamples creates every file of samples/ as a user would, and looks at what comes of it.
func testSamples(t *testing.T, f *fleet) {
	files, err := filepath.Glob(filepath.Join(f.root, "samples", "*"))
	if err != nil {
		t.Fatal(err)
	}
	var missing []string
	for _, file := range files {
		if _, known := samples[filepath.Base(file)]; !known {
			missing = append(missing, filepath.Base(file))
		}
	}
	if len(missing) > 0 {
		t.Errorf("no test uses samples/%s: add what becomes of it", strings.Join(missing, ", samples/"))
	}
	for file, check := range samples {
		if _, err := os.Stat(filepath.Join(f.root, "samples", file)); err != nil {
			t.Errorf("the test of a sample has lost its file: %v", err)
		} else if check != nil {
			t.Run(strings.TrimSuffix(file, ".yaml"), func(t *testing.T) {
				t.Parallel()
				check(t, f, file)
			})
		}
	}
}

func objectIsReady(resource, name string) func(*testing.T, *fleet, string) {
	return func(t *testing.T, f *fleet, _ string) {
		f.awaitCondition(t, resource, name, "Ready", metav1.ConditionTrue)
		f.awaitCondition(t, resource, name, "FullySupported", metav1.ConditionTrue)
	}
}

// runSample runs a sample to Succeeded and checks what holds for each: where it ran, that both clusters say the same, and that its artifacts come through the
// hub's Argo server.
func (f *fleet) runSample(t *testing.T, file, target string, pods int) *wfv1.Workflow {
	t.Helper()
	created := f.create(t, "", f.sample(t, file))
	workflow := f.awaitRun(t, created.Namespace, created.Name, target, pods)
	f.wantArtifacts(t, workflow)
	return workflow
}

// awaitRun waits until a placed Workflow has Succeeded and checks that it ran on a cluster, there only and with so many pods, and
// that hub copy and WEC copy tell the same.
func (f *fleet) awaitRun(t *testing.T, namespace, name, target string, pods int) *wfv1.Workflow {
	t.Helper()
	hubCopy := f.hub.awaitPhase(t, namespace, name, wfv1.WorkflowSucceeded)
	if got := hubCopy.Labels[stellarflow.LabelCluster]; got != target {
		t.Errorf("label %s is %q, wanted %s", stellarflow.LabelCluster, got, target)
	}
	if !stellarflow.Completed(hubCopy) || hubCopy.Labels[stellarflow.ArgoLabelPhase] != "Succeeded" {
		t.Errorf("Argo's labels of the end are missing on the hub copy: %v", hubCopy.Labels)
	}
	for _, c := range f.all() {
		wanted := 0
		if c.name == target {
			wanted = pods
		}
		if got := c.countPods(t, namespace, name); got != wanted {
			t.Errorf("%s has %d pods of %s, wanted %d", c.name, got, name, wanted)
		}
	}
	nodes := nodesOf(hubCopy, wfv1.NodeTypePod)
	if len(nodes) != pods {
		t.Errorf("the hub copy has %d Pod nodes, wanted %d", len(nodes), pods)
	}
	for _, node := range nodes {
		if node.Phase != wfv1.NodeSucceeded || !strings.Contains(node.HostNodeName, target) {
			t.Errorf("node %s is %s on host %q, wanted Succeeded on a host of %s", node.DisplayName, node.Phase, node.HostNodeName, target)
		}
		if key := keyOf(t, node, "main-logs"); !strings.HasPrefix(key, target+"/"+namespace+"/"+name+"/") {
			t.Errorf("the log of node %s has the key %q, which does not begin with cluster, namespace and name", node.DisplayName, key)
		}
	}
	f.compareCopies(t, hubCopy, f.wecs[target])
	return hubCopy
}

// compareCopies checks that a finished WEC copy is marked as ours, is free to go, and says what the hub copy says.
func (f *fleet) compareCopies(t *testing.T, hubCopy *wfv1.Workflow, wec *cluster) {
	t.Helper()
	wecCopy := wec.await(t, hubCopy.Namespace, hubCopy.Name, "is released", func(workflow *wfv1.Workflow) error {
		if slices.Contains(workflow.Finalizers, stellarflow.FinalizerHarvest) {
			return fmt.Errorf("finalizer %s is on it", stellarflow.FinalizerHarvest)
		}
		return nil
	})
	if got := wecCopy.Annotations[stellarflow.AnnotationHubUID]; got != string(hubCopy.UID) {
		t.Errorf("the WEC copy says hub UID %q, the hub copy's is %s", got, hubCopy.UID)
	}
	if wecCopy.Spec.Suspend != nil {
		t.Errorf("spec.suspend is %v on the WEC, wanted none", *wecCopy.Spec.Suspend)
	}
	f.checkSuspend(t, hubCopy)
	placement, placed := stellarflow.PlacementOf(hubCopy)
	if !placed || placement.WECUID != wecCopy.UID || placement.Attempt != 1 {
		t.Errorf("the placement is %+v, wanted attempt 1 and UID %s of the WEC copy", placement, wecCopy.UID)
	}
	// What law 6 takes out of a mirrored status is compared by TestHub* of test/integration; the tree must be the same.
	if diff := cmp.Diff(treeOf(wecCopy), treeOf(hubCopy)); diff != "" {
		t.Errorf("the hub copy shows another node tree than the WEC copy (-WEC +hub):\n%s", diff)
	}
}

// treeNode is what a person sees of a node.
type treeNode struct {
	Name, Type, Phase, Message, Host, Boundary string
	Children                                   []string
	Start, End                                 string
}

func treeOf(workflow *wfv1.Workflow) map[string]treeNode {
	tree := map[string]treeNode{}
	for id, node := range workflow.Status.Nodes {
		tree[id] = treeNode{
			Name: node.Name, Type: string(node.Type), Phase: string(node.Phase), Message: node.Message, Host: node.HostNodeName,
			Boundary: node.BoundaryID, Children: node.Children, Start: node.StartedAt.String(), End: node.FinishedAt.String(),
		}
	}
	return tree
}

// wantNodes checks the size of the node tree, by type.
func wantNodes(t *testing.T, workflow *wfv1.Workflow, wanted map[wfv1.NodeType]int) {
	t.Helper()
	got := map[wfv1.NodeType]int{}
	for _, node := range workflow.Status.Nodes {
		got[node.Type]++
	}
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Errorf("number of nodes by type (-wanted +got):\n%s", diff)
	}
}

func helloWorld(target string) func(*testing.T, *fleet, string) {
	return func(t *testing.T, f *fleet, file string) {
		workflow := f.runSample(t, file, target, 1)
		wantNodes(t, workflow, map[wfv1.NodeType]int{wfv1.NodeTypePod: 1})
		for _, node := range nodesOf(workflow, wfv1.NodeTypePod) {
			log := f.log(t, workflow, node)
			if whale := strings.Contains(log, "hello world") && strings.Count(log, "\n") >= 5; !whale && (log != "" || !f.mayBeCut()) {
				t.Errorf("the log is no whale that says hello world:\n%s", log)
			}
		}
	}
}

func diamond(t *testing.T, f *fleet, file string) {
	workflow := f.runSample(t, file, "cluster1", 4)
	wantNodes(t, workflow, map[wfv1.NodeType]int{wfv1.NodeTypeDAG: 1, wfv1.NodeTypePod: 4})
	f.wantLogs(t, workflow, map[string]string{
		"sow": "sow the tulips", "water": "water the tulips", "weed": "weed the tulips", "harvest": "harvest the tulips",
	})
	if parameters := workflow.Spec.Arguments.Parameters; len(parameters) != 1 || parameters[0].Value.String() != "tulips" {
		t.Errorf("the Workflow's parameters on the hub are %v, wanted bed=tulips", parameters)
	}
	nodes := nodesOf(workflow, wfv1.NodeTypePod)
	for name, node := range nodes {
		if node.Inputs == nil || len(node.Inputs.Parameters) != 1 || node.Inputs.Parameters[0].Value.String() != name {
			t.Errorf("node %s shows the inputs %+v on the hub, wanted job=%s", name, node.Inputs, name)
		}
	}
	for _, before := range []string{"water", "weed"} {
		if nodes["harvest"].StartedAt.Time.Before(nodes[before].FinishedAt.Time) {
			t.Errorf("harvest began at %s, before %s ended at %s", nodes["harvest"].StartedAt, before, nodes[before].FinishedAt)
		}
	}
}

func nested(t *testing.T, f *fleet, file string) {
	workflow := f.runSample(t, file, "cluster1", 5)
	wantNodes(t, workflow, map[wfv1.NodeType]int{wfv1.NodeTypeDAG: 3, wfv1.NodeTypePod: 5})
	var parts []string
	for name, node := range nodesOf(workflow, wfv1.NodeTypePod) {
		if node.Inputs == nil || len(node.Inputs.Parameters) != 1 {
			t.Fatalf("node %s shows the inputs %+v on the hub, wanted a part", name, node.Inputs)
		}
		part := node.Inputs.Parameters[0].Value.String()
		parts = append(parts, part)
		f.wantLog(t, workflow, node, "built the "+part+"\n")
	}
	slices.Sort(parts)
	wanted := []string{"first floor bedroom", "first floor kitchen", "ground floor bedroom", "ground floor kitchen", "roof"}
	if diff := cmp.Diff(wanted, parts); diff != "" {
		t.Errorf("parts of the house (-wanted +got):\n%s", diff)
	}
}

func conditional(t *testing.T, f *fleet, file string) {
	workflow := f.runSample(t, file, "cluster1", 3)
	wantNodes(t, workflow, map[wfv1.NodeType]int{wfv1.NodeTypeSteps: 2, wfv1.NodeTypeStepGroup: 4, wfv1.NodeTypePod: 3, wfv1.NodeTypeSkipped: 1})
	pods, skipped := nodesOf(workflow, wfv1.NodeTypePod), nodesOf(workflow, wfv1.NodeTypeSkipped)
	if pods["measure"].Outputs == nil || pods["measure"].Outputs.Result == nil {
		t.Fatalf("the result of measure is not shown on the hub: %+v", pods["measure"].Outputs)
	}
	taken, other := *pods["measure"].Outputs.Result, "odd"
	if taken == "odd" {
		other = "even"
	}
	if _, ran := pods[taken]; !ran {
		t.Errorf("measure said %q, but that branch did not run: pods %v", taken, pods)
	}
	if _, left := skipped[other]; !left {
		t.Errorf("measure said %q, but %q is not skipped: %v", taken, other, skipped)
	}
	wanted := "the number is " + taken
	f.wantLog(t, workflow, pods["read"], wanted+"\n")
	written := keyOf(t, pods[taken], "text")
	if read := pods["read"].Inputs; read == nil || len(read.Artifacts) != 1 || read.Artifacts[0].S3 == nil || read.Artifacts[0].S3.Key != written {
		t.Errorf("the last step has read %+v, wanted %s", read, written)
	}
	if got := unpack(t, f.read(t, written)); got != wanted+"\n" {
		t.Errorf("the artifact %s holds %q, wanted %q", written, got, wanted)
	}
	if got := keyOf(t, nodesOf(workflow, wfv1.NodeTypeSteps)["report"], "result"); got != written {
		t.Errorf("the result of the steps is %q, wanted the artifact of the branch that ran, %q", got, written)
	}
}

// letter writes an artifact on cluster2 and reads it on cluster1, by its key.
func letter(t *testing.T, f *fleet, file string) {
	f.forget(t, sharedLetter)
	workflow := f.runSample(t, file, "cluster2", 1)
	if key := keyOf(t, onlyPod(t, workflow), "letter"); key != sharedLetter {
		t.Errorf("the letter has the key %q, wanted %q", key, sharedLetter)
	}
	if got := f.read(t, sharedLetter); got != "written on cluster2\n" {
		t.Errorf("the store has %q under %s", got, sharedLetter)
	}
	workflow = f.runSample(t, "read-on-cluster1.yaml", "cluster1", 1)
	f.wantLog(t, workflow, onlyPod(t, workflow), "written on cluster2\n")
}

func onlyPod(t *testing.T, workflow *wfv1.Workflow) wfv1.NodeStatus {
	t.Helper()
	nodes := nodesOf(workflow, wfv1.NodeTypePod)
	if len(nodes) != 1 {
		t.Fatalf("%s has %d Pod nodes, wanted 1", workflow.Name, len(nodes))
	}
	for _, node := range nodes {
		return node
	}
	return wfv1.NodeStatus{}
}

func local(t *testing.T, f *fleet, file string) {
	created := f.create(t, "", f.sample(t, file))
	workflow := f.awaitLocal(t, created.Namespace, created.Name, 1)
	f.wantLog(t, workflow, onlyPod(t, workflow), "this ran on the hub\n")
}

// awaitLocal waits until a Workflow of the hub's own has Succeeded, and checks that nobody but the hub had to do with it.
func (f *fleet) awaitLocal(t *testing.T, namespace, name string, pods int) *wfv1.Workflow {
	t.Helper()
	workflow := f.hub.awaitPhase(t, namespace, name, wfv1.WorkflowSucceeded)
	if found := ours(workflow); len(found) > 0 {
		t.Errorf("a local Workflow has keys of ours: %v", found)
	}
	if got := f.hub.countPods(t, namespace, name); got != pods {
		t.Errorf("the hub has %d pods of it, wanted %d", got, pods)
	}
	for _, node := range nodesOf(workflow, wfv1.NodeTypePod) {
		if !strings.Contains(node.HostNodeName, "hub") {
			t.Errorf("node %s ran on host %q", node.DisplayName, node.HostNodeName)
		}
	}
	for _, target := range wecNames {
		if _, err := f.wecs[target].get(t.Context(), namespace, name); err == nil {
			t.Errorf("%s has a copy of a local Workflow", target)
		}
	}
	return workflow
}

// controlResource is a resource of our API group.
func controlResource(resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "control.kubestellar.io", Version: "v1alpha1", Resource: resource}
}
