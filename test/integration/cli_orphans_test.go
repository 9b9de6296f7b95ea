package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/cli"
	"stellarflow.io/stellarflow/pkg/hub/podmirror"
)

// orphanList is the answer of orphans list.
type orphanList struct {
	Orphans []struct {
		Cluster, Namespace, Name, UID, HubUID, Phase, Why string
		Finished                                          bool
	}
	Unchecked []string
}

// orphaned makes a Workflow run on cluster1 and removes its hub copy by force, acting as the hub manager.
func orphaned(t *testing.T, c *clusters, ns, name string) *unstructured.Unstructured {
	t.Helper()
	c.submit(t, ns, name, "cluster1")
	c.wecs["cluster1"].waitFor(t, ns, name, "the WEC copy", exists)
	c.wecs["cluster1"].argo(t, ns, name, "Running")
	c.hub.waitFor(t, ns, name, "Running on the hub", inPhase("Running"))
	asManager := c.hub.as(t, hubManager).Resource(stellarflow.Workflows).Namespace(ns)
	forget := []byte(`{"metadata":{"finalizers":null}}`)
	if _, err := asManager.Patch(t.Context(), name, types.MergePatchType, forget, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := asManager.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.hub.waitFor(t, ns, name, "the hub copy to be gone", gone)
	return c.wecs["cluster1"].get(t.Context(), ns, name)
}

func TestOrphansByHand(t *testing.T) {
	c := sharedClusters(t)
	ns := c.namespace(t)
	c.create(t, policy("cluster1", map[string]string{"name": "cluster1"}))
	c.join(t, "cluster1", ns)
	startManager(t, c, managerOptions{})
	command := newCommandLine(t, c.hub)
	hub := "--kubeconfig=DIR/hub.kubeconfig"

	lost := orphaned(t, c, ns, "lost")
	claimed := c.submit(t, ns, "claimed", "cluster1")
	c.wecs["cluster1"].waitFor(t, ns, "claimed", "the WEC copy", exists)
	foreign := claimed.DeepCopy()
	foreign.SetName("foreign")
	foreign.SetUID("")
	foreign.SetResourceVersion("")
	if _, err := c.wecs["cluster1"].workflows(ns).Create(t.Context(), foreign, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.wipe(ns, "foreign") })

	var list orphanList
	if code := command.json(&list, "orphans", "list", hub); code != cli.ExitOK || len(list.Orphans) != 1 {
		t.Fatalf("want one orphan, got %d, %+v", code, list)
	}
	if o := list.Orphans[0]; o.Cluster != "cluster1" || o.Name != "lost" || o.UID != string(lost.GetUID()) || o.Phase != "Running" || o.Finished || !strings.HasPrefix(o.Why, "no Workflow of the hub has the UID") {
		t.Errorf("the orphan: %+v", o)
	}
	command.must([]string{"cluster1   " + ns + "/lost   Running   1"}, "orphans", "list", hub)
	command.refuses(cli.ExitFailure, "is no orphan: it is the copy of the Workflow", "orphans", "delete", "cluster1", ns+"/claimed", hub)
	command.refuses(cli.ExitFailure, "is not from this hub: it is not touched", "orphans", "delete", "cluster1", ns+"/foreign", hub)
	command.refuses(cli.ExitFailure, "there is no workflow "+ns+"/nothing on cluster", "orphans", "delete", "cluster1", ns+"/nothing", hub)
	command.refuses(cli.ExitFailure, `cluster "nobody" is not joined`, "orphans", "adopt", "nobody", ns+"/lost", hub)

	command.must([]string{"deleted"}, "orphans", "delete", "cluster1", ns+"/lost", hub)
	if left := c.wecs["cluster1"].get(t.Context(), ns, "lost"); left != nil {
		t.Errorf("it is still there: %s", describe(left))
	}
	if c.wecs["cluster1"].get(t.Context(), ns, "claimed") == nil || c.wecs["cluster1"].get(t.Context(), ns, "foreign") == nil {
		t.Error("a delete touched what it was not asked for")
	}
	command.must([]string{"No orphan was found."}, "orphans", "list", hub)
}

