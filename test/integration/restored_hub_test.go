package integration

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

const heldBack = "the hub was restored from a backup at 20"

// annotateLease writes annotations of the hub's Lease on a WEC; an empty value removes one. No manager may run.
func (c *clusters) annotateLease(t *testing.T, cluster string, annotations map[string]string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	lease, err := c.lease(ctx, cluster)
	if err != nil {
		return // there is none yet
	}
	for key, value := range annotations {
		metav1.SetMetaDataAnnotation(&lease.ObjectMeta, key, value)
		if value == "" {
			delete(lease.Annotations, key)
		}
	}
	if _, err := c.wecs[cluster].core.CoordinationV1().Leases(lease.Namespace).Update(ctx, lease, metav1.UpdateOptions{}); err != nil {
		t.Error(err)
	}
}

// shifted is a manager, and the WECs, whose clocks differ from that of the hub's API server.
func shifted(by time.Duration) managerOptions {
	return managerOptions{
		now:          func() time.Time { return time.Now().Add(by) },
		wecTransport: dates(func() time.Duration { return by }),
	}
}

// dates is a transport to servers whose clocks are ahead.
func dates(ahead func() time.Duration) func(http.RoundTripper) http.RoundTripper {
	return func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			response, err := next.RoundTrip(r)
			if err == nil {
				response.Header.Set("Date", time.Now().Add(ahead()).UTC().Format(http.TimeFormat))
			}
			return response, err
		})
	}
}

// forgetsRestores makes the WECs forget that the hub was restored, before and after a test that shifts its clock.
func (c *clusters) forgetsRestores(t *testing.T) {
	t.Helper()
	forget := func() {
		for name := range c.wecs {
			c.annotateLease(t, name, map[string]string{stellarflow.AnnotationHubRestored: ""})
		}
	}
	forget()
	t.Cleanup(forget)
}

// goesBack makes a WEC remember a hub that was further than it is, as after a restore of the hub's etcd.
func (c *clusters) goesBack(t *testing.T) {
	t.Helper()
	c.annotateLease(t, "cluster1", map[string]string{stellarflow.AnnotationHubVersion: "900000000000000"})
}

// restoreIsOver waits until the manager has noticed that the hub was restored, and until that is so long ago that what is created now
// is younger, as exactly as clocks that write seconds can say.
func (c *clusters) restoreIsOver(t *testing.T, o managerOptions) {
	t.Helper()
	eventually(t, "the restore to be noticed, and seconds more", func(ctx context.Context) (bool, string) {
		lease, err := c.lease(ctx, "cluster1")
		if err != nil {
			return false, err.Error()
		}
		at, err := time.Parse(time.RFC3339, lease.Annotations[stellarflow.AnnotationHubRestored])
		return err == nil && o.now().Sub(at) > 3*time.Second, fmt.Sprint(lease.Annotations, err)
	})
}

