package integration

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub"
	"stellarflow.io/stellarflow/pkg/wec"
)

func leaseTiming(duration time.Duration) hub.Timing {
	timing := quickTiming()
	timing.Connection.Lease = wec.LeaseTiming{Duration: duration, Deadline: duration * 3 / 4, Retry: 100 * time.Millisecond}
	return timing
}

// lease reads the hub's Lease on a WEC.
func (c *clusters) lease(ctx context.Context, cluster string) (*coordinationv1.Lease, error) {
	system, err := c.hub.core.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return c.wecs[cluster].core.CoordinationV1().Leases(stellarflow.SystemNamespace).Get(ctx, wec.LeaseName(system.UID), metav1.GetOptions{})
}

// holder waits until somebody holds the Lease on a WEC, other than before.
func (c *clusters) holder(t *testing.T, cluster, before string) string {
	t.Helper()
	holder := ""
	eventually(t, "a holder of the Lease on "+cluster, func(ctx context.Context) (bool, string) {
		lease, err := c.lease(ctx, cluster)
		if err != nil || lease.Spec.HolderIdentity == nil {
			return false, fmt.Sprint(err)
		}
		holder = *lease.Spec.HolderIdentity
		return holder != "" && holder != before, holder
	})
	return holder
}

// condition waits until the hub says of a cluster what is wanted.
func (c *clusters) condition(t *testing.T, cluster string, ok func(metav1.Condition) bool) metav1.Condition {
	t.Helper()
	var condition metav1.Condition
	eventually(t, "the condition of "+cluster, func(ctx context.Context) (bool, string) {
		var managed clusterv1.ManagedCluster
		if err := c.hub.client.Get(ctx, client.ObjectKey{Name: cluster}, &managed); err != nil {
			return false, err.Error()
		}
		found := meta.FindStatusCondition(managed.Status.Conditions, stellarflow.ConditionConnected)
		if found == nil {
			return false, "there is none"
		}
		condition = *found
		return ok(condition), fmt.Sprintf("%s %s: %s", condition.Status, condition.Reason, condition.Message)
	})
	return condition
}

func withReason(reason string) func(metav1.Condition) bool {
	return func(c metav1.Condition) bool { return c.Reason == reason }
}

// writes counts what a manager sends to WECs, Leases aside.
type writes struct{ sent atomic.Int64 }

func (w *writes) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.Method != http.MethodGet && !isLease(r) {
			w.sent.Add(1)
		}
		return next.RoundTrip(r)
	})
}

func isLease(r *http.Request) bool { return strings.Contains(r.URL.Path, "/leases") }

// TestCloneDoesNotAct runs two managers with the same hub id, as a hub that was cloned with its etcd does, and stops the first
// in good order: the second acts then, and not before.
func TestCloneDoesNotAct(t *testing.T) {
	timing := leaseTiming(20 * time.Second)
	c, first, ns := setUp(t, managerOptions{timing: timing})
	c.condition(t, "cluster1", withReason("Ready"))
	holder := c.holder(t, "cluster1", "")

	clone := &writes{}
	startManager(t, c, managerOptions{timing: timing, wecTransport: clone.wrap})
	said := c.condition(t, "cluster1", withReason("LeaseHeldElsewhere"))
	for _, part := range []string{"holder " + holder, ", since 20", "of two hub managers with the same hub id stop one"} {
		if !strings.Contains(said.Message, part) {
			t.Errorf("the message lacks %q: %s", part, said.Message)
		}
	}
	before := c.creates(t, "cluster1")
	for i := range 5 {
		name := fmt.Sprintf("once-%d", i)
		c.submit(t, ns, name, "cluster1")
		c.wecs["cluster1"].waitFor(t, ns, name, "the WEC copy", exists)
	}
	if created := c.creates(t, "cluster1") - before; created != 5 || clone.sent.Load() != 0 {
		t.Errorf("%d creates of 5 Workflows, the second manager sent %d writes", created, clone.sent.Load())
	}

	first.stop()
	stopped := time.Now()
	if next := c.holder(t, "cluster1", holder); next == holder {
		t.Errorf("%s still holds the Lease", next)
	}
	if took := time.Since(stopped); took > 10*time.Second {
		t.Errorf("the Lease was given back, yet it took %s until the other manager took it", took)
	}
	c.submit(t, ns, "after", "cluster1")
	c.wecs["cluster1"].waitFor(t, ns, "after", "the WEC copy", exists)
	if clone.sent.Load() == 0 {
		t.Error("somebody else created it")
	}
}

