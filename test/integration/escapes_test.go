package integration

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	clusterv1 "open-cluster-management.io/api/cluster/v1"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// TestAbandon gives Workflows up whose cluster is away, and lets it come back.
func TestAbandon(t *testing.T) {
	var net network
	c, _, ns := setUp(t, managerOptions{wecTransport: net.wrap})
	wec := c.wecs["cluster1"]
	for _, name := range []string{"running", "ended-there", "deleting", "disowned", "replaced"} {
		c.running(t, ns, name, "cluster1")
	}
	c.running(t, ns, "finished", "cluster1")
	wec.argo(t, ns, "finished", "Succeeded")
	c.hub.waitFor(t, ns, "finished", "its end", inPhase("Succeeded"))
	wec.waitFor(t, ns, "finished", "harvest released", func(w *unstructured.Unstructured) bool { return !hasFinalizer(w, stellarflow.FinalizerHarvest) })
	net.cut(t, c, "cluster1")

	t.Run("one that has ended is refused", func(t *testing.T) {
		c.ask(t, ns, "finished", stellarflow.RequestAbandon)
		c.waitEvent(t, ns, "finished", "RequestRefused", "it has ended: delete it")
		left := c.hub.waitFor(t, ns, "finished", "the request removed", func(w *unstructured.Unstructured) bool {
			return w.GetAnnotations()[stellarflow.AnnotationRequest] == ""
		})
		if phase(left) != "Succeeded" || left.GetAnnotations()[stellarflow.AnnotationAbandoned] != "" {
			t.Errorf("it was given up: %s", describe(left))
		}
	})
	t.Run("while the cluster is away", func(t *testing.T) {
		for _, name := range []string{"running", "ended-there", "disowned", "replaced"} {
			c.ask(t, ns, name, stellarflow.RequestAbandon)
			c.hub.waitFor(t, ns, name, "the end of "+name, isAbandoned)
		}
		c.waitEvent(t, ns, "running", "Abandoned", "it may still run on cluster cluster1")
		c.waitTombstones(t, ns, 4)
	})
	t.Run("a second time changes nothing", func(t *testing.T) {
		before := c.hub.get(t.Context(), ns, "running")
		c.ask(t, ns, "running", stellarflow.RequestAbandon)
		after := c.hub.waitFor(t, ns, "running", "the request removed", isAbandoned)
		if message(after) != message(before) || after.GetAnnotations()[stellarflow.AnnotationAbandoned] != before.GetAnnotations()[stellarflow.AnnotationAbandoned] {
			t.Errorf("before %s, after %s", describe(before), describe(after))
		}
	})
	t.Run("one that is being deleted goes at once", func(t *testing.T) {
		if err := c.hub.workflows(ns).Delete(t.Context(), "deleting", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		neverWithin(t, 500*time.Millisecond, "it went although its copy may run", func() bool { return c.hub.get(t.Context(), ns, "deleting") == nil })
		c.ask(t, ns, "deleting", stellarflow.RequestAbandon)
		c.hub.waitFor(t, ns, "deleting", "the hub copy to go", gone)
		c.waitTombstones(t, ns, 5)
	})

	wec.argo(t, ns, "ended-there", "Succeeded")
	disown := `{"metadata":{"annotations":{"stellarflow.io/hub-uid":"00000000-0000-0000-0000-000000000000"}}}`
	if _, err := wec.workflows(ns).Patch(t.Context(), "disowned", types.MergePatchType, []byte(disown), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	replaced := wec.replace(t, ns, "replaced")
	net.heal(t, c, "cluster1")
	t.Run("when the cluster is back its copies are removed", func(t *testing.T) {
		for _, name := range []string{"running", "ended-there", "deleting"} {
			wec.waitFor(t, ns, name, "the copy of "+name+" to go", gone)
		}
		c.waitEvent(t, ns, "running", "GivenUpCopyGone", "no copy of it is on cluster cluster1 any more")
		shown := c.hub.get(t.Context(), ns, "ended-there")
		if !isAbandoned(shown) {
			t.Errorf("what was given up was mirrored: %s", describe(shown))
		}
	})
	t.Run("what is not certainly its copy is left alone", func(t *testing.T) {
		c.waitTombstones(t, ns, 2) // of disowned and replaced: nobody has seen that those copies are gone
		for _, name := range []string{"disowned", "replaced"} {
			if left := wec.get(t.Context(), ns, name); left == nil || left.GetDeletionTimestamp() != nil {
				t.Errorf("%s was removed: %s", name, describe(left))
			}
		}
		if left := wec.get(t.Context(), ns, "replaced"); left != nil && left.GetUID() != replaced.GetUID() {
			t.Error("another object is there now")
		}
	})
}

// TestAbandonWithoutManagedCluster gives a Workflow up after its cluster has left; the same cluster joins again.
func TestAbandonWithoutManagedCluster(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{})
	c.running(t, ns, "left", "cluster1")
	c.submit(t, ns, "again", "cluster2")
	c.leaves(t, "cluster1")
	c.ask(t, ns, "left", stellarflow.RequestAbandon)
	c.hub.waitFor(t, ns, "left", "its end", isAbandoned)
	if err := c.hub.workflows(ns).Delete(t.Context(), "left", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.hub.waitFor(t, ns, "left", "the hub copy to go", gone)
	// a new one of that name waits for the old copy, which goes first
	c.submit(t, ns, "left", "cluster1")
	before := c.wecs["cluster1"].get(t.Context(), ns, "left")
	c.join(t, "cluster1")
	created := c.wecs["cluster1"].waitFor(t, ns, "left", "a copy of the new one", func(w *unstructured.Unstructured) bool { return w != nil && w.GetUID() != before.GetUID() })
	c.waitTombstones(t, ns, 0)
	c.wecs["cluster1"].argo(t, ns, "left", "Succeeded")
	shown := c.hub.waitFor(t, ns, "left", "its end", inPhase("Succeeded"))
	if mustPlacement(t, shown).WECUID != created.GetUID() {
		t.Errorf("record %s, the copy is %s", mustPlacement(t, shown), created.GetUID())
	}
}

// TestAbandonInEveryGap kills the manager at every write of giving a Workflow up and of removing its copy later.
func TestAbandonInEveryGap(t *testing.T) {
	for _, before := range []bool{true, false} {
		for at := 1; at <= 5; at++ { // tombstone, hub copy, delete, harvest, tombstone
			c := &crash{at: at, before: before, idle: true}
			t.Run(c.name(), func(t *testing.T) { abandonWithCrash(t, c) }) // it ends only after the crash came
		}
	}
}

func abandonWithCrash(t *testing.T, crash *crash) {
	var net network
	timing := quickTiming()
	timing.Connection.Probe = time.Second // so that it is soon noticed that a cluster is away, and back
	c, m, ns := setUp(t, managerOptions{
		timing: timing, hubTransport: crash.wrap, wecTransport: func(next http.RoundTripper) http.RoundTripper { return crash.wrap(net.wrap(next)) },
	})
	wec := c.wecs["cluster1"]
	c.running(t, ns, "given-up", "cluster1")
	created := c.creates(t, "cluster1")
	net.cut(t, c, "cluster1")
	c.hub.waitFor(t, ns, "given-up", "that it is away", func(w *unstructured.Unstructured) bool { return w.GetAnnotations()[stellarflow.AnnotationSync] != "" })
	crash.begin()
	c.ask(t, ns, "given-up", stellarflow.RequestAbandon)
	restarted := false
	eventually(t, "the end", func(ctx context.Context) (bool, string) {
		if crash.died() && !restarted {
			restarted = true
			m.stop()
			startManager(t, c, managerOptions{timing: timing, wecTransport: net.wrap})
		}
		hubCopy := c.hub.get(ctx, ns, "given-up")
		if isAbandoned(hubCopy) {
			net.down.Delete(wec.address())
		}
		wecCopy, left := wec.get(ctx, ns, "given-up"), len(c.tombstones(ctx, ns))
		return isAbandoned(hubCopy) && wecCopy == nil && left == 0 && restarted, describe(hubCopy) + describe(wecCopy)
	})
	if again := c.creates(t, "cluster1") - created; again != 0 {
		t.Errorf("created %d times more; writes: %v", again, crash.writes)
	}
}

// TestMove lets the creates of one cluster get lost, so that nobody knows whether it has the Workflow, and asks for another.
func TestMove(t *testing.T) {
	c := sharedClusters(t)
	lossy := c.wecs["cluster1"].address()
	c, _, ns := setUp(t, managerOptions{wecTransport: func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.URL.Host == lossy && r.Method == http.MethodPost && isWorkflowWrite(r) {
				return nil, errInjected
			}
			return next.RoundTrip(r)
		})
	}})
	c.create(t, policy("both", map[string]string{"location-group": "edge"}))
	t.Run("to another cluster that matches", func(t *testing.T) {
		for _, name := range []string{"busy-1", "busy-2"} { // cluster2 has more: cluster1 is chosen
			c.submit(t, ns, name, "cluster2")
			c.hub.waitFor(t, ns, name, "placement", placedOn("cluster2"))
		}
		c.submit(t, ns, "moves", "both")
		c.hub.waitFor(t, ns, "moves", "what is wrong", waiting("keeps failing"))
		c.ask(t, ns, "moves", stellarflow.RequestMove)
		moved := c.hub.waitFor(t, ns, "moves", "the second attempt", placedOn("cluster2"))
		record := mustPlacement(t, moved)
		if record.Attempt != 2 || len(record.Refused) != 1 || record.Refused[0] != "cluster1" || moved.GetAnnotations()[stellarflow.AnnotationRequest] != "" {
			t.Errorf("record %s on %s", record, describe(moved))
		}
		c.wecs["cluster2"].waitFor(t, ns, "moves", "the WEC copy", exists)
		c.waitEvent(t, ns, "moves", "Moved", "moved from cluster cluster1 to cluster cluster2")
	})
	t.Run("nowhere else: refused, and it stays", func(t *testing.T) {
		c.submit(t, ns, "stays", "cluster1")
		c.hub.waitFor(t, ns, "stays", "what is wrong", waiting("keeps failing"))
		c.ask(t, ns, "stays", stellarflow.RequestMove)
		c.waitEvent(t, ns, "stays", "RequestRefused", "no other cluster takes it")
		c.hub.waitFor(t, ns, "stays", "the same record, no request", func(w *unstructured.Unstructured) bool {
			return placedOn("cluster1")(w) && mustPlacement(t, w).Attempt == 1 && w.GetAnnotations()[stellarflow.AnnotationRequest] == ""
		})
	})
	t.Run("one that was seen is refused", func(t *testing.T) {
		c.running(t, ns, "seen", "cluster2")
		c.ask(t, ns, "seen", stellarflow.RequestMove)
		c.waitEvent(t, ns, "seen", "RequestRefused", "its copy was seen on cluster cluster2 and may have run")
	})
	t.Run("what nobody understands is refused with what there is", func(t *testing.T) {
		c.running(t, ns, "odd", "cluster2")
		c.annotate(t, hubManager, ns, "odd", stellarflow.AnnotationRequest, "stop") // the guard stops everybody else
		c.waitEvent(t, ns, "odd", "RequestRefused", `stellarflow.io/request="stop" is unknown: abandon gives the Workflow up, move places`)
	})
	t.Run("a Workflow that is not placed has nothing to give up", func(t *testing.T) {
		c.submit(t, ns, "local", "cluster1", func(w *unstructured.Unstructured) { unstructured.RemoveNestedField(w.Object, "spec", "suspend") })
		c.ask(t, ns, "local", stellarflow.RequestAbandon)
		c.waitEvent(t, ns, "local", "RequestRefused", "it is not placed on a cluster")
		c.hub.waitFor(t, ns, "local", "no request", func(w *unstructured.Unstructured) bool { return len(w.GetAnnotations()) == 0 })
	})
}

