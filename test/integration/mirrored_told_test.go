package integration

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestMirroredPodsAreTold: with a manager as it is run, what a cluster says of a pod is said on the hub of its mirror, from before that was there
// and from after.
func TestMirroredPodsAreTold(t *testing.T) {
	m, _ := mirrorPods(t)
	k := talk{m.clusters, m.ns}
	const line = "Warning Pulling %s %d stellarflow/cluster1 spec.containers{main} 05:06:%02d"
	there := m.begin(t, "hello-a-1234567890")
	k.say(t, there, "hello.1", "first", 1)
	mirror := m.waitMirror(t, "hello-a-1234567890", "the mirror", shows(corev1.PodRunning))
	k.await(t, mirror, fmt.Sprintf(line, "first", 1, 8))
	k.say(t, there, "hello.1", "again", 2)
	k.await(t, mirror, fmt.Sprintf(line, "again", 2, 9))
}

// TestLeasesOfVirtualNodes: the Lease of a virtual Node is renewed again and again, also of a cluster that is away.
func TestLeasesOfVirtualNodes(t *testing.T) {
	var ahead atomic.Int64 // of everybody's clocks: nobody waits for them
	dates := dates(func() time.Duration { return time.Duration(ahead.Load()) })
	var net network
	last := time.Now() // another manager's Lease may be there
	c, _, _ := setUp(t, managerOptions{kubelet: freeAddress(t), hubTransport: dates, wecTransport: func(next http.RoundTripper) http.RoundTripper { return dates(net.wrap(next)) }, now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
	c.condition(t, "cluster1", withReason("Ready"))
	renewed := func(what string) {
		t.Helper()
		before := last
		eventually(t, "the Lease to be renewed "+what, func(ctx context.Context) (bool, string) {
			lease, err := c.hub.core.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(ctx, "stellarflow-cluster1", metav1.GetOptions{})
			if err != nil || lease.Spec.RenewTime == nil {
				return false, fmt.Sprint(lease, err)
			}
			last = lease.Spec.RenewTime.Time
			return last.After(before), "it was renewed at " + last.String()
		})
	}
	renewed("first")
	const beat = 10 * time.Second // docs/spec/pod.md
	for i := range 2 {
		ahead.Add(int64(beat))
		renewed(fmt.Sprintf("for the %d. time", i+1))
	}
	net.cut(t, c, "cluster1")
	ahead.Add(int64(beat))
	renewed("while the cluster is away")
}
