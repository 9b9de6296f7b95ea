package integration

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub"
)

// connectionTiming probes often. The Lease is long, so that a slow machine does not lose it and no condition changes for that.
func connectionTiming() hub.Timing {
	timing := leaseTiming(20 * time.Second)
	timing.Connection.Probe = 500 * time.Millisecond
	return timing
}

// spoken keeps all that a manager wrote on ManagedCluster cluster1.
type spoken struct {
	mu  sync.Mutex
	all []string
}

func (s *spoken) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/managedclusters/cluster1/status") {
			if body, err := r.GetBody(); err == nil {
				text, _ := io.ReadAll(body)
				s.mu.Lock()
				s.all = append(s.all, string(text))
				s.mu.Unlock()
			}
		}
		return next.RoundTrip(r)
	})
}

// since returns what was written after the first n.
func (s *spoken) since(n int) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.all[n:]...)
}

// renewed waits until the Lease is renewed with a token or at an address: from then on everything goes that way.
type renewed struct{ last atomic.Value }

func (s *renewed) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if isLease(r) {
			s.last.Store(r.URL.Host + " " + r.Header.Get("Authorization"))
		}
		return next.RoundTrip(r)
	})
}

// TestCredentialRotates replaces the credential under a Workflow that runs: with a good one nothing is disturbed, with a bad one it
// is said, nothing is sent, and it goes on with the next good one. The manager is not restarted.
func TestCredentialRotates(t *testing.T) {
	says, lease := &spoken{}, &renewed{}
	onlyCluster1 := sharedClusters(t).wecs["cluster1"].address()
	c, _, ns := setUp(t, managerOptions{timing: connectionTiming(), hubTransport: says.wrap, wecTransport: func(next http.RoundTripper) http.RoundTripper {
		watched := lease.wrap(next)
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.URL.Host == onlyCluster1 {
				return watched.RoundTrip(r)
			}
			return next.RoundTrip(r)
		})
	}})
	w := c.wecs["cluster1"]
	c.running(t, ns, "runs", "cluster1")
	before, quiet := c.creates(t, "cluster1"), len(says.since(0))
	fresh := w.token(t, stellarflow.SystemNamespace, "stellarflow")
	c.rotate(t, "cluster1", kubeconfigFor(t, w.config.Host, w.config.CAData, fresh))
	waitRenewed := func(token string) {
		t.Helper()
		eventually(t, "the Lease to be renewed with the new token", func(context.Context) (bool, string) {
			last, _ := lease.last.Load().(string)
			return strings.HasSuffix(last, " Bearer "+token), "it is renewed with another"
		})
	}
	waitRenewed(fresh)
	c.running(t, ns, "after-rotation", "cluster1")
	if said := says.since(quiet); len(said) > 0 {
		t.Errorf("a good credential changed the condition: %s", said)
	}

	c.rotate(t, "cluster1", kubeconfigFor(t, w.config.Host, w.config.CAData, "not-a-token"))
	c.condition(t, "cluster1", withReason("CredentialRejected"))
	c.submit(t, ns, "waits", "cluster1")
	c.hub.waitFor(t, ns, "waits", "why it waits", waiting("the cluster rejects the hub's token: run `stellarflow join` again"))
	c.rotate(t, "cluster1", []byte("no kubeconfig"))
	c.condition(t, "cluster1", withReason("CredentialInvalid"))
	if running := c.hub.get(t.Context(), ns, "runs"); phase(running) != "Running" {
		t.Errorf("what ran became %s", describe(running))
	}

	last := w.token(t, stellarflow.SystemNamespace, "stellarflow")
	c.rotate(t, "cluster1", kubeconfigFor(t, w.config.Host, w.config.CAData, last))
	c.condition(t, "cluster1", withReason("Ready"))
	waitRenewed(last)
	w.waitFor(t, ns, "waits", "the WEC copy", exists)
	for _, name := range []string{"runs", "after-rotation", "waits"} {
		w.argo(t, ns, name, "Succeeded")
		c.hub.waitFor(t, ns, name, "its end", inPhase("Succeeded"))
	}
	if created := c.creates(t, "cluster1") - before; created != 2 {
		t.Errorf("2 Workflows were created %d times", created)
	}
}