// stalled is a manager whose requests to a WEC stop directly after it has renewed its Lease there, so that a test need not be quicker
// than the Lease.
type stalled struct {
	host  string // of the WEC
	dead  bool   // all its requests fail; otherwise those to the Lease hang
	armed atomic.Bool
	off   atomic.Bool
	sent  writes
}

func (s *stalled) wrap(next http.RoundTripper) http.RoundTripper {
	counted := s.sent.wrap(next)
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		switch {
		case r.URL.Host != s.host || !s.dead && !isLease(r):
			return counted.RoundTrip(r)
		case s.off.Load() && s.dead:
			return nil, errInjected
		case s.off.Load():
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
		response, err := counted.RoundTrip(r)
		if err == nil && isLease(r) && r.Method == http.MethodPut && response.StatusCode == http.StatusOK && s.armed.CompareAndSwap(true, false) {
			s.off.Store(true) // an election sends one request after the other: none is under way now
		}
		return response, err
	})
}

// stall stops the requests and returns the Lease as it stays then, held by this manager.
func (s *stalled) stall(t *testing.T, c *clusters, cluster, holder string) *coordinationv1.Lease {
	t.Helper()
	var lease *coordinationv1.Lease
	eventually(t, "a renewal that is the last", func(ctx context.Context) (bool, string) {
		if !s.off.Load() {
			s.armed.Store(true)
			return false, "there was none"
		}
		var err error
		if lease, err = c.lease(ctx, cluster); err != nil || *lease.Spec.HolderIdentity != holder {
			s.off.Store(false) // what it has written was no renewal: a slow machine made it give the Lease back
			return false, fmt.Sprintf("%v, %v", lease, err)
		}
		return true, ""
	})
	return lease
}

// said keeps the last condition that one of several managers wrote on a ManagedCluster.
type said struct{ last atomic.Value }

func (s *said) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/managedclusters/cluster1/status") {
			if body, err := r.GetBody(); err == nil {
				text, _ := io.ReadAll(body)
				s.last.Store(string(text))
			}
		}
		return next.RoundTrip(r)
	})
}

// TestPausedHolder keeps a manager from renewing its Lease. Another one takes it when it has run out, not before; what the
// first sends afterwards is not sent, and it says why.
func TestPausedHolder(t *testing.T) {
	const duration = 3 * time.Second
	paused, says := &stalled{host: sharedClusters(t).wecs["cluster1"].address()}, &said{}
	c, _, ns := setUp(t, managerOptions{timing: leaseTiming(duration), wecTransport: paused.wrap, hubTransport: says.wrap})
	c.submit(t, ns, "before", "cluster1")
	c.wecs["cluster1"].waitFor(t, ns, "before", "the WEC copy", exists)
	holder := c.holder(t, "cluster1", "")
	lease := paused.stall(t, c, "cluster1", holder)
	other := &writes{}
	startManager(t, c, managerOptions{timing: leaseTiming(duration), wecTransport: other.wrap})
	next := c.holder(t, "cluster1", holder)
	taken, err := c.lease(t.Context(), "cluster1")
	if err != nil {
		t.Fatal(err)
	}
	if waited := taken.Spec.AcquireTime.Sub(lease.Spec.RenewTime.Time); waited < duration {
		t.Errorf("it was taken %s after the last renewal, want at least %s", waited, duration)
	}
	// from here on the first may send nothing: its renewal is older than the Lease
	sent, before := paused.sent.sent.Load(), c.creates(t, "cluster1")
	for i := range 5 {
		name := fmt.Sprintf("after-%d", i)
		c.submit(t, ns, name, "cluster1")
		c.wecs["cluster1"].waitFor(t, ns, name, "the WEC copy", exists)
	}
	if created := c.creates(t, "cluster1") - before; created != 5 || paused.sent.sent.Load() != sent || other.sent.Load() == 0 {
		t.Errorf("%d creates of 5 Workflows; the paused manager sent %d writes", created, paused.sent.sent.Load()-sent)
	}
	paused.off.Store(false)
	eventually(t, "the first manager to say who holds it", func(context.Context) (bool, string) {
		text, _ := says.last.Load().(string)
		return strings.Contains(text, "LeaseHeldElsewhere") && strings.Contains(text, next), text
	})
}