// TestRestoredHubHoldsBack restores the hub from a backup that knows nothing of what came after it. Whatever may have run since is not
// created by itself, which is said with the ways out; what runs is found again. The hub's API server is an hour ahead of everybody
// else: what it wrote down before the restore looks as if it had been created after it.
func TestRestoredHubHoldsBack(t *testing.T) {
	c := sharedClusters(t)
	c.forgetsRestores(t)
	options := shifted(-time.Hour)
	var losing atomic.Bool
	shift := options.wecTransport
	options.wecTransport = func(next http.RoundTripper) http.RoundTripper {
		next = shift(next)
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if losing.Load() && r.Method == http.MethodPost && isWorkflowWrite(r) {
				return nil, errInjected
			}
			return next.RoundTrip(r)
		})
	}
	_, m, ns := setUp(t, options)
	wec := c.wecs["cluster1"]
	c.running(t, ns, "runs", "cluster1")
	c.running(t, ns, "unknown", "cluster1")
	losing.Store(true)
	for _, name := range []string{"placed", "placed-too"} {
		c.submit(t, ns, name, "cluster1")
		c.hub.waitFor(t, ns, name, "a placement", placedOn("cluster1"))
	}
	m.stop()
	losing.Store(false)
	c.submit(t, ns, "created", "cluster1") // and not placed yet when the backup was made
	c.loseRecord(t, ns, "runs")
	c.orphan(t, ns, "unknown")
	c.goesBack(t)
	before := c.creates(t, "cluster1") + c.creates(t, "cluster2")

	for _, what := range []string{"after the restore", "after another restart"} {
		m = startManager(t, c, options)
		t.Run(what, func(t *testing.T) {
			c.condition(t, "cluster1", withReason("Ready"))
			for _, name := range []string{"placed", "placed-too", "created"} {
				c.hub.waitFor(t, ns, name, "why it is held back", waiting(heldBack))
			}
			said := message(c.hub.get(t.Context(), ns, "created"))
			if !strings.HasSuffix(said, ", and whether this has run before cannot be known: resubmit it to run it, or delete it") {
				t.Errorf("the message is %q", said)
			}
			c.hub.waitFor(t, ns, "runs", "its record and its state", func(w *unstructured.Unstructured) bool {
				return placedOn("cluster1")(w) && phase(w) == "Running"
			})
		})
		if what == "after the restore" {
			m.stop()
		}
	}
	t.Run("what ran runs on", func(t *testing.T) {
		wec.argo(t, ns, "runs", "Succeeded")
		c.hub.waitFor(t, ns, "runs", "its end", inPhase("Succeeded"))
	})
	t.Run("move is refused", func(t *testing.T) {
		c.ask(t, ns, "placed", stellarflow.RequestMove)
		c.waitEvent(t, ns, "placed", "RequestRefused", heldBack)
	})
	t.Run("abandon and delete end the wait", func(t *testing.T) {
		c.ask(t, ns, "placed", stellarflow.RequestAbandon)
		c.hub.waitFor(t, ns, "placed", "its end", inPhase("Error"))
		for _, name := range []string{"placed", "placed-too", "created"} {
			if err := c.hub.workflows(ns).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			c.hub.waitFor(t, ns, name, "the hub copy to go", gone)
		}
	})
	t.Run("adopt takes over what the backup does not know", func(t *testing.T) {
		orphan := wec.get(t.Context(), ns, "unknown")
		adopting := c.submit(t, ns, "unknown", "cluster1", func(w *unstructured.Unstructured) {
			w.SetAnnotations(map[string]string{stellarflow.AnnotationAdopts: "cluster1/" + string(orphan.GetUID())})
		})
		patchWEC(t, wec, ns, "unknown", fmt.Sprintf(`{"metadata":{"annotations":{%q:%q,%q:"1"}}}`, stellarflow.AnnotationHubUID, adopting.GetUID(), stellarflow.AnnotationAttempt))
		wec.argo(t, ns, "unknown", "Succeeded")
		c.hub.waitFor(t, ns, "unknown", "its end", inPhase("Succeeded"))
	})
	if n := c.creates(t, "cluster1") + c.creates(t, "cluster2") - before; n != 0 {
		t.Errorf("%d Workflows were created after the restore", n)
	}
	t.Run("resubmit runs it", func(t *testing.T) {
		c.restoreIsOver(t, options)
		c.submit(t, ns, "resubmitted", "cluster1")
		wec.waitFor(t, ns, "resubmitted", "the WEC copy", exists)
	})
}

// TestRestoredHubWithASlowClock restores a hub whose API server is an hour behind everybody else: what is created from then on is not
// taken for older than the restore.
func TestRestoredHubWithASlowClock(t *testing.T) {
	c := sharedClusters(t)
	c.forgetsRestores(t)
	options := shifted(time.Hour)
	_, m, ns := setUp(t, options)
	c.condition(t, "cluster1", withReason("Ready"))
	m.stop()
	c.goesBack(t)
	startManager(t, c, options)
	c.restoreIsOver(t, options)
	c.submit(t, ns, "new", "cluster1")
	c.wecs["cluster1"].waitFor(t, ns, "new", "the WEC copy", exists)
}

// loseRecord takes what the hub noted on a Workflow away, as a backup from before its placement has it.
func (c *clusters) loseRecord(t *testing.T, ns, name string) {
	t.Helper()
	if _, err := c.hub.as(t, hubManager).Resource(stellarflow.Workflows).Namespace(ns).Patch(t.Context(), name, types.MergePatchType, []byte(
		`{"metadata":{"finalizers":null,"labels":{"stellarflow.io/cluster":null},"annotations":{"stellarflow.io/placement":null,"stellarflow.io/observed":null}},"status":null}`),
		metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}
