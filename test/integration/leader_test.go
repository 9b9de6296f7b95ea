package integration

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// elected makes a manager a replica: it acts while it holds a Lease, which is the test's own and goes with it.
func elected(t *testing.T, c *clusters, healthAddress string) func(*ctrl.Options) {
	t.Helper()
	name := "election-" + strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-"))
	t.Cleanup(func() {
		_ = c.hub.client.Delete(context.Background(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: stellarflow.SystemNamespace, Name: name}})
	})
	lease, renew, retry := 3*time.Second, 2*time.Second, 200*time.Millisecond
	return func(options *ctrl.Options) {
		options.LeaderElection, options.LeaderElectionID, options.LeaderElectionNamespace = true, name, stellarflow.SystemNamespace
		options.LeaseDuration, options.RenewDeadline, options.RetryPeriod = &lease, &renew, &retry
		options.LeaderElectionReleaseOnCancel, options.HealthProbeBindAddress = true, healthAddress
	}
}

// holder is the replica that the Lease of this test names, empty for none.
func holder(ctx context.Context, t *testing.T, c *clusters) string {
	t.Helper()
	var lease coordinationv1.Lease
	key := types.NamespacedName{Namespace: stellarflow.SystemNamespace, Name: "election-" + strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-"))}
	if err := c.hub.client.Get(ctx, key, &lease); err != nil || lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// early records what a standby asks of WECs, and writes to Workflows, while another one still leads.
type early struct {
	leads    func() bool // whether the other one does
	mu       sync.Mutex
	requests []string
}

func (e *early) onHub(next http.RoundTripper) http.RoundTripper {
	return e.record(next, isWorkflowWrite)
}

func (e *early) onWEC(next http.RoundTripper) http.RoundTripper {
	return e.record(next, func(*http.Request) bool { return true })
}

func (e *early) record(next http.RoundTripper, counts func(*http.Request) bool) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if counts(r) && e.leads() {
			e.mu.Lock()
			e.requests = append(e.requests, r.Method+" "+r.URL.Path)
			e.mu.Unlock()
		}
		return next.RoundTrip(r)
	})
}

// stream is a row of Workflows, to both clusters in turn, that are driven to their end.
type stream struct {
	c      *clusters
	ns     string
	total  int
	ended  map[string]bool
	before int // creates on both clusters before it
}

func newStream(t *testing.T, c *clusters, ns string, total int) *stream {
	t.Helper()
	return &stream{c: c, ns: ns, total: total, ended: map[string]bool{}, before: c.creates(t, "cluster1") + c.creates(t, "cluster2")}
}

func (s *stream) name(i int) (workflow, cluster string) {
	return fmt.Sprintf("stream-%02d", i), fmt.Sprintf("cluster%d", 1+i%2)
}

func (s *stream) submit(t *testing.T, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		name, cluster := s.name(i)
		s.c.submit(t, s.ns, name, cluster)
	}
}

// drive lets every WEC copy that is there run and end, as Argo does, until all hub copies show their end.
func (s *stream) drive(t *testing.T, limit time.Duration) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for len(s.ended) < s.total {
		for i := range s.total {
			name, cluster := s.name(i)
			if s.ended[name] {
				continue
			}
			if wecCopy := s.c.wecs[cluster].get(t.Context(), s.ns, name); wecCopy != nil && phase(wecCopy) == "" {
				s.c.wecs[cluster].argo(t, s.ns, name, "Succeeded")
			}
			hubCopy := s.c.hub.get(t.Context(), s.ns, name)
			if phase(hubCopy) == "Succeeded" {
				s.ended[name] = true
			} else if time.Now().After(deadline) {
				t.Fatalf("%d of %d Workflows have ended within %s, and not %s", len(s.ended), s.total, limit, describe(hubCopy))
			}
		}
	}
}

// checkOnce checks that each was created once.
func (s *stream) checkOnce(t *testing.T) {
	t.Helper()
	if created := s.c.creates(t, "cluster1") + s.c.creates(t, "cluster2") - s.before; created != s.total {
		t.Errorf("%d Workflows were created %d times", s.total, created)
	}
}

