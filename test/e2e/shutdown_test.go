package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// long runs until it is ended, and has an exit handler.
func long(name, target string) string {
	return strings.Replace(suspended(name, target, shell("trap 'exit 1' TERM; sleep 600 & wait")+"\n- name: leave\n  container: {image: busybox, command: [echo], args: [left]}"),
		"entrypoint: main", "entrypoint: main\n  onExit: leave", 1)
}

// ask calls the hub's Argo server as its UI does.
func (f *fleet) ask(t *testing.T, method, path, body string) (string, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, f.setting("ARGO_URL")+path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer any") // or it takes an event for a foreign webhook's
	return answerTo(request)
}

// testShutdown stops and terminates on the hub, in every way that people have, what runs elsewhere.
func testShutdown(t *testing.T, f *fleet) {
	namespace := f.newNamespace(t, "shutdown")
	server := f.argoServer()
	ways := map[string]struct {
		strategy string
		end      func(name string) (string, error)
	}{
		"argo-stop": {"Stop", func(name string) (string, error) { return f.argo(t, "stop", "-n", namespace, name) }},
		"server-terminate": {"Terminate", func(name string) (string, error) {
			return f.try(t.Context(), server, f.bin("argo"), "terminate", "-n", namespace, name)
		}},
		"ui-stop": {"Stop", func(name string) (string, error) {
			return f.ask(t, http.MethodPut, "/api/v1/workflows/"+namespace+"/"+name+"/stop", fmt.Sprintf(`{"name":%q,"namespace":%q}`, name, namespace))
		}},
		"kubectl-terminate": {"Terminate", func(name string) (string, error) {
			return f.tryKubectl(t, f.hub, "-n", namespace, "patch", "workflow", name, "--type=merge", "-p", `{"spec":{"shutdown":"Terminate"}}`)
		}},
	}
	target := map[string]string{"Stop": "cluster1", "Terminate": "cluster2"}
	for name, way := range ways {
		f.create(t, namespace, long(name, target[way.strategy]))
	}
	nowhere := namespace + "-nowhere" // a label of its own: other suites count on it that nobody selects theirs
	f.create(t, namespace, suspended("waits", nowhere, shell("echo ran")))
	f.applyPolicy(t, nowhere, policy(nowhere, nowhere, "", `{"matchLabels": {"name": "cluster9"}}`))
	for name, way := range ways {
		f.hub.awaitPod(t, namespace, name)
		if out, err := way.end(name); err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
	for name, way := range ways {
		hubCopy := f.hub.await(t, namespace, name, "ends", func(w *wfv1.Workflow) error {
			if w.Status.Phase != wfv1.WorkflowFailed && w.Status.Phase != wfv1.WorkflowError { // Argo may lose sight of a pod that it has stopped
				return fmt.Errorf("it is %q: %s", w.Status.Phase, w.Status.Message)
			}
			return nil
		})
		if want := "Stopped with strategy '" + way.strategy + "'"; hubCopy.Status.Message != want {
			t.Errorf("%s: want the message %q, got %q", name, want, hubCopy.Status.Message)
		}
		if left := len(nodesOf(hubCopy, wfv1.NodeTypePod)) == 2; left != (way.strategy == "Stop") {
			t.Errorf("%s: the exit handler ran: %v; nodes %v", name, left, nodesOf(hubCopy, wfv1.NodeTypePod))
		}
		f.compareCopies(t, hubCopy, f.wecs[target[way.strategy]])
		if n := f.hub.countPods(t, namespace, name); n > 0 {
			t.Errorf("%s has %d pods on the hub", name, n)
		}
		if out, err := f.argo(t, "stop", "-n", namespace, name); err == nil { // Argo's own answer
			t.Errorf("%s was stopped again: %s", name, out)
		}
	}

	f.checkBornStopped(t, f.wecs["cluster1"], namespace)
	f.hub.await(t, namespace, "waits", "waits", func(w *wfv1.Workflow) error {
		return wants(w.Status.Message, "Waiting for a cluster")
	})
	if out, err := f.argo(t, "stop", "-n", namespace, "waits"); err != nil {
		t.Errorf("stop what waits: %v: %s", err, out)
	}
	if ended := f.hub.awaitPhase(t, namespace, "waits", wfv1.WorkflowFailed); ended.Status.Message != "Stopped with strategy 'Stop'" {
		t.Errorf("what waited says %q", ended.Status.Message)
	}
	if out, err := f.tryKubectl(t, f.hub, "-n", namespace, "get", "events"); err != nil || wants(out, "ShutdownPassedOn", "ended before it was created on a cluster") != nil {
		t.Errorf("the events do not tell: %v: %s", err, out)
	}
}

// checkBornStopped checks what a copy relies on that is created after somebody has asked for its end: Argo runs nothing of it but, after
// a stop, the exit handler.
func (f *fleet) checkBornStopped(t *testing.T, wec *cluster, namespace string) {
	t.Helper()
	workflows := wec.workflows.Namespace(namespace)
	for strategy, pods := range map[string]int{"Stop": 1, "Terminate": 0} {
		name := "born-" + strings.ToLower(strategy)
		var object map[string]any
		if err := yaml.Unmarshal([]byte(strings.Replace(long(name, "nobody"), "suspend: true", "shutdown: "+strategy, 1)), &object); err != nil {
			t.Fatal(err)
		}
		if _, err := workflows.Create(t.Context(), &unstructured.Unstructured{Object: object}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		ended := wec.await(t, namespace, name, "ends", func(w *wfv1.Workflow) error {
			if !w.Status.Phase.Completed() {
				return fmt.Errorf("it is %q: %s", w.Status.Phase, w.Status.Message)
			}
			return nil
		})
		if n := wec.countPods(t, namespace, name); n != pods || ended.Status.Phase == wfv1.WorkflowSucceeded {
			t.Errorf("%s: it is %s after %d pods, want %d", name, ended.Status.Phase, n, pods)
		}
		if err := workflows.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	}
}