// TestAddressChanges leads to the same cluster by another address, which disturbs nothing, and then lets another cluster answer there:
// nothing is sent to that, and it is said.
func TestAddressChanges(t *testing.T) {
	says, lease := &spoken{}, &renewed{}
	c, _, ns := setUp(t, managerOptions{timing: connectionTiming(), hubTransport: says.wrap, wecTransport: lease.wrap})
	first, second := c.wecs["cluster1"], c.wecs["cluster2"]
	c.running(t, ns, "runs", "cluster1")
	c.running(t, ns, "stays", "cluster1")
	b := newBetween(t, first)
	var writes atomic.Int64
	quiet := len(says.since(0))
	c.rotate(t, "cluster1", b.kubeconfig(t, first.token(t, stellarflow.SystemNamespace, "stellarflow")))
	eventually(t, "the Lease to be renewed at the new address", func(context.Context) (bool, string) {
		last, _ := lease.last.Load().(string)
		return strings.HasPrefix(last, strings.TrimPrefix(b.server.URL, "https://")+" "), last
	})
	c.running(t, ns, "new-address", "cluster1")
	first.argo(t, ns, "runs", "Succeeded")
	c.hub.waitFor(t, ns, "runs", "its end", inPhase("Succeeded"))
	if said := says.since(quiet); len(said) > 0 {
		t.Errorf("another address of the same cluster changed the condition: %s", said)
	}

	b.leads(second, second.token(t, stellarflow.SystemNamespace, "stellarflow"))
	said := c.condition(t, "cluster1", withReason("ClusterChanged"))
	if !strings.Contains(said.Message, "behind the address is another cluster than before") {
		t.Errorf("the message is %s", said.Message)
	}
	b.inject(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet {
			writes.Add(1)
		}
		return false
	})
	c.submit(t, ns, "waits", "cluster1")
	c.hub.waitFor(t, ns, "waits", "why it waits", waiting("behind the address is another cluster"))
	c.hub.waitFor(t, ns, "stays", "why it stays as it is", func(w *unstructured.Unstructured) bool {
		return phase(w) == "Running" && strings.Contains(w.GetAnnotations()[stellarflow.AnnotationSync], "behind the address is another cluster")
	})
	if err := c.hub.workflows(ns).Delete(t.Context(), "new-address", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	neverWithin(t, time.Second, "what another cluster does not have counts as gone", func() bool { return c.hub.get(t.Context(), ns, "new-address") == nil })
	if n := writes.Load(); n > 0 || second.get(t.Context(), ns, "waits") != nil {
		t.Errorf("%d writes were sent to another cluster", n)
	}

	b.leads(first, "")
	c.condition(t, "cluster1", withReason("Ready"))
	c.hub.waitFor(t, ns, "new-address", "the hub copy to go", gone)
	first.waitFor(t, ns, "waits", "the WEC copy", exists)
	first.argo(t, ns, "stays", "Succeeded")
	c.hub.waitFor(t, ns, "stays", "its end, and nothing else said", func(w *unstructured.Unstructured) bool {
		return phase(w) == "Succeeded" && w.GetAnnotations()[stellarflow.AnnotationSync] == ""
	})
}

// TestClusterJoinsLater: a Workflow that waited for a cluster goes there when it joins.
func TestClusterJoinsLater(t *testing.T) {
	c := sharedClusters(t)
	ns := c.namespace(t)
	c.join(t, "cluster1")
	c.create(t, policy("cluster2", map[string]string{"name": "cluster2"}))
	startManager(t, c, managerOptions{})
	c.submit(t, ns, "early", "cluster2")
	c.hub.waitFor(t, ns, "early", "why it waits", waiting("workflows-cluster2"))
	c.join(t, "cluster2")
	c.wecs["cluster2"].waitFor(t, ns, "early", "the WEC copy", exists)
	c.hub.waitFor(t, ns, "early", "the record", placedOn("cluster2"))
}

