package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// pausingOnce needs no pod; its mutex is of the whole Workflow.
const pausingOnce = `
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {name: local}
spec:
  entrypoint: main
  synchronization: {mutexes: [{name: one}]}
  templates:
  - name: main
    suspend: {duration: "1s"}
`

// testBeside runs what the hub's own Argo controller would take part in, if it could: it sees every hub copy, suspended as it is. On a
// dedicated hub it has no workers for them, and only deletes what has outlived its time.
func testBeside(t *testing.T, f *fleet) {
	namespace := f.newNamespace(t, "beside")
	f.create(t, namespace, suspended("first", "cluster1", shell("echo first"))) // the namespace on cluster1 comes with it
	f.awaitRun(t, namespace, "first", "cluster1", 1)
	b := beside{fleet: f, namespace: namespace}
	for name, run := range map[string]func(*testing.T){
		"templates": b.templates, "locks": b.locks, "deadline": b.deadline, "budget": b.budget, "lifetime": b.lifetime, "garbage": b.garbage,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t)
		})
	}
}

type beside struct {
	*fleet
	namespace string
}

// templates runs Workflows from a template that only their cluster has. The hub's controller fails them at first sight, and is faster
// than the placement now and then.
func (b beside) templates(t *testing.T) {
	there := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "argoproj.io/v1alpha1", "kind": "WorkflowTemplate", "metadata": map[string]any{"name": "there"},
		"spec": map[string]any{"entrypoint": "main", "templates": []any{map[string]any{"name": "main", "suspend": map[string]any{"duration": "1s"}}}},
	}}
	if _, err := b.wecs["cluster1"].kind(stellarflow.KindWorkflowTemplate, b.namespace).Create(t.Context(), there, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	const many = 20
	name := func(i int) string { return fmt.Sprintf("there-%d", i) }
	for i := range many {
		b.create(t, b.namespace, fmt.Sprintf(`
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {name: %s, labels: {kubestellar.io/cluster: cluster1}}
spec: {suspend: true, workflowTemplateRef: {name: there}}
`, name(i)))
	}
	for i := range many {
		b.awaitEnd(t, name(i), wfv1.WorkflowSucceeded)
	}
}

// awaitEnd waits for an end that the cluster reports: the hub's controller may say another for a moment.
func (b beside) awaitEnd(t *testing.T, name string, phase wfv1.WorkflowPhase) *wfv1.Workflow {
	t.Helper()
	return b.hub.await(t, b.namespace, name, "ends as "+string(phase), func(w *wfv1.Workflow) error {
		if w.Status.Phase != phase || len(w.Status.Nodes) == 0 {
			return fmt.Errorf("it is %q with %d nodes: %s", w.Status.Phase, len(w.Status.Nodes), w.Status.Message)
		}
		return nil
	})
}

// locks runs two Workflows with one mutex on a cluster: one after the other, as on that cluster alone. The hub's controller takes its own
// mutex of that name for each hub copy; a local Workflow gets it when those have ended.
func (b beside) locks(t *testing.T) {
	names := []string{"lock-1", "lock-2"}
	for _, name := range names {
		b.create(t, b.namespace, strings.Replace(suspended(name, "cluster1", shell("sleep 3")), "entrypoint: main", "entrypoint: main\n  synchronization: {mutexes: [{name: one}]}", 1))
	}
	var spans [][2]time.Time
	for _, name := range names {
		for _, node := range nodesOf(b.awaitRun(t, b.namespace, name, "cluster1", 1), wfv1.NodeTypePod) {
			spans = append(spans, [2]time.Time{node.StartedAt.Time, node.FinishedAt.Time})
		}
	}
	if spans[0][0].Before(spans[1][1]) && spans[1][0].Before(spans[0][1]) {
		t.Errorf("two Workflows with one mutex ran at once: %v", spans)
	}
	if b.profile == stellarflow.ProfileDedicated { // none takes any
		return
	}
	b.create(t, b.namespace, pausingOnce)
	b.hub.awaitPhase(t, b.namespace, "local", wfv1.WorkflowSucceeded)
}

// deadline lets a Workflow's time end: its cluster counts it, from its start there.
func (b beside) deadline(t *testing.T) {
	b.create(t, b.namespace, strings.Replace(suspended("late", "cluster1", shell("trap 'exit 1' TERM; sleep 600 & wait")), "entrypoint: main", "entrypoint: main\n  activeDeadlineSeconds: 10", 1))
	b.compareCopies(t, b.awaitEnd(t, "late", wfv1.WorkflowFailed), b.wecs["cluster1"])
}