// TestCrashedHolder: who cannot give its Lease back keeps the next manager waiting until it has run out, and no longer.
func TestCrashedHolder(t *testing.T) {
	const duration = 3 * time.Second
	crashed := &stalled{host: sharedClusters(t).wecs["cluster1"].address(), dead: true}
	c, first, ns := setUp(t, managerOptions{timing: leaseTiming(duration), wecTransport: crashed.wrap})
	c.condition(t, "cluster1", withReason("Ready"))
	holder := c.holder(t, "cluster1", "")
	lease := crashed.stall(t, c, "cluster1", holder)
	first.stop()
	startManager(t, c, managerOptions{timing: leaseTiming(duration)})
	c.submit(t, ns, "crashed", "cluster1")
	c.holder(t, "cluster1", holder)
	taken, err := c.lease(t.Context(), "cluster1")
	if err != nil {
		t.Fatal(err)
	}
	if waited := taken.Spec.AcquireTime.Sub(lease.Spec.RenewTime.Time); waited < duration {
		t.Errorf("it was taken %s after the last renewal, want at least %s", waited, duration)
	}
	c.wecs["cluster1"].waitFor(t, ns, "crashed", "the WEC copy", exists)
}

// TestLeaseDeletedByHand removes the Lease under its holder while another manager waits for it: the holder goes on.
func TestLeaseDeletedByHand(t *testing.T) {
	timing := leaseTiming(20 * time.Second)
	c, _, ns := setUp(t, managerOptions{timing: timing})
	c.condition(t, "cluster1", withReason("Ready"))
	holder := c.holder(t, "cluster1", "")
	clone := &writes{}
	startManager(t, c, managerOptions{timing: timing, wecTransport: clone.wrap})
	c.condition(t, "cluster1", withReason("LeaseHeldElsewhere"))
	lease, err := c.lease(t.Context(), "cluster1")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.wecs["cluster1"].core.CoordinationV1().Leases(lease.Namespace).Delete(t.Context(), lease.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if again := c.holder(t, "cluster1", ""); again != holder {
		t.Errorf("%s took the Lease of %s", again, holder)
	}
	c.submit(t, ns, "goes-on", "cluster1")
	c.wecs["cluster1"].waitFor(t, ns, "goes-on", "the WEC copy", exists)
	if clone.sent.Load() != 0 {
		t.Errorf("the manager that waits sent %d writes", clone.sent.Load())
	}
}

// TestLeaseRightsMissing is a cluster that was joined before there was a Lease.
func TestLeaseRightsMissing(t *testing.T) {
	c := sharedClusters(t)
	roles := c.wecs["cluster1"].core.RbacV1().Roles(stellarflow.SystemNamespace)
	if err := roles.Delete(t.Context(), "stellarflow-wec", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.wecs["cluster1"].apply("wec") })
	sent := &writes{}
	c, _, ns := setUp(t, managerOptions{wecTransport: sent.wrap})
	said := c.condition(t, "cluster1", withReason("CredentialLacksRights"))
	if !strings.Contains(said.Message, "the hub may not keep Lease stellarflow-system/stellarflow-hub-") || !strings.Contains(said.Message, "run `stellarflow join` again") {
		t.Errorf("the message is %s", said.Message)
	}
	c.submit(t, ns, "waits", "cluster1")
	c.hub.waitFor(t, ns, "waits", "why it waits", waiting("cluster1"))
	if err := c.wecs["cluster1"].apply("wec"); err != nil {
		t.Fatal(err)
	}
	c.wecs["cluster1"].waitFor(t, ns, "waits", "the WEC copy", exists)
	c.condition(t, "cluster1", withReason("Ready"))
}