// TestTwoCopies loses the record of a Workflow that two clusters have a copy of: neither is believed, no third is made, and it is said
// until one of them is gone.
func TestTwoCopies(t *testing.T) {
	c, m, ns := setUp(t, managerOptions{})
	c.running(t, ns, "twice", "cluster1")
	m.stop()
	second := c.wecs["cluster1"].get(t.Context(), ns, "twice")
	second.SetUID("")
	second.SetResourceVersion("")
	if err := c.wecs["cluster2"].client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.wecs["cluster2"].workflows(ns).Create(t.Context(), second, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	lost := `{"metadata":{"finalizers":null,"labels":{"stellarflow.io/cluster":null},"annotations":{"stellarflow.io/placement":null,"stellarflow.io/observed":null}}}`
	if _, err := c.hub.as(t, hubManager).Resource(stellarflow.Workflows).Namespace(ns).Patch(t.Context(), "twice", types.MergePatchType, []byte(lost), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	before := c.creates(t, "cluster1") + c.creates(t, "cluster2")
	startManager(t, c, managerOptions{})
	c.hub.waitFor(t, ns, "twice", "that nobody knows which one counts", waiting("attempt 1 is on clusters cluster1 and cluster2"))
	c.wecs["cluster2"].deleteByForce(t, ns, "twice")
	c.hub.waitFor(t, ns, "twice", "its record", placedOn("cluster1"))
	c.wecs["cluster1"].argo(t, ns, "twice", "Succeeded")
	c.hub.waitFor(t, ns, "twice", "its end", inPhase("Succeeded"))
	if n := c.creates(t, "cluster1") + c.creates(t, "cluster2") - before; n != 0 {
		t.Errorf("%d more were created", n)
	}
}

// TestLateEnd lets a copy end while no manager looks and a person changes the hub copy meanwhile: the end comes all the same, and what ended
// can be deleted.
func TestLateEnd(t *testing.T) {
	c, m, ns := setUp(t, managerOptions{})
	w := c.wecs["cluster1"]
	c.running(t, ns, "late", "cluster1")
	m.stop()
	for s, patch := range map[*server]string{
		c.hub: `{"metadata":{"labels":{"kubestellar.io/cluster":"cluster2"}},"spec":{"priority":7}}`,
		w:     `{"spec":{"priority":9}}`,
	} {
		if _, err := s.workflows(ns).Patch(t.Context(), "late", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	w.argo(t, ns, "late", "Failed")
	before := c.creates(t, "cluster1") + c.creates(t, "cluster2")
	startManager(t, c, managerOptions{})
	c.hub.waitFor(t, ns, "late", "its end", inPhase("Failed"))
	w.waitFor(t, ns, "late", "harvest released", func(w *unstructured.Unstructured) bool { return !hasFinalizer(w, stellarflow.FinalizerHarvest) })
	if err := c.hub.workflows(ns).Delete(t.Context(), "late", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.hub.waitFor(t, ns, "late", "the hub copy to go", gone)
	if n := c.creates(t, "cluster1") + c.creates(t, "cluster2") - before; n != 0 || w.get(t.Context(), ns, "late") != nil {
		t.Errorf("%d more were created, or the copy stays", n)
	}
}

// TestConditionIsPutRight lets the condition say something else than the connection, as two changes in quick succession leave it when the
// hub manager's cache does not show the first one yet: that is noticed without any other change.
func TestConditionIsPutRight(t *testing.T) {
	c, _, _ := setUp(t, managerOptions{})
	c.condition(t, "cluster1", withReason("Ready"))
	var managed clusterv1.ManagedCluster
	if err := c.hub.client.Get(t.Context(), client.ObjectKey{Name: "cluster1"}, &managed); err != nil {
		t.Fatal(err)
	}
	before := managed.DeepCopy()
	meta.SetStatusCondition(&managed.Status.Conditions, metav1.Condition{
		Type: stellarflow.ConditionConnected, Status: metav1.ConditionFalse, Reason: "Connecting", Message: "the hub manager waits until it can take its Lease there",
	})
	if err := c.hub.client.Status().Patch(t.Context(), &managed, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	c.condition(t, "cluster1", withReason("Ready"))
}