// budget has a PodDisruptionBudget, which is on the cluster while it runs, and goes with it from wherever one was made.
func (b beside) budget(t *testing.T) {
	b.create(t, b.namespace, strings.Replace(suspended("budget", "cluster1", gated("budget")), "entrypoint: main", "entrypoint: main\n  podDisruptionBudget: {minAvailable: 1}", 1))
	b.wecs["cluster1"].awaitPod(t, b.namespace, "budget")
	get := func(ctx context.Context, c *cluster) error {
		_, err := c.core.PolicyV1().PodDisruptionBudgets(b.namespace).Get(ctx, "budget", metav1.GetOptions{})
		return err
	}
	if err := get(t.Context(), b.wecs["cluster1"]); err != nil {
		t.Errorf("its cluster has no PodDisruptionBudget while it runs: %v", err)
	}
	b.openGate(t, b.wecs["cluster1"], b.namespace, "budget")
	b.awaitRun(t, b.namespace, "budget", "cluster1", 1)
	b.kubectl(t, b.hub, "-n", b.namespace, "delete", "workflow", "budget", "--wait=false")
	for _, c := range b.all() {
		eventually(t, patience, "its PodDisruptionBudget is gone from "+c.name, func(ctx context.Context) error {
			if err := get(ctx, c); !apierrors.IsNotFound(err) {
				return errors.Join(errors.New("it is not known to be gone"), err)
			}
			return nil
		})
	}
}

// lifetime lets the hub's controller delete a hub copy whose time after its end is over: its copy goes with it.
func (b beside) lifetime(t *testing.T) {
	b.create(t, b.namespace, strings.Replace(suspended("short", "cluster1", shell("echo short")), "entrypoint: main", "entrypoint: main\n  ttlStrategy: {secondsAfterCompletion: 1}", 1))
	b.wecs["cluster1"].await(t, b.namespace, "short", "is there without a lifetime of its own", func(w *wfv1.Workflow) error {
		if w.Spec.TTLStrategy != nil {
			return finalError{fmt.Errorf("it has %+v", *w.Spec.TTLStrategy)}
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	b.awaitNone(ctx, t, b.namespace, "short")
}

// garbage leaves two artifacts: its cluster's controller removes one at the end and one when it is deleted, and the hub's takes no part.
func (b beside) garbage(t *testing.T) {
	wec := b.wecs["cluster1"]
	for _, args := range [][]string{ // what Argo asks for who removes artifacts
		{"serviceaccount", "gc"},
		{"role", "gc", "--verb=list,watch,patch", "--resource=workflowartifactgctasks.argoproj.io,workflowartifactgctasks.argoproj.io/status"},
		{"rolebinding", "gc", "--role=gc", "--serviceaccount=" + b.namespace + ":gc"},
	} {
		b.kubectl(t, wec, append([]string{"-n", b.namespace, "create"}, args...)...)
	}
	b.create(t, b.namespace, strings.Replace(suspended("garbage", "cluster1", shell("echo early > /tmp/early; echo late > /tmp/late")+`
  outputs:
    artifacts:
    - {name: early, path: /tmp/early, artifactGC: {strategy: OnWorkflowCompletion}}
    - {name: late, path: /tmp/late, artifactGC: {strategy: OnWorkflowDeletion}}`), "entrypoint: main", "entrypoint: main\n  artifactGC: {serviceAccountName: gc}", 1))
	ended := b.awaitEnd(t, "garbage", wfv1.WorkflowSucceeded)
	node := onlyPod(t, ended)
	early, late := keyOf(t, node, "early"), keyOf(t, node, "late")
	b.hub.await(t, b.namespace, "garbage", "shows which artifact is gone", func(w *wfv1.Workflow) error {
		if slices.Contains(w.Finalizers, stellarflow.ArgoFinalizerArtifactGC) {
			return finalError{fmt.Errorf("its finalizers are %v", w.Finalizers)}
		}
		for _, artifact := range onlyPod(t, w).Outputs.Artifacts {
			if artifact.Deleted != (artifact.Name == "early") {
				return fmt.Errorf("artifact %s is deleted: %v", artifact.Name, artifact.Deleted)
			}
		}
		return nil
	})
	if b.stored(t, early) || !b.stored(t, late) {
		t.Errorf("after its end: %s is there: %v, %s: %v", early, b.stored(t, early), late, b.stored(t, late))
	}
	b.kubectl(t, b.hub, "-n", b.namespace, "delete", "workflow", "garbage", "--wait=false")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	b.awaitNone(ctx, t, b.namespace, "garbage")
	if b.stored(t, late) {
		t.Errorf("it is gone, and %s is there", late)
	}
	for c, want := range map[*cluster]int{b.hub: 0, wec: 2} {
		if collectors := c.collectors(t, b.namespace); len(collectors) != want {
			t.Errorf("on %s these pods removed artifacts: %v; wanted %d", c.name, collectors, want)
		}
	}
}

// collectors are the pods that removed artifacts, by what the cluster's events tell of them: they are gone with their work.
func (c *cluster) collectors(t *testing.T, namespace string) map[string]bool {
	t.Helper()
	events, err := c.core.CoreV1().Events(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pods := map[string]bool{}
	for i := range events.Items {
		if about := events.Items[i].InvolvedObject; about.Kind == "Pod" && strings.Contains(about.Name, "-artgc-") {
			pods[about.Name] = true
		}
	}
	return pods
}