// After a forced uninstall nothing of ours is in the way of an ordinary user, on the hub and on the cluster.
func TestUninstallLeavesNothingInTheWay(t *testing.T) {
	hub, wec1 := startAPIServer(t), startAPIServer(t)
	controllerManager(t, hub)
	controllerManager(t, wec1)
	c := newCommandLine(t, hub)
	c.file("wec1.kubeconfig", wec1.kubeconfig)
	c.must(nil, "install", "--kubeconfig=DIR/hub.kubeconfig", "--artifact-store=DIR/store.env", "--skip-store-check", "--wait=false", "--argo-controller=none")
	c.must(nil, "join", "cluster1", "--kubeconfig=DIR/wec1.kubeconfig", "--hub-kubeconfig=DIR/hub.kubeconfig", "--wait=false")
	hubID := systemUID(t, hub)
	placed(t, hub, "runs")
	wecCopy := guardedWorkflow("runs")
	wecCopy.SetLabels(map[string]string{stellarflow.LabelOrigin: hubID})
	wecCopy.SetFinalizers([]string{"example.com/other", stellarflow.FinalizerHarvest})
	if _, err := workflows(wec1.dynamic).Create(t.Context(), wecCopy, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for name, origin := range map[string]string{"ours": hubID, "theirs": "another-hub"} {
		wec1.put(t, "default", cm, name, fmt.Sprintf(`{metadata: {labels: {stellarflow.io/origin: %s, stellarflow.io/dependency: "true"}, annotations: {stellarflow.io/source: ConfigMap/default/%s}}}`, origin, name))
	}
	mirror := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "mirror", Labels: map[string]string{stellarflow.LabelMirrorOf: "real", stellarflow.LabelCluster: "cluster1"}}}
	mirror.Spec = corev1.PodSpec{NodeName: podmirror.NodeName("cluster1"), Containers: []corev1.Container{{Name: "main", Image: podmirror.Image}}}
	if _, err := hub.core.CoreV1().Pods("default").Create(t.Context(), mirror, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// A credential that leads nowhere does not keep the hub from going.
	secret, err := hub.core.CoreV1().Secrets(stellarflow.SystemNamespace).Get(t.Context(), "cluster-cluster1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	secret.ResourceVersion, secret.UID, secret.Name = "", "", "cluster-away"
	secret.Labels[stellarflow.LabelManagedCluster] = "away"
	secret.Data["kubeconfig"] = []byte(strings.ReplaceAll(string(secret.Data["kubeconfig"]), wec1.address(), "127.0.0.1:1"))
	if _, err := hub.core.CoreV1().Secrets(stellarflow.SystemNamespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}

	var answer struct{ Deleted, Released, MayStillRun []string }
	if code := c.json(&answer, "uninstall", "--kubeconfig=DIR/hub.kubeconfig", "--force"); code != cli.ExitOK || len(answer.MayStillRun) != 1 || len(answer.Released) != 1 || len(answer.Deleted) < 10 {
		t.Errorf("the answer of uninstall: %d, %+v", code, answer)
	}
	if _, err := hub.core.CoreV1().Pods("default").Get(t.Context(), "mirror", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the mirrored pod is to go: %v", err)
	}
	left, err := workflows(wec1.dynamic).Get(t.Context(), "runs", metav1.GetOptions{})
	if err != nil || len(left.GetFinalizers()) != 1 || left.GetFinalizers()[0] != "example.com/other" {
		t.Errorf("on the cluster our finalizer goes, and no other: %v, %v", left.GetFinalizers(), err)
	}
	if wec1.look(t.Context(), t, "default", cm, "ours") != nil || wec1.look(t.Context(), t, "default", cm, "theirs") == nil {
		t.Error("what the hub had copied there is to go, and nothing else")
	}
	user := hub.as(t, "alice")
	eventually(t, "a user to resume the Workflow", func(ctx context.Context) (bool, string) { // API servers learn of the guard's end after a moment
		_, err := patchWorkflow(ctx, user, "runs", `{"metadata":{"labels":{"stellarflow.io/cluster":null},"annotations":{"stellarflow.io/placement":null}},"spec":{"suspend":null}}`)
		if err != nil {
			return false, err.Error()
		}
		return true, ""
	})
	if err := workflows(user).Delete(t.Context(), "runs", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if hub.get(t.Context(), "default", "runs") != nil {
		t.Error("the Workflow cannot be deleted")
	}
}

func systemUID(t *testing.T, s *server) string {
	t.Helper()
	system, err := s.core.CoreV1().Namespaces().Get(t.Context(), metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return string(system.UID)
}