// TestMoveOfALostAnswer asks for another cluster where the create arrived and its answer did not: that is no start that can be
// excluded.
func TestMoveOfALostAnswer(t *testing.T) {
	var c *clusters
	var net network
	c = sharedClusters(t)
	lossy := c.wecs["cluster1"].address()
	c, _, ns := setUp(t, managerOptions{wecTransport: func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.URL.Host == lossy && r.Method == http.MethodPost && isWorkflowWrite(r) {
				if response, err := net.wrap(next).RoundTrip(r); err == nil {
					_ = response.Body.Close()
				}
				net.down.Store(lossy, true) // and nothing is seen after it
				return nil, errInjected
			}
			return net.wrap(next).RoundTrip(r)
		})
	}})
	c.create(t, policy("both", map[string]string{"location-group": "edge"}))
	for _, name := range []string{"busy-1", "busy-2"} {
		c.submit(t, ns, name, "cluster2")
		c.hub.waitFor(t, ns, name, "placement", placedOn("cluster2"))
	}
	c.submit(t, ns, "lost", "both")
	c.wecs["cluster1"].waitFor(t, ns, "lost", "the WEC copy", exists)
	c.waitConnected(t, "cluster1", metav1.ConditionFalse)
	c.ask(t, ns, "lost", stellarflow.RequestMove)
	c.waitEvent(t, ns, "lost", "RequestRefused", "cluster cluster1 cannot be reached, so nobody knows whether it runs there")
	net.heal(t, c, "cluster1")
	c.ask(t, ns, "lost", stellarflow.RequestMove)
	c.waitEvent(t, ns, "lost", "RequestRefused", "its copy")
	shown := c.hub.get(t.Context(), ns, "lost")
	if record := mustPlacement(t, shown); record.Cluster != "cluster1" || record.Attempt != 1 {
		t.Errorf("it was moved: %s", record)
	}
	if other := c.wecs["cluster2"].get(t.Context(), ns, "lost"); other != nil || strings.Contains(describe(other), "hub-uid") {
		t.Errorf("it runs twice: %s", describe(other))
	}
}

