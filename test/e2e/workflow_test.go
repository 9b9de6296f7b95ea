package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

var workflowResource = stellarflow.Workflows

const (
	// patience is how long a Workflow of a few pods may take while all the others run too.
	patience = 5 * time.Minute
	// moment is how long something may take that needs no pod.
	moment = 90 * time.Second
)

// finalError ends a wait: it cannot pass any more.
type finalError struct{ error }

func isFinal(err error) bool {
	var final finalError
	return errors.As(err, &final)
}

// newNamespace creates a namespace for a test on the hub. At the end its Workflows are deleted, which must take them from every
// cluster, and then it.
func (f *fleet) newNamespace(t *testing.T, prefix string) string {
	t.Helper()
	name := "t-" + prefix + "-" + rand.String(4)
	_, err := f.hub.core.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("create namespace %s on the hub: %v", name, err)
	}
	t.Cleanup(func() { f.endNamespace(t, name) })
	return name
}

func (f *fleet) endNamespace(t *testing.T, namespace string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if t.Failed() {
		f.dump(ctx, t, namespace, "")
	}
	if os.Getenv(envKeep) != "" && t.Failed() {
		t.Logf("namespace %s stays, to be looked at", namespace)
		return
	}
	if err := f.hub.workflows.Namespace(namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Errorf("delete the Workflows of namespace %s on the hub: %v", namespace, err)
	}
	f.awaitNone(ctx, t, namespace, "")
	for _, c := range f.all() {
		err := c.core.CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("delete namespace %s on %s: %v", namespace, c.name, err)
		}
	}
}

// awaitNone waits until no cluster has a Workflow in a namespace, of that name if there is one.
func (f *fleet) awaitNone(ctx context.Context, t *testing.T, namespace, name string) {
	t.Helper()
	options := metav1.ListOptions{}
	if name != "" {
		options.FieldSelector = "metadata.name=" + name
	}
	for {
		var left []string
		for _, c := range f.all() {
			list, err := c.workflows.Namespace(namespace).List(ctx, options)
			if err != nil {
				left = append(left, fmt.Sprintf("%s: %v", c.name, err))
				continue
			}
			for _, item := range list.Items {
				left = append(left, fmt.Sprintf("%s on %s with finalizers %v", item.GetName(), c.name, item.GetFinalizers()))
			}
		}
		if len(left) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			t.Errorf("deleted Workflows of namespace %s are still there: %s", namespace, strings.Join(left, "; "))
			return
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// sample reads a file of samples/.
func (f *fleet) sample(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(f.root, "samples", file))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// create creates a Workflow on the hub, in a namespace if the manifest has none. One in a shared namespace is deleted at the end.
func (f *fleet) create(t *testing.T, namespace, manifest string) *wfv1.Workflow {
	t.Helper()
	object := map[string]any{}
	if err := yaml.Unmarshal([]byte(manifest), &object); err != nil {
		t.Fatalf("read the Workflow: %v\n%s", err, manifest)
	}
	workflow := &unstructured.Unstructured{Object: object}
	if f.profile == stellarflow.ProfileDedicated { // as the UI makes it
		unstructured.RemoveNestedField(object, "spec", "suspend")
	}
	shared := workflow.GetNamespace() != ""
	if !shared {
		workflow.SetNamespace(namespace)
	}
	created, err := f.hub.workflows.Namespace(workflow.GetNamespace()).Create(t.Context(), workflow, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("create Workflow %s%s: %v", workflow.GetName(), workflow.GetGenerateName(), err)
	}
	if shared {
		t.Cleanup(func() { f.endWorkflow(t, created.GetNamespace(), created.GetName()) })
	}
	return typed(t, created)
}

// checkSuspend checks what a placed Workflow that runs, or has ended, says of spec.suspend: on a shared hub always true.
func (f *fleet) checkSuspend(t *testing.T, hubCopy *wfv1.Workflow) {
	t.Helper()
	if suspended := hubCopy.Spec.Suspend != nil && *hubCopy.Spec.Suspend; suspended == (f.profile == stellarflow.ProfileDedicated) {
		t.Errorf("%s: spec.suspend is %v on the hub", hubCopy.Name, suspended)
	}
}

func (f *fleet) endWorkflow(t *testing.T, namespace, name string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if t.Failed() {
		f.dump(ctx, t, namespace, name)
	}
	err := f.hub.workflows.Namespace(namespace).Delete(ctx, name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Errorf("delete Workflow %s/%s on the hub: %v", namespace, name, err)
	}
	f.awaitNone(ctx, t, namespace, name)
}

func typed(t *testing.T, object *unstructured.Unstructured) *wfv1.Workflow {
	t.Helper()
	workflow, err := convert(object)
	if err != nil {
		t.Fatal(err)
	}
	return workflow
}

func convert(object *unstructured.Unstructured) (*wfv1.Workflow, error) {
	raw, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	var workflow wfv1.Workflow
	if err := json.Unmarshal(raw, &workflow); err != nil {
		return nil, fmt.Errorf("read Workflow %s/%s: %w", object.GetNamespace(), object.GetName(), err)
	}
	return &workflow, nil
}

// get reads a Workflow on a cluster.
func (c *cluster) get(ctx context.Context, namespace, name string) (*wfv1.Workflow, error) {
	object, err := c.workflows.Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("on %s: %w", c.name, err)
	}
	return convert(object)
}

// await waits until a Workflow on a cluster is as wanted, and returns it.
func (c *cluster) await(t *testing.T, namespace, name, what string, wanted func(*wfv1.Workflow) error) *wfv1.Workflow {
	t.Helper()
	var found *wfv1.Workflow
	eventually(t, patience, fmt.Sprintf("Workflow %s/%s on %s: %s", namespace, name, c.name, what), func(ctx context.Context) error {
		workflow, err := c.get(ctx, namespace, name)
		if err != nil {
			return err
		}
		found = workflow
		return wanted(workflow)
	})
	return found
}

// awaitPhase waits for a phase; another final one ends the wait.
func (c *cluster) awaitPhase(t *testing.T, namespace, name string, phase wfv1.WorkflowPhase) *wfv1.Workflow {
	t.Helper()
	return c.await(t, namespace, name, "is "+string(phase), func(workflow *wfv1.Workflow) error {
		if workflow.Status.Phase == phase {
			return nil
		}
		return notYet(workflow)
	})
}

// notYet says how a Workflow is that is not as it should be, finally if it has ended. One that waits for its cluster has not, though the hub's Argo
// may have failed it at sight, as it had not learned of its templates (docs/spec/workflow.md, Beside the hub's own controller).
func notYet(workflow *wfv1.Workflow) error {
	err := fmt.Errorf("it is %q: %s%s", workflow.Status.Phase, workflow.Status.Message, stuckNodes(workflow))
	_, placed := stellarflow.PlacementOf(workflow)
	if waits := ptr.Deref(workflow.Spec.Suspend, false) && !placed; workflow.Status.Phase.Completed() && !waits {
		return finalError{err}
	}
	return err
}

// awaitPod waits until a pod of a Workflow runs, as the cluster's own Workflow says.
func (c *cluster) awaitPod(t *testing.T, namespace, name string) *wfv1.Workflow {
	t.Helper()
	return c.await(t, namespace, name, "a pod runs", func(workflow *wfv1.Workflow) error {
		for _, node := range workflow.Status.Nodes {
			if node.Type == wfv1.NodeTypePod && node.Phase == wfv1.NodeRunning {
				return nil
			}
		}
		return notYet(workflow)
	})
}

// stuckNodes says what the pods that have not succeeded say.
func stuckNodes(workflow *wfv1.Workflow) string {
	var text strings.Builder
	for _, node := range workflow.Status.Nodes {
		if node.Type == wfv1.NodeTypePod && node.Phase != wfv1.NodeSucceeded {
			fmt.Fprintf(&text, "; node %s is %s %s", node.DisplayName, node.Phase, node.Message)
		}
	}
	return text.String()
}

// nodesOf are the nodes of a type, by display name.
func nodesOf(workflow *wfv1.Workflow, kind wfv1.NodeType) map[string]wfv1.NodeStatus {
	nodes := map[string]wfv1.NodeStatus{}
	for _, node := range workflow.Status.Nodes {
		if node.Type == kind {
			name := node.DisplayName
			for i := 2; ; i++ { // nested tasks share names
				if _, taken := nodes[name]; !taken {
					break
				}
				name = fmt.Sprintf("%s#%d", node.DisplayName, i)
			}
			nodes[name] = node
		}
	}
	return nodes
}

// podsHere selects the pods of Workflows that run on a cluster: on the hub without those that show the pods of other clusters.
const podsHere = stellarflow.ArgoLabelWorkflow + ",!" + stellarflow.LabelMirrorOf

// pods are the pods of a namespace that belong to Workflows and run on the cluster, of one Workflow if it is named.
func (c *cluster) pods(ctx context.Context, namespace, workflow string) ([]corev1.Pod, error) {
	selector := podsHere
	if workflow != "" {
		selector += "," + stellarflow.ArgoLabelWorkflow + "=" + workflow
	}
	list, err := c.core.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, fmt.Errorf("list pods on %s: %w", c.name, err)
	}
	return list.Items, nil
}

