package integration

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/wec"
)

var errInjected = errors.New("injected fault")

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// isWorkflowWrite reports whether a request changes a Workflow.
func isWorkflowWrite(r *http.Request) bool {
	return r.Method != http.MethodGet && strings.Contains(r.URL.Path, "/apis/argoproj.io/v1alpha1/")
}

// isTombstoneWrite reports whether a request changes a tombstone.
func isTombstoneWrite(r *http.Request) bool {
	return r.Method != http.MethodGet && strings.Contains(r.URL.Path, "/namespaces/"+stellarflow.SystemNamespace+"/configmaps")
}

// crash lets a manager die at its nth write to a Workflow or tombstone, on the hub or a WEC: before the write is sent, or after it
// was answered but before the manager saw the answer. Only its Leases it still gives back, so that the next one need not wait for them
// to run out: TestCrashedHolder waits.
type crash struct {
	at     int
	before bool
	idle   bool // writes count from begin on

	mu     sync.Mutex
	writes []string
	dead   bool
}

func (c *crash) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		c.mu.Lock()
		if c.dead {
			c.mu.Unlock()
			if strings.Contains(r.URL.Path, "/leases/"+wec.LeaseName("")) { // it gives back what it holds on WECs
				return next.RoundTrip(r)
			}
			return nil, errInjected
		}
		dies := false
		if !c.idle && (isWorkflowWrite(r) || isTombstoneWrite(r)) {
			c.writes = append(c.writes, r.Method+" "+r.URL.Path)
			dies = len(c.writes) == c.at
		}
		c.dead = c.dead || dies
		c.mu.Unlock()
		if dies && c.before {
			return nil, errInjected
		}
		response, err := next.RoundTrip(r)
		if dies && err == nil {
			_ = response.Body.Close()
			return nil, errInjected
		}
		return response, err
	})
}

// begin starts the count of an idle crash.
func (c *crash) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle = false
}

func (c *crash) name() string {
	return fmt.Sprintf("write-%d-%s", c.at, map[bool]string{true: "unsent", false: "unseen"}[c.before])
}

func (c *crash) died() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dead
}

// TestRestartInEveryGap kills the manager at every write of a Workflow's life, from the placement to the last finalizer, and
// lets another one finish. Whatever the gap, the Workflow is created once and ends as it should.
func TestRestartInEveryGap(t *testing.T) {
	const fewest = 7 // placement, create, a mirror, stop, harvest, delete, cleanup
	for _, before := range []bool{true, false} {
		inEveryGap(t, before, fewest)
	}
}

// TestRestartInEveryGapOfASubresource is the same where a change of a status is two writes. What is unseen is what the next write
// finds unsent, so each gap is tried once.
func TestRestartInEveryGapOfASubresource(t *testing.T) {
	withSubresource(t)
	const fewest = 9 // placement and mirror are two
	inEveryGap(t, false, fewest)
}

// inEveryGap lives as many lives as there are writes in one. Fewer than the fewest mean that nothing was tried.
func inEveryGap(t *testing.T, before bool, fewest int) {
	t.Helper()
	for at := 1; ; at++ {
		c := &crash{at: at, before: before}
		name := c.name()
		reached := false
		t.Run(name, func(t *testing.T) { reached = lifeWithCrash(t, c, name) })
		if !reached || t.Failed() {
			if at <= fewest {
				t.Errorf("only %d writes were seen", at-1)
			}
			return
		}
	}
}

