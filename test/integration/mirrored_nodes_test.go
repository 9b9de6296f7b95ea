package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/podmirror"
)

// waitNode waits until a Node of the hub is as wanted.
func (c *clusters) waitNode(t *testing.T, name, what string, ok func(*corev1.Node) bool) *corev1.Node {
	t.Helper()
	var node *corev1.Node
	eventually(t, what, func(ctx context.Context) (bool, string) {
		var err error
		node, err = c.hub.core.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		return err == nil && ok(node), fmt.Sprintf("%v %+v", err, node)
	})
	return node
}

// connected reports whether a virtual Node says that its cluster is, with what message.
func connected(status corev1.ConditionStatus, part string) func(*corev1.Node) bool {
	return func(node *corev1.Node) bool {
		for _, condition := range node.Status.Conditions {
			if condition.Type == podmirror.ConditionConnected {
				return condition.Status == status && strings.Contains(condition.Message, part)
			}
		}
		return false
	}
}

// TestMirroredPodsWithoutCredential: a cluster whose credential is gone keeps its Node and the mirrors of its pods, but for those that are to go
// whatever runs there. No real pod is touched.
func TestMirroredPodsWithoutCredential(t *testing.T) {
	c := sharedClusters(t)
	options := managerOptions{kubelet: freeAddress(t), webhook: c.serveWebhook(t)}
	c, manager, ns := setUp(t, options)
	c.forgetsRestores(t)
	given := mirroring{clusters: c, ns: ns}.run(t, "given")
	given.begin(t, "given-a")
	m := mirroring{clusters: c, ns: ns}.run(t, "hello")
	c.trusted(t, ns, "hello")
	for _, name := range []string{"hello-stays", "hello-person", "hello-gc"} {
		m.begin(t, name)
	}
	for _, name := range []string{"given-a", "hello-stays", "hello-person", "hello-gc"} {
		m.waitMirror(t, name, "the mirror of "+name, shows(corev1.PodRunning))
	}
	node := c.waitNode(t, "stellarflow-cluster1", "a connected node", connected(corev1.ConditionTrue, ""))
	leases := c.hub.core.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	secrets := c.hub.core.CoreV1().Secrets(stellarflow.SystemNamespace)
	credential, err := secrets.Get(t.Context(), stellarflow.CredentialName("cluster1"), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := secrets.Delete(t.Context(), credential.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.waitNode(t, node.Name, "its condition", connected(corev1.ConditionFalse, "there is no credential for it"))
	before, err := leases.Get(t.Context(), node.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}

	remove := func(by, name string) {
		t.Helper()
		if err := c.hub.coreAs(t, by).CoreV1().Pods(ns).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	remove("jane", "hello-person")
	remove(garbageCollector, "hello-gc")
	m.waitMirror(t, "hello-gc", "its end", noPod)
	c.ask(t, ns, "given", stellarflow.RequestAbandon)
	m.waitMirror(t, "given-a", "its end", noPod)
	m.waitMirror(t, "hello-person", "that it waits for its cluster", func(p *corev1.Pod) bool { return p != nil && p.DeletionTimestamp != nil })
	eventually(t, "the lease to be renewed", func(ctx context.Context) (bool, string) {
		now, err := leases.Get(ctx, node.Name, metav1.GetOptions{})
		return err == nil && now.Spec.RenewTime.After(before.Spec.RenewTime.Time), fmt.Sprint(err, now)
	})

	manager.stop()
	later := shifted(10 * time.Minute)
	later.kubelet, later.webhook = freeAddress(t), options.webhook
	startManager(t, c, later)
	m.waitMirror(t, "hello-person", "its end", noPod)
	c.waitEvent(t, ns, "hello", "PodNotDeleted", "whether pod hello-person on cluster cluster1 is deleted, as it was here, is not known")
	m.waitMirror(t, "hello-stays", "the other as it was", shows(corev1.PodRunning))
	if now := c.waitNode(t, node.Name, "the node", func(*corev1.Node) bool { return true }); now.UID != node.UID {
		t.Error("it is another node")
	}
	credential.ResourceVersion, credential.UID = "", ""
	if _, err := secrets.Create(t.Context(), credential, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"hello-stays", "hello-person", "hello-gc"} {
		m.waitMirror(t, name, "the mirror of "+name+" when the cluster is back", shows(corev1.PodRunning))
		if there := m.real(t, name); there.DeletionTimestamp != nil {
			t.Errorf("the real pod of %s is deleted", name)
		}
	}
	if there := given.real(t, "given-a"); there.DeletionTimestamp != nil {
		t.Error("the real pod of what was given up is deleted")
	}
}

// TestVirtualNodesAreRepaired: a Node gets back what somebody takes off, and stays the same one, cordoned if it is; one of somebody else's that has its
// name is left alone and said.
func TestVirtualNodesAreRepaired(t *testing.T) {
	c := sharedClusters(t)
	nodes, background := c.hub.core.CoreV1().Nodes(), context.Background()
	if err := nodes.Delete(background, "stellarflow-cluster2", metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	theirs, err := nodes.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "stellarflow-cluster2"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nodes.Delete(background, theirs.Name, metav1.DeleteOptions{}) })
	m, _ := mirrorPods(t)
	m.begin(t, "hello-a")
	mirror := m.waitMirror(t, "hello-a", "the mirror", shows(corev1.PodRunning))
	before := m.waitNode(t, "stellarflow-cluster1", "a connected node", connected(corev1.ConditionTrue, ""))
	t.Cleanup(func() {
		_, _ = nodes.Patch(background, before.Name, types.MergePatchType, []byte(`{"spec":{"unschedulable":null}}`), metav1.PatchOptions{})
	})
	for what, patch := range map[string]string{
		"taints": `{"spec":{"unschedulable":true,"taints":null}}`, "a label": `{"metadata":{"labels":{"type":null}}}`, "all labels": `{"metadata":{"labels":null}}`,
	} {
		t.Run(what, func(t *testing.T) {
			if _, err := nodes.Patch(t.Context(), before.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
				t.Fatal(err)
			}
			now := m.waitNode(t, before.Name, "what was taken off", func(node *corev1.Node) bool {
				return podmirror.Repaired(podmirror.Node("cluster1"), node) == nil
			})
			if now.UID != before.UID || strings.Contains(patch, "unschedulable") && !now.Spec.Unschedulable {
				t.Errorf("it is not the same: %+v", now)
			}
		})
	}
	if now := m.waitMirror(t, "hello-a", "the mirror", shows(corev1.PodRunning)); now.UID != mirror.UID {
		t.Error("it is another mirror")
	}
	eventually(t, "an event", func(ctx context.Context) (bool, string) {
		said := m.eventsOf(ctx, "cluster2")
		return strings.Contains(said, "node stellarflow-cluster2 is there and is none of the hub manager's"), said
	})
	if now := m.waitNode(t, theirs.Name, "the other node", func(*corev1.Node) bool { return true }); now.UID != theirs.UID || len(now.Spec.Taints) != len(theirs.Spec.Taints) || len(now.Labels) > 0 {
		t.Errorf("it was touched: %+v", now)
	}
	if err := nodes.Delete(t.Context(), theirs.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	m.waitNode(t, theirs.Name, "the cluster's node", connected(corev1.ConditionTrue, ""))
}
