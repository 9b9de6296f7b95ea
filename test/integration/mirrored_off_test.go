package integration

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/cli"
	"stellarflow.io/stellarflow/pkg/hub/podmirror"
)

// TestInstallMirrorsNone installs a hub that shows a pod with --mirror-pods off, and with on again. The test is the Deployment's controller: what the
// hub manager's pods say is what it starts. The old manager outlives the rollout for a while, as pods that are being deleted do.
func TestInstallMirrorsNone(t *testing.T) {
	hub, wec1 := startAPIServer(t), startAPIServer(t)
	controllerManager(t, hub)
	controllerManager(t, wec1)
	c := newCommandLine(t, hub)
	c.file("wec1.kubeconfig", wec1.kubeconfig)
	install := []string{"install", "--kubeconfig=DIR/hub.kubeconfig", "--skip-store-check", "--argo-controller=none"}
	c.must(nil, append(slices.Clone(install), "--artifact-store=DIR/store.env", "--wait=false")...)
	c.must(nil, "join", "cluster1", "--kubeconfig=DIR/wec1.kubeconfig", "--hub-kubeconfig=DIR/hub.kubeconfig", "--wait=false")
	if err := hub.served(t); err != nil {
		t.Fatal(err)
	}
	both := &clusters{hub: hub, wecs: map[string]*server{"cluster1": wec1}}
	both.create(t, policy("cluster1", map[string]string{"name": "cluster1"}))
	if !hub.rollOut(t) {
		t.Fatal("a new hub is to mirror pods")
	}
	manager := startManager(t, both, managerOptions{kubelet: freeAddress(t)})
	m := mirroring{clusters: both, ns: both.namespace(t)}.run(t, "hello")
	m.begin(t, "hello-a-1234567890")
	first := m.waitMirror(t, "hello-a-1234567890", "the mirror", shows(corev1.PodRunning))
	node := hub.virtualNode(t)

	old := hub.managerPod(t)
	ended := c.start(append(slices.Clone(install), "--mirror-pods=off")...)
	if hub.rollOut(t) {
		t.Fatal("the new manager is to mirror none")
	}
	neverWithin(t, 2*time.Second, "the mirrors are removed while a manager makes them", func() bool {
		now, err := hub.core.CoreV1().Pods(m.ns).Get(t.Context(), "hello-a-1234567890", metav1.GetOptions{})
		return err != nil || now.UID != first.UID || len(ended) > 0
	})
	manager.stop()
	hub.endPod(t, old)
	if said := <-ended; !strings.Contains(said, "deleted Node stellarflow-cluster1") {
		t.Errorf("it says %q", said)
	}
	wantNone := func() {
		t.Helper()
		pods, err := hub.core.CoreV1().Pods(metav1.NamespaceAll).List(t.Context(), metav1.ListOptions{LabelSelector: stellarflow.LabelCluster})
		if err != nil || len(pods.Items) > 0 {
			t.Errorf("%d mirrored pods are left (%v)", len(pods.Items), err)
		}
		nodes, err := hub.core.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
		if err != nil || len(nodes.Items) > 0 {
			t.Errorf("%d virtual nodes are left (%v)", len(nodes.Items), err)
		}
	}
	wantNone()
	lease, err := hub.core.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(t.Context(), node.Name, metav1.GetOptions{})
	if err != nil || len(lease.OwnerReferences) != 1 || lease.OwnerReferences[0].UID != node.UID { // garbage collection takes it along
		t.Errorf("the lease of a node that is gone belongs to %v (%v)", lease.OwnerReferences, err)
	}

	manager = startManager(t, both, managerOptions{})
	m.wec.argo(t, m.ns, "hello", "Running", "more")
	hub.waitFor(t, m.ns, "hello", "its status without mirrored pods", func(w *unstructured.Unstructured) bool { return nodePhase(w, "more") == "Running" })
	wantNone()
	if there := m.real(t, "hello-a-1234567890"); there.DeletionTimestamp != nil {
		t.Error("the real pod is deleted")
	}

	old = hub.managerPod(t)
	ended = c.start(append(slices.Clone(install), "--mirror-pods=on")...)
	if !hub.rollOut(t) {
		t.Error("the manager is to mirror pods again")
	}
	manager.stop()
	hub.endPod(t, old)
	<-ended
	startManager(t, both, managerOptions{kubelet: freeAddress(t)})
	again := m.waitMirror(t, "hello-a-1234567890", "the mirror again", shows(corev1.PodRunning))
	if again.Labels[stellarflow.LabelMirrorOf] != first.Labels[stellarflow.LabelMirrorOf] {
		t.Errorf("it shows pod %s, and showed %s", again.Labels[stellarflow.LabelMirrorOf], first.Labels[stellarflow.LabelMirrorOf])
	}
	if made := hub.virtualNode(t); made.UID == node.UID {
		t.Error("the node was never removed")
	}
}