// lifeWithCrash drives one Workflow through its life and reports whether the crash came.
func lifeWithCrash(t *testing.T, crash *crash, name string) bool {
	c, m, ns := setUp(t, managerOptions{hubTransport: crash.wrap, wecTransport: crash.wrap})
	before := c.creates(t, "cluster1") + c.creates(t, "cluster2")
	c.submit(t, ns, name, "cluster1")
	wec := c.wecs["cluster1"]
	restarted, deleted, ended := false, false, false
	eventually(t, "the end of "+name, func(ctx context.Context) (bool, string) {
		if crash.died() && !restarted {
			restarted = true
			m.stop()
			startManager(t, c, managerOptions{})
		}
		hubCopy, wecCopy := c.hub.get(ctx, ns, name), wec.get(ctx, ns, name)
		switch {
		case deleted:
			return hubCopy == nil && wecCopy == nil, describe(hubCopy) + describe(wecCopy)
		case wecCopy != nil && phase(wecCopy) == "":
			wec.argo(t, ns, name, "Running")
		case phase(wecCopy) == "Running" && phase(hubCopy) == "Running" && shutdown(hubCopy) == "":
			c.stop(t, ns, name, "Stop")
		case phase(wecCopy) == "Running" && shutdown(wecCopy) == "Stop":
			wec.argo(t, ns, name, "Failed")
		case phase(hubCopy) == "Failed" && !hasFinalizer(wecCopy, stellarflow.FinalizerHarvest):
			ended, deleted = true, true
			if err := c.hub.workflows(ns).Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		}
		return false, describe(hubCopy) + describe(wecCopy)
	})
	if created := c.creates(t, "cluster1") + c.creates(t, "cluster2") - before; created != 1 || !ended {
		t.Errorf("created %d times, ended %v; writes: %v", created, ended, crash.writes)
	}
	return crash.died()
}

// TestAmbiguousCreate loses the answer to a create, and the create itself.
func TestAmbiguousCreate(t *testing.T) {
	for name, sent := range map[string]bool{"answer-lost": true, "request-lost": false} {
		t.Run(name, func(t *testing.T) {
			var once sync.Once
			c, _, ns := setUp(t, managerOptions{wecTransport: func(next http.RoundTripper) http.RoundTripper {
				return roundTripper(func(r *http.Request) (*http.Response, error) {
					if r.Method == http.MethodPost && isWorkflowWrite(r) {
						lost := false
						once.Do(func() { lost = true })
						if lost && !sent {
							return nil, errInjected
						}
						if lost {
							if response, err := next.RoundTrip(r); err == nil {
								_ = response.Body.Close()
							}
							return nil, errInjected
						}
					}
					return next.RoundTrip(r)
				})
			}})
			before := c.creates(t, "cluster1") + c.creates(t, "cluster2")
			c.submit(t, ns, name, "cluster1")
			c.hub.waitFor(t, ns, name, "the WEC copy's UID", func(w *unstructured.Unstructured) bool {
				record, ok := stellarflow.PlacementOf(w)
				return ok && record.WECUID != ""
			})
			if created := c.creates(t, "cluster1") + c.creates(t, "cluster2") - before; created != 1 {
				t.Errorf("created %d times", created)
			}
		})
	}
}

// TestUsersRacePlacement lets a user write between the read that a placement is decided from and the write that records it.
func TestUsersRacePlacement(t *testing.T) {
	for name, test := range map[string]struct {
		patch  string
		wanted func(*unstructured.Unstructured) bool
	}{
		"resume": {`{"spec":{"suspend":null}}`, func(w *unstructured.Unstructured) bool {
			return w.GetLabels()[stellarflow.LabelCluster] == "" && w.GetGeneration() == 2
		}},
		"relabel": {`{"metadata":{"labels":{"kubestellar.io/cluster":"cluster2"}}}`, placedOn("cluster2")},
		"suspend": {`{"spec":{"suspend":true,"priority":1}}`, placedOn("cluster1")},
	} {
		t.Run(name, func(t *testing.T) {
			var c *clusters
			var once sync.Once
			raced := make(chan struct{})
			c, _, ns := setUp(t, managerOptions{hubTransport: func(next http.RoundTripper) http.RoundTripper {
				return roundTripper(func(r *http.Request) (*http.Response, error) {
					if r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/workflows/raced-"+name) {
						once.Do(func() {
							if _, err := sharedClusters(t).hub.workflows(namespaceOf(r)).Patch(r.Context(), "raced-"+name, types.MergePatchType, []byte(test.patch), metav1.PatchOptions{}); err != nil {
								t.Error(err)
							}
							close(raced)
						})
					}
					return next.RoundTrip(r)
				})
			}})
			c.submit(t, ns, "raced-"+name, "cluster1")
			<-raced
			c.submit(t, ns, "after", "cluster1")
			c.hub.waitFor(t, ns, "after", "a later placement", placedOn("cluster1"))
			c.hub.waitFor(t, ns, "raced-"+name, "the outcome", test.wanted)
		})
	}
}

