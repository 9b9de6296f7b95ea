package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"stellarflow.io/stellarflow/pkg/hub/upsync"
)

// mirrorRights is the test of the rights to mirror pods.
const mirrorRights = "TestRightsOfMirroredPods"

// renewed waits until the Lease of a virtual Node is renewed.
func (c *clusters) renewed(t *testing.T, node string) {
	t.Helper()
	var before *metav1.MicroTime
	eventually(t, "the Lease to be renewed", func(ctx context.Context) (bool, string) {
		lease, err := c.hub.core.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(ctx, node, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		if before == nil {
			before = lease.Spec.RenewTime
		}
		return !before.Equal(lease.Spec.RenewTime), "it was renewed at " + before.String()
	})
}

// TestRightsOfMirroredPods takes each right away that mirrored pods need, and lets them need it.
func TestRightsOfMirroredPods(t *testing.T) {
	c := sharedClusters(t)
	var hubDenied, wecDenied denials
	options := managerOptions{kubelet: freeAddress(t), webhook: c.serveWebhook(t), hubTransport: hubDenied.wrap, wecTransport: wecDenied.wrap}
	c, manager, ns := setUp(t, options)
	m := mirroring{clusters: c, ns: ns}.run(t, "hello")
	c.trusted(t, ns, "hello")
	nodes := c.hub.core.CoreV1().Nodes()
	lose := func(t *testing.T, _ string) {
		if err := nodes.Delete(t.Context(), "stellarflow-cluster2", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	begin := func(t *testing.T, name string) { m.begin(t, name) }
	said := func(t *testing.T, part string) {
		c.hub.waitFor(t, ns, "hello", "a condition", func(w *unstructured.Unstructured) bool {
			said := describe(w)
			return strings.Contains(said, upsync.ConditionLogsFromS3) && strings.Contains(said, part)
		})
	}
	const podsRole, leasesRole = "ClusterRole stellarflow-hub-pods: ", "Role stellarflow-hub-pods: "
	patchNodes := right{resource: "nodes", verb: "patch"}
	uses := map[string]struct {
		before, use func(*testing.T, string)
		said        string
	}{
		podsRole + "create pods":        {use: begin, said: "forbidden"},
		podsRole + "update pods/status": {use: begin},
		podsRole + "delete pods": {before: func(t *testing.T, name string) {
			m.begin(t, name)
			m.waitMirror(t, name, "the mirror", shows(corev1.PodRunning))
		}, use: func(_ *testing.T, name string) { m.end(name) }},
		podsRole + "patch pods": {before: func(t *testing.T, name string) {
			m.begin(t, name)
			m.waitMirror(t, name, "the mirror", shows(corev1.PodRunning))
		}, use: func(t *testing.T, name string) {
			err := c.hub.coreAs(t, "jane").CoreV1().Pods(ns).Delete(t.Context(), name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)})
			if err == nil || !strings.Contains(err.Error(), "which runs on cluster cluster1") {
				t.Errorf("the deletion is answered with %v", err)
			}
		}},
		podsRole + "get nodes": {before: func(t *testing.T, name string) {
			m.begin(t, name)
			m.waitMirror(t, name, "the mirror", shows(corev1.PodRunning))
		}, use: func(t *testing.T, name string) {
			if err := c.hub.coreAs(t, "jane").CoreV1().Pods(ns).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}},
		podsRole + "create nodes":        {use: lose},
		podsRole + "update nodes/status": {use: lose},
		podsRole + "patch nodes": {use: func(t *testing.T, _ string) {
			if _, err := nodes.Patch(t.Context(), "stellarflow-cluster2", types.MergePatchType, []byte(`{"spec":{"taints":null}}`), metav1.PatchOptions{}); err != nil {
				t.Fatal(err)
			}
			eventually(t, "an event", func(ctx context.Context) (bool, string) {
				said := c.eventsOf(ctx, "cluster2")
				return strings.Contains(said, "node stellarflow-cluster2 lacks labels or taints") && strings.Contains(said, "run `stellarflow install` again"), said
			})
			for range 2 { // it was looked at each second meanwhile
				c.renewed(t, "stellarflow-cluster2")
			}
			if n := hubDenied.count(patchNodes); n != 1 {
				t.Errorf("it was tried %d times to put the taints back", n)
			}
		}},
		podsRole + "delete nodes": {use: func(t *testing.T, _ string) {
			node, err := nodes.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "stellarflow-left", Labels: map[string]string{"stellarflow.io/cluster": "left"}}}, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = nodes.Delete(context.Background(), node.Name, metav1.DeleteOptions{}) })
		}},
		leasesRole + "get leases.coordination.k8s.io": {use: func(t *testing.T, name string) {
			lose(t, name)
			c.waitNode(t, "stellarflow-cluster2", "its address all the same", connected(corev1.ConditionTrue, ""))
			eventually(t, "an event", func(ctx context.Context) (bool, string) {
				said := c.eventsOf(ctx, "cluster2")
				return strings.Contains(said, "the lease of node stellarflow-cluster2 cannot be renewed") && strings.Contains(said, "run `stellarflow install` again"), said
			})
		}},
		leasesRole + "update leases.coordination.k8s.io": {use: func(*testing.T, string) {}},
		leasesRole + "create leases.coordination.k8s.io": {use: func(t *testing.T, name string) {
			lose(t, name)
			if err := c.hub.core.CoordinationV1().Leases(corev1.NamespaceNodeLease).Delete(t.Context(), "stellarflow-cluster2", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}},
		wecRole + "get pods": {use: begin, said: "run `stellarflow join cluster1` again"},
	}
	atTheStart := map[string]bool{podsRole + "watch pods": true, podsRole + "watch nodes": true, wecRole + "watch pods": true}
	lists := map[string]bool{podsRole + "get pods": true, podsRole + "list pods": true, podsRole + "list nodes": true} // get: TestMirroredPods; list: for API servers that do not stream lists
	var starts []right
	seen := 0
	for _, r := range granted(t, "rbac/mirrored_pods.yaml", "wec/cluster_role.yaml") {
		key := r.String()
		if atTheStart[key] {
			starts = append(starts, r)
			continue
		}
		one, found := uses[key]
		if !found {
			if (strings.HasPrefix(key, podsRole) || strings.HasPrefix(key, leasesRole)) && !lists[key] {
				t.Errorf("nothing shows that %s is needed: remove it, or add a case", key)
			}
			continue
		}
		seen++
		t.Run(key, func(t *testing.T) {
			name, api, denied := fmt.Sprintf("hello-needs-12345%d", seen), c.hub, &hubDenied
			if strings.HasPrefix(key, wecRole) {
				api, denied = c.wecs["cluster1"], &wecDenied
			}
			if one.before != nil {
				one.before(t, name)
			}
			eventually(t, "the node", func(ctx context.Context) (bool, string) {
				_, err := nodes.Get(ctx, "stellarflow-cluster2", metav1.GetOptions{})
				return err == nil, fmt.Sprint(err)
			})
			defer api.without(t, r)()
			defer m.end(name)
			one.use(t, name)
			eventually(t, "a refusal", func(context.Context) (bool, string) { return denied.has(r), "none" })
			if one.said != "" {
				said(t, one.said)
			}
		})
	}
	if seen != len(uses) || len(starts) != len(atTheStart) {
		t.Errorf("%d of %d are granted, and %d of %d at the start", seen, len(uses), len(starts), len(atTheStart))
	}
	manager.stop()
	for _, r := range starts {
		if strings.HasPrefix(r.String(), wecRole) {
			defer c.wecs["cluster1"].without(t, r)()
		}
	}
	defer c.hub.without(t, starts[0], starts[1])()
	options.webhook, options.kubelet = "", freeAddress(t)
	startManager(t, c, options)
	eventually(t, "every refusal", func(context.Context) (bool, string) {
		for _, r := range starts {
			denied := &hubDenied
			if strings.HasPrefix(r.String(), wecRole) {
				denied = &wecDenied
			}
			if !denied.has(r) {
				return false, r.String()
			}
		}
		return true, ""
	})
	c.condition(t, "cluster1", func(said metav1.Condition) bool {
		return said.Status == metav1.ConditionTrue && strings.Contains(said.Message, "the hub may not watch them: run `stellarflow join cluster1` again")
	})
	c.submit(t, ns, "unseen", "cluster1") // nothing else waits for what is refused
	c.wecs["cluster1"].waitFor(t, ns, "unseen", "the WEC copy", exists)
	c.wecs["cluster1"].argo(t, ns, "unseen", "Running")
	c.hub.waitFor(t, ns, "unseen", "its status", inPhase("Running"))
}