// TestLeaderDies kills the leader in the middle of a stream of Workflows: the standby, which has done nothing until then, goes on,
// and each Workflow is created once.
func TestLeaderDies(t *testing.T) {
	const total = 24
	killed := &crash{at: total, before: true} // a write in the middle: each Workflow has some four
	var once sync.Once
	over := make(chan error, 1)
	c := sharedClusters(t)
	configure := elected(t, c, "0")
	c, first, ns := setUp(t, managerOptions{
		hubTransport: killed.wrap, wecTransport: killed.wrap, configure: configure, ended: func(err error) { once.Do(func() { over <- err }) },
	})
	s := newStream(t, c, ns, total)
	s.submit(t, 0, 1)
	c.hub.waitFor(t, ns, "stream-00", "the first replica to lead", placedOn("cluster1"))
	standby := &early{leads: func() bool { return !killed.died() }}
	startManager(t, c, managerOptions{hubTransport: standby.onHub, wecTransport: standby.onWEC, configure: configure})
	s.submit(t, 1, total)
	s.drive(t, 2*time.Minute)
	if !killed.died() {
		t.Fatal("the leader was never killed")
	}
	select {
	case err := <-over:
		if !strings.Contains(err.Error(), "leader election lost") {
			t.Errorf("the leader that is cut off ended with %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("the leader that is cut off does not end: it would act again once its connections are back")
	}
	first.stop()
	s.checkOnce(t)
	if len(standby.requests) > 0 {
		t.Errorf("the standby did this while another one led: %v", standby.requests)
	}
}

// TestLeaderEnds tells the leader to end while Workflows are under way: it finishes what it has begun, gives the Lease back, and
// the other one goes on without waiting for the Lease to expire.
func TestLeaderEnds(t *testing.T) {
	const total = 10
	var inFlight sync.WaitGroup
	var cut []string
	var mu sync.Mutex
	slow := func(next http.RoundTripper) http.RoundTripper { // a create takes a second, and is not to be cut off
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if !isWorkflowWrite(r) || r.Method != http.MethodPost {
				return next.RoundTrip(r)
			}
			inFlight.Add(1)
			defer inFlight.Done()
			select {
			case <-time.After(time.Second):
			case <-r.Context().Done():
				mu.Lock()
				cut = append(cut, r.URL.Path)
				mu.Unlock()
			}
			return next.RoundTrip(r)
		})
	}
	c := sharedClusters(t)
	address := freeAddress(t)
	configure := elected(t, c, "0")
	c, first, ns := setUp(t, managerOptions{wecTransport: slow, configure: configure})
	s := newStream(t, c, ns, total)
	s.submit(t, 0, 1)
	c.hub.waitFor(t, ns, "stream-00", "the first replica to lead", placedOn("cluster1"))
	leader := holder(t.Context(), t, c)
	startManager(t, c, managerOptions{configure: elected(t, c, address)})
	eventually(t, "a standby to be ready and well", func(ctx context.Context) (bool, string) {
		ready, said := ask(ctx, "http://"+address+"/readyz")
		well, _ := ask(ctx, "http://"+address+"/healthz")
		return ready == http.StatusOK && well == http.StatusOK && holder(ctx, t, c) == leader, said
	})
	s.submit(t, 1, total)
	c.hub.waitFor(t, ns, "stream-09", "the last placement", func(w *unstructured.Unstructured) bool { _, ok := stellarflow.PlacementOf(w); return ok })
	first.stop()
	inFlight.Wait()
	if now := holder(t.Context(), t, c); now == leader {
		t.Error("the leader has ended and keeps the Lease: the standby must wait for it to expire")
	}
	s.drive(t, 2*time.Minute)
	s.checkOnce(t)
	if len(cut) > 0 {
		t.Errorf("the end cut off these creates, whose outcome nobody knows then: %v", cut)
	}
}

// TestTwoLeadersPlaceOnce lets another manager, which was taken for dead or is about to be, place a Workflow that this one's cache shows
// without a record: the record stands as it was written, and the Workflow is created where it says.
func TestTwoLeadersPlaceOnce(t *testing.T) {
	c := sharedClusters(t)
	system, err := c.wecs["cluster2"].core.CoreV1().Namespaces().Get(t.Context(), metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	var uid types.UID
	submitted := make(chan struct{})
	other := func(ns string) {
		<-submitted
		record := stellarflow.Placement{UID: uid, Policy: "p", Cluster: "cluster2", ClusterID: system.UID, Attempt: 1, Time: time.Now().UTC().Truncate(time.Second)}
		patch := fmt.Sprintf(`{"metadata":{"labels":{%q:"cluster2"},"annotations":{%q:%q,%q:""},"finalizers":[%q]}}`, stellarflow.LabelCluster,
			stellarflow.AnnotationPlacement, record, stellarflow.AnnotationObserved, stellarflow.FinalizerCleanup)
		if _, err := c.hub.as(t, hubManager).Resource(stellarflow.Workflows).Namespace(ns).Patch(t.Context(), "raced", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Error(err)
		}
	}
	_, _, ns := setUp(t, managerOptions{hubTransport: func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/workflows/raced") {
				once.Do(func() { other(namespaceOf(r)) })
			}
			return next.RoundTrip(r)
		})
	}})
	uid = c.submit(t, ns, "raced", "cluster1").GetUID()
	close(submitted)
	c.wecs["cluster2"].waitFor(t, ns, "raced", "the WEC copy", exists)
	hubCopy := c.hub.waitFor(t, ns, "raced", "its UID in the record", func(w *unstructured.Unstructured) bool { return mustPlacement(t, w).WECUID != "" })
	if record := mustPlacement(t, hubCopy); record.Cluster != "cluster2" || record.Attempt != 1 {
		t.Errorf("the record was written again: %s", record)
	}
	if c.wecs["cluster1"].get(t.Context(), ns, "raced") != nil {
		t.Error("it is on cluster1 too")
	}
}