// start runs a command that must succeed, and waits for what others do. What it says comes when it has ended.
func (c *commandLine) start(args ...string) <-chan string {
	ended := make(chan string, 1)
	go func() {
		code, said := c.run(args...)
		if code != cli.ExitOK {
			c.t.Errorf("stellarflow %s: exit code %d: %s", strings.Join(args, " "), code, said)
		}
		ended <- said
	}()
	return ended
}

// rollOut makes a pod of the hub manager's newest template, says of the Deployment that nothing is left to do, and reports whether that manager
// mirrors pods.
func (s *server) rollOut(t *testing.T) bool {
	t.Helper()
	deployments := s.core.AppsV1().Deployments(stellarflow.SystemNamespace)
	var deployment *appsv1.Deployment
	eventually(t, "a new template of the hub manager", func(ctx context.Context) (bool, string) {
		var err error
		deployment, err = deployments.Get(ctx, "stellarflow-hub", metav1.GetOptions{})
		return err == nil && deployment.Status.ObservedGeneration < deployment.Generation, fmt.Sprint(err)
	})
	template := deployment.Spec.Template
	if _, err := s.core.CoreV1().Pods(deployment.Namespace).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "stellarflow-hub-", Labels: template.Labels}, Spec: template.Spec,
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	n := *deployment.Spec.Replicas
	deployment.Status = appsv1.DeploymentStatus{ObservedGeneration: deployment.Generation, Replicas: n, UpdatedReplicas: n, ReadyReplicas: n, AvailableReplicas: n}
	if _, err := deployments.UpdateStatus(t.Context(), deployment, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	return !slices.Contains(template.Spec.Containers[0].Args, "--kubelet-bind-address=0")
}

// managerPod is the name of the hub manager's one pod.
func (s *server) managerPod(t *testing.T) string {
	t.Helper()
	pods, err := s.core.CoreV1().Pods(stellarflow.SystemNamespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=stellarflow-hub"})
	if err != nil || len(pods.Items) != 1 {
		t.Fatalf("the hub manager has %d pods, %v", len(pods.Items), err)
	}
	return pods.Items[0].Name
}

// endPod removes a pod of the hub manager.
func (s *server) endPod(t *testing.T, name string) {
	t.Helper()
	if err := s.core.CoreV1().Pods(stellarflow.SystemNamespace).Delete(t.Context(), name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}); err != nil {
		t.Fatal(err)
	}
}

// virtualNode waits for the Node that stands for cluster1, with its Lease.
func (s *server) virtualNode(t *testing.T) *corev1.Node {
	t.Helper()
	var node *corev1.Node
	name := podmirror.NodeName("cluster1")
	eventually(t, "node "+name+" and its lease", func(ctx context.Context) (bool, string) {
		var err error
		if node, err = s.core.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{}); err != nil {
			return false, err.Error()
		}
		lease, err := s.core.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(ctx, name, metav1.GetOptions{})
		return err == nil && len(lease.OwnerReferences) == 1 && lease.OwnerReferences[0].UID == node.UID, fmt.Sprint(err)
	})
	return node
}