// countPods is the number of pods of a Workflow that run on a cluster.
func (c *cluster) countPods(t *testing.T, namespace, workflow string) int {
	t.Helper()
	pods, err := c.pods(t.Context(), namespace, workflow)
	if err != nil {
		t.Fatal(err)
	}
	return len(pods)
}

// ours are the labels, annotations and finalizers of ours on an object.
func ours(object metav1.Object) []string {
	var found []string
	for _, keys := range []map[string]string{object.GetLabels(), object.GetAnnotations()} {
		for key := range keys {
			if stellarflow.IsOurs(key) {
				found = append(found, key)
			}
		}
	}
	for _, finalizer := range object.GetFinalizers() {
		if stellarflow.IsOurs(finalizer) {
			found = append(found, finalizer)
		}
	}
	return found
}

// dump writes what a person would look at when a test has failed.
func (f *fleet) dump(ctx context.Context, t *testing.T, namespace, name string) {
	show := func(c *cluster, args ...string) {
		out, err := f.try(ctx, nil, f.bin("kubectl"), append([]string{"--kubeconfig", c.kubeconfig}, args...)...)
		if err != nil {
			out = err.Error()
		}
		t.Logf("%s$ kubectl %s\n%s", c.name, strings.Join(args, " "), out)
	}
	for _, c := range f.all() {
		show(c, "-n", namespace, "get", "workflows,pods", "-o", "wide")
	}
	workflow := []string{"-n", namespace, "get", "workflows", "-o", "yaml"}
	if name != "" {
		workflow = []string{"-n", namespace, "get", "workflow", name, "-o", "yaml"}
	}
	show(f.hub, workflow...)
	show(f.hub, "-n", namespace, "get", "events")
	show(f.hub, "-n", stellarflow.SystemNamespace, "logs", "-l", managerSelector, "--prefix", "--tail=40")
}
