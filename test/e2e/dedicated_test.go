package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// onDedicated are the suites that run side by side on a dedicated hub, the longest first. Those that write to placed Workflows need a manager that answers.
var onDedicated = []suite{
	{"dependencies", testDependencies},
	{"cron", testCron},
	{"actions", testActions},
	{"suspend", testSuspend},
	{"shutdown", testShutdown},
	{"delete", testDelete},
	{"beside", testBeside},
	{"entry", testEntry},
}

// testDedicated makes the hub a dedicated one, whose Argo controller has no workers for Workflows, and then a shared one again while Workflows run.
func testDedicated(t *testing.T, f *fleet) {
	f.awaitManagers(t)
	f.scaleArgo(t, 0)
	t.Cleanup(func() { f.startArgo(t, argoDoesAll) })
	f.obey(t, f.awaitAilment(t, "argo-controller-none-runs"), "") // which installs the profile
	f.awaitManagers(t)
	f.profile = stellarflow.ProfileDedicated
	defer func() { f.profile = stellarflow.ProfileShared }()
	f.keepsHouse(t)
	t.Run("side-by-side", func(t *testing.T) {
		for _, s := range onDedicated {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				s.run(t, f)
			})
		}
	})
	t.Run("truth", func(t *testing.T) { f.runTruth(t, f.deleteManagers) })
	f.awaitManagers(t)
	f.checkNoController(t)
	f.becomesShared(t)
}

// argoDoesAll are the arguments and the environment of Argo's own manifests, argoKeepsHouse those of a controller without workers for Workflows.
const (
	argoDoesAll    = `"args":null,"env":[{"name":"HEALTHZ_AGE","$patch":"delete"}]`
	argoKeepsHouse = `"args":["--workflow-workers=0"],"env":[{"name":"HEALTHZ_AGE","value":"87600h"}]`
)

// startArgo starts the hub's Argo controller with arguments and environment.
func (f *fleet) startArgo(t *testing.T, with string) {
	t.Helper()
	f.patchArgo(t, "deployment", "workflow-controller", `{"spec":{"template":{"spec":{"containers":[{"name":"workflow-controller",`+with+`}]}}}}`)
	f.scaleArgo(t, 1)
}

// patchArgo changes what the hub's Argo controller is made of, also when the test has ended.
func (f *fleet) patchArgo(t *testing.T, kind, name, patch string) {
	t.Helper()
	if _, err := f.try(context.Background(), nil, f.bin("kubectl"), "--kubeconfig", f.hub.kubeconfig, "-n", argoNamespace, "patch", kind, name, "-p", patch); err != nil {
		t.Fatal(err)
	}
}

// keepsHouse starts the hub's Argo controller without workers for Workflows: it does what is not about running them, and neither the install nor
// doctor has anything against it.
func (f *fleet) keepsHouse(t *testing.T) {
	t.Helper()
	f.startArgo(t, argoKeepsHouse)
	f.awaitCured(t, "argo-controller-on-dedicated-hub")
	if out, err := f.stellarflow(t, "install"); err != nil {
		t.Fatalf("install beside a controller without workers for Workflows: %v: %s", err, out)
	}
}

// scaleArgo stops or starts the hub's Argo controller.
func (f *fleet) scaleArgo(t *testing.T, replicas int) {
	t.Helper()
	scale := []string{"--kubeconfig", f.hub.kubeconfig, "-n", argoNamespace, "scale", "deployment", "workflow-controller", fmt.Sprintf("--replicas=%d", replicas)}
	wait := []string{"--kubeconfig", f.hub.kubeconfig, "-n", argoNamespace, "rollout", "status", "deployment", "workflow-controller", "--timeout=120s"}
	for _, args := range [][]string{scale, wait} {
		if _, err := f.try(context.Background(), nil, f.bin("kubectl"), args...); err != nil {
			t.Fatal(err)
		}
	}
}

// checkNoController starts something that is a controller by its name: the install refuses, and doctor finds it.
func (f *fleet) checkNoController(t *testing.T) {
	t.Helper()
	f.kubectl(t, f.hub, "create", "namespace", "second-argo")
	f.kubectl(t, f.hub, "-n", "second-argo", "create", "deployment", "workflow-controller", "--image=workflow-controller:v3.7.18")
	if out, err := f.stellarflow(t, "install"); err == nil || wants(out, "on a dedicated hub none may act on Workflows", "kubectl -n second-argo scale deployment workflow-controller --replicas=0") != nil {
		t.Errorf("install beside a controller: %v: %s", err, out)
	}
	f.obey(t, f.awaitAilment(t, "argo-controller-on-dedicated-hub"), "")
	f.awaitCured(t, "argo-controller-on-dedicated-hub")
	f.kubectl(t, f.hub, "-n", "second-argo", "delete", "deployment", "workflow-controller")
	f.kubectl(t, f.hub, "delete", "namespace", "second-argo", "--wait=false")
}