// TestRestoredHubIsNoticed starts a manager whose hub is behind what an earlier one saw, as after a restore of its etcd.
func TestRestoredHubIsNoticed(t *testing.T) {
	c := sharedClusters(t)
	c.forgetsRestores(t)
	_, m, _ := setUp(t, managerOptions{})
	recorded := func(what string, ok func(version, restored string) bool) (version, restored string) {
		eventually(t, what, func(ctx context.Context) (bool, string) {
			lease, err := c.lease(ctx, "cluster1")
			if err != nil {
				return false, err.Error()
			}
			version, restored = lease.Annotations[stellarflow.AnnotationHubVersion], lease.Annotations[stellarflow.AnnotationHubRestored]
			return ok(version, restored), fmt.Sprintf("version %q, restored %q", version, restored)
		})
		return version, restored
	}
	_, before := recorded("the hub's version on the Lease", func(version, _ string) bool { return version != "" })
	m.stop()
	lease, err := c.lease(t.Context(), "cluster1")
	if err != nil {
		t.Fatal(err)
	}
	const future = "900000000000000"
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, stellarflow.AnnotationHubVersion, future)
	if _, err := c.wecs["cluster1"].core.CoordinationV1().Leases(lease.Namespace).Patch(t.Context(), lease.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	m = startManager(t, c, managerOptions{})
	_, at := recorded("that the hub was restored", func(version, restored string) bool { return version != future && restored != before })
	m.stop()
	startManager(t, c, managerOptions{})
	c.condition(t, "cluster1", withReason("Ready"))
	if _, again := recorded("the hub's version", func(string, string) bool { return true }); again != at {
		t.Errorf("one restore is seen twice: %s, then %s", at, again)
	}
}

// TestRestoredClusterIsSaid lets a hub copy hold a resourceVersion that its cluster has not reached, as after a restore there.
func TestRestoredClusterIsSaid(t *testing.T) {
	c, m, ns := setUp(t, managerOptions{})
	c.submit(t, ns, "restored", "cluster1")
	c.wecs["cluster1"].waitFor(t, ns, "restored", "the WEC copy", exists)
	c.wecs["cluster1"].argo(t, ns, "restored", "Running")
	hubCopy := c.hub.waitFor(t, ns, "restored", "phase Running", inPhase("Running"))
	m.stop()
	observed, ok := stellarflow.ParseObserved(c.hub.get(t.Context(), ns, "restored").GetAnnotations()[stellarflow.AnnotationObserved])
	if !ok {
		t.Fatalf("nothing was observed: %s", describe(hubCopy))
	}
	observed.ResourceVersion = "900000000000000"
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, stellarflow.AnnotationObserved, observed.String())
	if _, err := c.hub.as(t, hubManager).Resource(stellarflow.Workflows).Namespace(ns).Patch(t.Context(), "restored", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	startManager(t, c, managerOptions{})
	said := c.condition(t, "cluster1", withReason("ClusterRestored"))
	if said.Status != metav1.ConditionTrue || !strings.Contains(said.Message, "was restored from a backup") {
		t.Errorf("the condition is %s: %s", said.Status, said.Message)
	}
	c.submit(t, ns, "new", "cluster1")
	c.wecs["cluster1"].waitFor(t, ns, "new", "the WEC copy: the cluster can be used", exists)
}