func namespaceOf(r *http.Request) string {
	_, after, _ := strings.Cut(r.URL.Path, "/namespaces/")
	namespace, _, _ := strings.Cut(after, "/")
	return namespace
}

// TestHangingClusterDelaysNobody lets every request to one WEC hang while Workflows go to the other.
func TestHangingClusterDelaysNobody(t *testing.T) {
	c := sharedClusters(t)
	hanging := c.wecs["cluster1"].address()
	c, _, ns := setUp(t, managerOptions{wecTransport: func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.URL.Host == hanging {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return next.RoundTrip(r)
		})
	}})
	c.submit(t, ns, "stuck", "cluster1")
	for i := range 10 {
		c.submit(t, ns, fmt.Sprintf("free-%d", i), "cluster2")
	}
	for i := range 10 {
		name := fmt.Sprintf("free-%d", i)
		c.wecs["cluster2"].waitFor(t, ns, name, "the WEC copy", exists)
		c.wecs["cluster2"].argo(t, ns, name, "Succeeded")
		c.hub.waitFor(t, ns, name, "its end", inPhase("Succeeded"))
	}
	c.hub.waitFor(t, ns, "stuck", "why it waits", waiting("cluster1"))
}

// TestUnreachable cuts a WEC off while a Workflow runs there.
func TestUnreachable(t *testing.T) {
	var cut sync.Map
	c, _, ns := setUp(t, managerOptions{wecTransport: func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if _, isCut := cut.Load(r.URL.Host); isCut {
				return nil, errInjected
			}
			return next.RoundTrip(r)
		})
	}})
	c.submit(t, ns, "cutoff", "cluster1")
	c.wecs["cluster1"].waitFor(t, ns, "cutoff", "the WEC copy", exists)
	c.wecs["cluster1"].argo(t, ns, "cutoff", "Running")
	c.hub.waitFor(t, ns, "cutoff", "phase Running", inPhase("Running"))
	host := c.wecs["cluster1"].address()
	cut.Store(host, true)
	said := c.hub.waitFor(t, ns, "cutoff", "that it cannot be reached", func(w *unstructured.Unstructured) bool {
		return strings.Contains(w.GetAnnotations()[stellarflow.AnnotationSync], "cluster cluster1 cannot be reached since 20")
	})
	if phase(said) != "Running" {
		t.Errorf("the last known state became %q", phase(said))
	}
	c.wecs["cluster1"].argo(t, ns, "cutoff", "Succeeded")
	cut.Delete(host)
	c.hub.waitFor(t, ns, "cutoff", "the end, and no word of the cut", func(w *unstructured.Unstructured) bool {
		return phase(w) == "Succeeded" && w.GetAnnotations()[stellarflow.AnnotationSync] == ""
	})
}

