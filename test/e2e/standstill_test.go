package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clusterv1 "open-cluster-management.io/api/cluster/v1"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/wec"
)

// standStill lets the leader's Lease be lost to somebody who is gone, then the managers hang. What doctor finds then has one remedy:
// it prints the same command for each, which is run once.
func (f *fleet) standStill(t *testing.T, namespace, workflow string) {
	f.awaitManagers(t)
	now := time.Now()
	lost := f.awaitAilments(t, doctorLimit, func() error { // long ago, for ever longer than the managers wait
		return f.writeLease(t.Context(), f.hub, managerLease, "gone", now.Add(-time.Hour), 15)
	}, sought{id: "manager-no-leader"})
	t.Cleanup(func() { f.signalManagers(context.Background(), syscall.SIGCONT) })
	hung := f.awaitAilments(t, doctorLimit, func() error { return f.hang(t, namespace, workflow) },
		sought{"cluster-lease", "cluster1"}, sought{"cluster-not-connected", "cluster2"},
		sought{"request-unanswered", namespace + "/" + workflow}, sought{"manager-unavailable", "stellarflow-hub"})
	for _, a := range slices.Concat(lost, hung) {
		if a.Remedy != lost[0].Remedy {
			t.Fatalf("%s: %s: its remedy is %q, that of %s is %q", a.ID, a.What, a.Remedy, lost[0].ID, lost[0].Remedy)
		}
		t.Logf("%s: %s", a.ID, a.What)
		f.common.obey(a)
	}
	f.obey(t, lost[0], "")
	f.awaitHealth(t)
	t.Logf("a standstill of the managers: found and mended in %.0f s", time.Since(now).Seconds())
}

// hang stops the managers' processes, those too that the kubelet started anew. They have written that they renew their Leases but for
// cluster1's, that cluster2 is not connected, and they do not attend to a request any more.
func (f *fleet) hang(t *testing.T, namespace, workflow string) error {
	f.signalManagers(t.Context(), syscall.SIGSTOP)
	system, err := f.hub.core.CoreV1().Namespaces().Get(t.Context(), metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		return err
	}
	const short = 1 // second, so that the next ones need not wait
	name := wec.LeaseName(system.UID)
	for _, l := range []struct {
		c            *cluster
		name, holder string
	}{{f.hub, managerLease, "hung"}, {f.wecs["cluster1"], name, ""}, {f.wecs["cluster2"], name, "hung"}} {
		if err := f.writeLease(t.Context(), l.c, l.name, l.holder, time.Now(), short); err != nil {
			return err
		}
	}
	condition := fmt.Sprintf(`{"status":{"conditions":[{"type":%q,"status":"False","reason":"Unreachable","message":"it did not answer","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`, stellarflow.ConditionConnected)
	clusters := f.hub.dynamic.Resource(schema.GroupVersionResource{Group: clusterv1.GroupName, Version: "v1", Resource: "managedclusters"})
	if _, err := clusters.Patch(t.Context(), "cluster2", types.MergePatchType, []byte(condition), metav1.PatchOptions{}, "status"); err != nil {
		return err
	}
	_, err = f.stellarflow(t, "move", workflow, "-n", namespace, "--wait=false")
	return err
}

// signalManagers sends a signal to the process of every manager that has one.
func (f *fleet) signalManagers(ctx context.Context, signal syscall.Signal) {
	pods, err := f.hub.core.CoreV1().Pods(stellarflow.SystemNamespace).List(ctx, metav1.ListOptions{LabelSelector: managerSelector})
	if err != nil {
		return // the next look tries again
	}
	for i := range pods.Items {
		if pid, err := managerOf(pods.Items[i].Name); err == nil {
			_ = syscall.Kill(pid, signal)
		}
	}
}

// writeLease writes who holds a Lease of ours, and since when it was not renewed.
func (f *fleet) writeLease(ctx context.Context, c *cluster, name, holder string, renewed time.Time, seconds int) error {
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{
		"holderIdentity": holder, "leaseDurationSeconds": seconds, "renewTime": metav1.NewMicroTime(renewed), "acquireTime": metav1.NewMicroTime(renewed),
	}})
	if err != nil {
		return err
	}
	_, err = c.core.CoordinationV1().Leases(stellarflow.SystemNamespace).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}