// TestAbandonTakenBack kills the manager between the tombstone and the hub copy; the person takes the request back meanwhile. The
// Workflow runs and is wanted: nobody removes its copy.
func TestAbandonTakenBack(t *testing.T) {
	crash := &crash{at: 2, before: true, idle: true}
	c, m, ns := setUp(t, managerOptions{hubTransport: crash.wrap, wecTransport: crash.wrap})
	c.running(t, ns, "wanted", "cluster1")
	c.hub.waitFor(t, ns, "wanted", "the UID", func(w *unstructured.Unstructured) bool { return mustPlacement(t, w).WECUID != "" })
	crash.begin()
	c.ask(t, ns, "wanted", stellarflow.RequestAbandon)
	eventually(t, "the crash", func(context.Context) (bool, string) { return crash.died(), "" })
	m.stop()
	c.waitTombstones(t, ns, 1)
	c.annotate(t, "alice", ns, "wanted", stellarflow.AnnotationRequest, "")
	startManager(t, c, managerOptions{})
	c.waitTombstones(t, ns, 0)
	c.wecs["cluster1"].argo(t, ns, "wanted", "Succeeded")
	c.hub.waitFor(t, ns, "wanted", "its end", inPhase("Succeeded"))
}

// TestForeignClusterLeaves takes a cluster off the hub whose ManagedCluster is OCM's and stays.
func TestForeignClusterLeaves(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{})
	c.running(t, ns, "ended", "cluster1")
	c.wecs["cluster1"].argo(t, ns, "ended", "Succeeded")
	c.hub.waitFor(t, ns, "ended", "its end", inPhase("Succeeded"))
	c.wecs["cluster1"].waitFor(t, ns, "ended", "harvest released", func(w *unstructured.Unstructured) bool { return !hasFinalizer(w, stellarflow.FinalizerHarvest) })
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: stellarflow.SystemNamespace, Name: stellarflow.CredentialName("cluster1")}}
	if err := c.hub.client.Delete(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	c.waitConnected(t, "cluster1", metav1.ConditionFalse)
	if err := c.hub.workflows(ns).Delete(t.Context(), "ended", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	neverWithin(t, time.Second, "it went although the cluster may be joined again", func() bool { return c.hub.get(t.Context(), ns, "ended") == nil })
	managed := &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "cluster1"}}
	if err := c.hub.client.Patch(t.Context(), managed, clientPatch([]byte(`{"metadata":{"annotations":null}}`))); err != nil {
		t.Fatal(err)
	}
	c.hub.waitFor(t, ns, "ended", "the hub copy to go", gone)
}

// TestOtherAttemptIsSaid deletes a Workflow whose name is held by its own copy of another attempt.
func TestOtherAttemptIsSaid(t *testing.T) {
	c, m, ns := setUp(t, managerOptions{})
	c.running(t, ns, "attempts", "cluster1")
	m.stop()
	record := mustPlacement(t, c.hub.get(t.Context(), ns, "attempts"))
	record.WECUID = ""
	c.annotate(t, hubManager, ns, "attempts", stellarflow.AnnotationPlacement, record.String())
	patch := `{"metadata":{"annotations":{"stellarflow.io/attempt":"9"}}}`
	if _, err := c.wecs["cluster1"].workflows(ns).Patch(t.Context(), "attempts", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.hub.workflows(ns).Delete(t.Context(), "attempts", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	startManager(t, c, managerOptions{})
	c.hub.waitFor(t, ns, "attempts", "what holds it", func(w *unstructured.Unstructured) bool {
		return strings.Contains(w.GetAnnotations()[stellarflow.AnnotationSync], `is a copy of this one, of attempt "9" and not 1: delete it there`)
	})
	c.wecs["cluster1"].deleteByForce(t, ns, "attempts")
	c.hub.waitFor(t, ns, "attempts", "the hub copy to go", gone)
}