// TestRequestsPerWorkflow counts what one Workflow costs, from the API servers' own metrics.
func TestRequestsPerWorkflow(t *testing.T) {
	var read atomic.Int32
	c, m, ns := setUp(t, managerOptions{hubTransport: func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/workflows/counted") {
				read.Add(1)
			}
			return next.RoundTrip(r)
		})
	}})
	wec := c.wecs["cluster1"]
	c.submit(t, ns, "warm-up", "cluster1") // makes the namespace
	wec.waitFor(t, ns, "warm-up", "the WEC copy", exists)
	wec.argo(t, ns, "warm-up", "Succeeded")
	wec.waitFor(t, ns, "warm-up", "harvest released", func(w *unstructured.Unstructured) bool { return !hasFinalizer(w, stellarflow.FinalizerHarvest) })

	hubBefore, wecBefore := c.hub.requests(t), wec.requests(t)
	c.submit(t, ns, "counted", "cluster1")
	wec.waitFor(t, ns, "counted", "the WEC copy", exists)
	const changes = 3
	for _, p := range []string{"Pending", "Running", "Succeeded"} {
		wec.argo(t, ns, "counted", p)
		c.hub.waitFor(t, ns, "counted", "phase "+p, func(w *unstructured.Unstructured) bool {
			return inPhase(p)(w) && strings.HasPrefix(w.GetAnnotations()[stellarflow.AnnotationObserved], string(mustPlacement(t, w).WECUID)+"/")
		})
	}
	wec.waitFor(t, ns, "counted", "harvest released", func(w *unstructured.Unstructured) bool { return !hasFinalizer(w, stellarflow.FinalizerHarvest) })
	if err := c.hub.workflows(ns).Delete(t.Context(), "counted", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.hub.waitFor(t, ns, "counted", "the end", gone)
	m.stop()
	hub, wecs := c.hub.requests(t), wec.requests(t)
	// the manager is the only one that patches; the test creates, deletes and updates
	if n := hub["PATCH"] - hubBefore["PATCH"]; n > 1+1+changes+1 {
		t.Errorf("%d writes on the hub, want at most one placement, one of the UID, %d states and one finalizer", n, changes)
	}
	if n := hub["PATCH"] - hub["PATCH 200"] - hubBefore["PATCH"] + hubBefore["PATCH 200"]; n > 0 {
		t.Logf("%d of them lost a race", n)
	}
	if n := read.Load(); n > 2 {
		t.Errorf("the hub manager has read the hub copy %d times, want once to place and once to create it", n)
	}
	if n := wecs["POST"] - wecBefore["POST"]; n != 1 {
		t.Errorf("%d creates on the WEC, want 1", n)
	}
	if n := wecs["PATCH"] - wecBefore["PATCH"]; n != 1 {
		t.Errorf("%d patches on the WEC, want one finalizer", n)
	}
	t.Logf("hub %v, WEC %v", diff(hub, hubBefore), diff(wecs, wecBefore))
}

func diff(after, before requests) requests {
	d := requests{}
	for key, n := range after {
		if n != before[key] {
			d[key] = n - before[key]
		}
	}
	return d
}

// TestRestartWritesNothing restarts the manager over Workflows in every state; what did not change is not written.
func TestRestartWritesNothing(t *testing.T) {
	c, m, ns := setUp(t, managerOptions{})
	wec := c.wecs["cluster1"]
	for name, p := range map[string]string{"running": "Running", "ended": "Succeeded", "failed": "Failed"} {
		c.submit(t, ns, name, "cluster1")
		wec.waitFor(t, ns, name, "the WEC copy", exists)
		wec.argo(t, ns, name, p)
		c.hub.waitFor(t, ns, name, "phase "+p, inPhase(p))
	}
	for _, name := range []string{"ended", "failed"} {
		wec.waitFor(t, ns, name, "harvest released", func(w *unstructured.Unstructured) bool { return !hasFinalizer(w, stellarflow.FinalizerHarvest) })
	}
	m.stop()
	versions := func() map[string]string {
		all := map[string]string{}
		for _, name := range []string{"running", "ended", "failed"} {
			all[name+" on the hub"] = c.hub.get(t.Context(), ns, name).GetResourceVersion()
			all[name+" on the WEC"] = wec.get(t.Context(), ns, name).GetResourceVersion()
		}
		return all
	}
	before, patches := versions(), c.hub.requests(t)["PATCH"]
	startManager(t, c, managerOptions{})
	// a Workflow that needs the same queues shows that the others had their turn
	c.submit(t, ns, "later", "cluster1")
	wec.waitFor(t, ns, "later", "the WEC copy", exists)
	wec.argo(t, ns, "later", "Running")
	c.hub.waitFor(t, ns, "later", "phase Running", inPhase("Running"))
	for name, version := range versions() {
		if version != before[name] {
			t.Errorf("%s was written at the restart", name)
		}
	}
	if n := c.hub.requests(t)["PATCH"] - patches; n > 4 {
		t.Errorf("%d writes on the hub after the restart, want those of one new Workflow", n)
	}
}

// neverWithin is for what must not happen: it fails as soon as it does.
func neverWithin(t *testing.T, d time.Duration, what string, happened func() bool) {
	t.Helper()
	for deadline := time.Now().Add(d); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if happened() {
			t.Fatal(what)
		}
	}
}