// becomesShared makes the hub a shared one while a Workflow runs and another is suspended: both are, on the hub, before its controller starts,
// and go on.
func (f *fleet) becomesShared(t *testing.T) {
	t.Helper()
	namespace := f.newNamespace(t, "becomes")
	for name, target := range map[string]string{"runs": "cluster1", "held": "cluster2"} {
		f.create(t, namespace, suspended(name, target, gated("through")))
	}
	for _, name := range []string{"runs", "held"} {
		f.hub.awaitPod(t, namespace, name)
	}
	f.suspends(t, namespace, "held", true, func() error {
		_, err := f.argo(t, "suspend", "held", "-n", namespace)
		return err
	})
	if out, err := f.stellarflow(t, "install", "--profile", "shared"); err != nil || wants(out, "all placed Workflows are suspended on the hub again") != nil {
		t.Fatalf("install --profile shared: %v: %s", err, out)
	}
	f.profile = stellarflow.ProfileShared
	for _, name := range []string{"runs", "held"} {
		if w, err := f.hub.get(t.Context(), namespace, name); err != nil || w.Spec.Suspend == nil || !*w.Spec.Suspend || stellarflow.FollowsWECCopy(w) {
			t.Errorf("%s would be started by the hub's Argo: %+v (%v)", name, w, err)
		}
	}
	f.startArgo(t, argoDoesAll)
	f.awaitManagers(t)
	if out, err := f.argo(t, "resume", "held", "-n", namespace); err != nil {
		t.Fatalf("argo resume: %v: %s", err, out)
	}
	for name, target := range map[string]string{"runs": "cluster1", "held": "cluster2"} {
		f.openGate(t, f.wecs[target], namespace, name)
		f.awaitRun(t, namespace, name, target, 1)
	}
}

// suspends does something until the hub shows that the cluster has done it, too.
func (f *fleet) suspends(t *testing.T, namespace, name string, wanted bool, act func() error) {
	t.Helper()
	if err := act(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	f.hub.await(t, namespace, name, fmt.Sprintf("suspended on its cluster: %v", wanted), func(w *wfv1.Workflow) error {
		here, there := w.Spec.Suspend != nil && *w.Spec.Suspend, w.Annotations[stellarflow.AnnotationSuspended] == "true"
		if waits := w.Annotations[stellarflow.AnnotationIntents]; here != wanted || there != wanted || waits != "" {
			return fmt.Errorf("spec.suspend is %v, there %v, and there waits %q", here, there, waits)
		}
		return nil
	})
}

// testSuspend suspends and resumes in every way that stock tools have: Argo's CLI, its server as the UI asks it, and kubectl.
func testSuspend(t *testing.T, f *fleet) {
	namespace := f.newNamespace(t, "suspend")
	asks := func(verb, name string) error {
		_, err := f.ask(t, http.MethodPut, "/api/v1/workflows/"+namespace+"/"+name+"/"+verb, fmt.Sprintf(`{"name":%q,"namespace":%q}`, name, namespace))
		return err
	}
	commands := func(verb, name string) error {
		_, err := f.argo(t, verb, name, "-n", namespace)
		return err
	}
	patches := func(verb, name string) error {
		_, err := f.tryKubectl(t, f.hub, "-n", namespace, "patch", "workflow", name, "--type=merge", "-p", fmt.Sprintf(`{"spec":{"suspend":%v}}`, verb == "suspend"))
		return err
	}
	for name, act := range map[string]func(verb, name string) error{"by-argo": commands, "in-the-ui": asks, "by-kubectl": patches} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f.create(t, namespace, suspended(name, "cluster1", strings.Replace(pausing, "suspend: {}", strings.TrimPrefix(gated("paused"), "- name: main\n  "), 1)))
			f.hub.awaitPod(t, namespace, name)
			f.suspends(t, namespace, name, true, func() error { return act("suspend", name) })
			f.suspends(t, namespace, name, false, func() error { return act("resume", name) })
			if err := errors.Join(act("suspend", name), act("resume", name)); err != nil { // the second before the cluster has done the first
				t.Fatal(err)
			}
			f.suspends(t, namespace, name, true, func() error { return act("suspend", name) })
			f.openGate(t, f.wecs["cluster1"], namespace, name)
			f.hub.await(t, namespace, name, "its first step ends and no other begins", func(w *wfv1.Workflow) error {
				if node := w.Status.Nodes.FindByDisplayName("pause"); node == nil || node.Phase != wfv1.NodeSucceeded {
					return fmt.Errorf("the step is %v", node)
				}
				return nil
			})
			if w, err := f.wecs["cluster1"].get(t.Context(), namespace, name); err != nil || w.Status.Nodes.FindByDisplayName("go") != nil {
				t.Errorf("the next step began: %v", err)
			}
			if err := act("resume", name); err != nil {
				t.Fatal(err)
			}
			f.awaitRun(t, namespace, name, "cluster1", 2)
		})
	}
}
