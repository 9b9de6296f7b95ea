package integration

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/podmirror"
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

// nodeLease waits until the Lease of a cluster's virtual Node was renewed after a time, and returns when that was.
func (c *clusters) nodeLease(t *testing.T, cluster, what string, after time.Time) time.Time {
	t.Helper()
	var last time.Time
	eventually(t, "the Lease to be renewed "+what, func(ctx context.Context) (bool, string) {
		lease, err := c.hub.core.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(ctx, podmirror.NodeName(stellarflow.ClusterName(cluster)), metav1.GetOptions{})
		if err != nil || lease.Spec.RenewTime == nil {
			return false, fmt.Sprint(lease, err)
		}
		last = lease.Spec.RenewTime.Time
		return last.After(after), "it was renewed at " + last.String()
	})
	return last
}

// noNodeLeases removes the Leases of virtual Nodes that other managers, whose clocks may have been ahead, have left. It returns the time.
func (c *clusters) noNodeLeases(t *testing.T) time.Time {
	t.Helper()
	for cluster := range c.wecs {
		err := c.hub.core.CoordinationV1().Leases(corev1.NamespaceNodeLease).Delete(t.Context(), podmirror.NodeName(stellarflow.ClusterName(cluster)), metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
	}
	return time.Now()
}

// beats is how often the Lease of a virtual Node is renewed (docs/spec/pod.md).
const beats = 10 * time.Second

// TestLeasesOfVirtualNodes: the Lease of a virtual Node is renewed again and again, also of a cluster that is away.
func TestLeasesOfVirtualNodes(t *testing.T) {
	var ahead atomic.Int64 // of everybody's clocks: nobody waits for them
	dates := dates(func() time.Duration { return time.Duration(ahead.Load()) })
	var net network
	last := sharedClusters(t).noNodeLeases(t)
	c, _, _ := setUp(t, managerOptions{kubelet: freeAddress(t), hubTransport: dates, wecTransport: func(next http.RoundTripper) http.RoundTripper { return dates(net.wrap(next)) }, now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
	c.condition(t, "cluster1", withReason("Ready"))
	renewed := func(what string) {
		t.Helper()
		last = c.nodeLease(t, "cluster1", what, last)
	}
	renewed("first")
	for i := range 2 {
		ahead.Add(int64(beats))
		renewed(fmt.Sprintf("for the %d. time", i+1))
	}
	net.cut(t, c, "cluster1")
	ahead.Add(int64(beats))
	renewed("while the cluster is away")
}

// held keeps requests that delete a Pod until it is released.
type held struct {
	pod     string
	come    chan struct{} // closed when there is one
	once    sync.Once
	release chan struct{}
}

func (h *held) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodDelete && strings.HasSuffix(r.URL.Path, "/pods/"+h.pod) {
			h.once.Do(func() { close(h.come) })
			select {
			case <-h.release:
			case <-r.Context().Done():
				return nil, r.Context().Err()
			}
		}
		return next.RoundTrip(r)
	})
}

// TestLeasesWhileAClusterLeaves: however long it takes to end the mirrors of a cluster that has left, the Leases of the others are renewed, and its own
// is not any more.
func TestLeasesWhileAClusterLeaves(t *testing.T) {
	sharedClusters(t).noNodeLeases(t)
	const name = "hello-leaves-1234567890"
	deletions := held{pod: name, come: make(chan struct{}), release: make(chan struct{})}
	var ahead atomic.Int64 // of everybody's clocks: nobody waits for them
	dates := dates(func() time.Duration { return time.Duration(ahead.Load()) })
	c, _, ns := setUp(t, managerOptions{
		kubelet: freeAddress(t), wecTransport: dates, hubTransport: func(next http.RoundTripper) http.RoundTripper { return dates(deletions.wrap(next)) },
		now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
	})
	m := mirroring{clusters: c, ns: ns}.run(t, "hello")
	m.begin(t, name)
	m.waitMirror(t, name, "the mirror", shows(corev1.PodRunning))
	c.nodeLease(t, "cluster1", "first", time.Time{})
	if err := m.hub.client.Delete(t.Context(), &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "cluster1"}}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-deletions.come:
	case <-time.After(30 * time.Second):
		t.Fatal("nobody removes the mirror")
	}
	ahead.Add(int64(beats))
	last := c.nodeLease(t, "cluster2", "while the mirror is being removed", time.Now().Add(beats/2))
	left := c.nodeLease(t, "cluster1", "before it left", time.Time{})
	ahead.Add(int64(beats))
	last = c.nodeLease(t, "cluster2", "again", last)
	ahead.Add(int64(beats))
	c.nodeLease(t, "cluster2", "once more", last)
	if now := c.nodeLease(t, "cluster1", "before it left", time.Time{}); !now.Equal(left) {
		t.Errorf("the Lease of a cluster that has left was renewed at %s, after %s", now, left)
	}
	close(deletions.release)
	m.waitMirror(t, name, "its end", noPod)
	eventually(t, "no node", func(ctx context.Context) (bool, string) {
		_, err := c.hub.core.CoreV1().Nodes().Get(ctx, "stellarflow-cluster1", metav1.GetOptions{})
		return apierrors.IsNotFound(err), fmt.Sprint(err)
	})
}
