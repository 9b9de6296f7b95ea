package integration

import (
	"context"
	"fmt"
	"testing"

	"github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// holds is argo suspend: util.SuspendWorkflow of Argo. It reports whether that writes anything.
func (a acting) holds(t *testing.T, name string) (written bool) {
	t.Helper()
	a.act(t, name, func(w *v1alpha1.Workflow) {
		if written = w.Spec.Suspend == nil || !*w.Spec.Suspend; written {
			w.Spec.Suspend = ptr.To(true)
		}
	})
	return written
}

// TestDedicatedPlacesWhatIsNotSuspended lets a dedicated hub run what the UI, argo submit --from, CronWorkflows and events create, and nothing
// that was begun or has ended before.
func TestDedicatedPlacesWhatIsNotSuspended(t *testing.T) {
	a, _ := setUpDedicated(t, managerOptions{})
	wec, ns := a.wecs["cluster1"], a.ns
	a.submit(t, ns, "imported", "cluster1", unsuspended, func(w *unstructured.Unstructured) { w.Object["status"] = map[string]any{"phase": "Running"} })
	a.submit(t, ns, "finished", "cluster1", unsuspended, func(w *unstructured.Unstructured) { w.Object["status"] = map[string]any{"phase": "Failed"} })
	a.submit(t, ns, "nobodys", "nowhere", unsuspended)
	a.submit(t, ns, "unreadable", "cluster1", func(w *unstructured.Unstructured) {
		_ = unstructured.SetNestedField(w.Object, "no", "spec", "suspend")
	})
	a.submit(t, ns, "plain", "cluster1", unsuspended)
	a.submit(t, ns, "kubestellar", "cluster1")
	for _, name := range []string{"plain", "kubestellar"} {
		wec.waitFor(t, ns, name, "the WEC copy", exists)
		shown := a.hub.get(t.Context(), ns, name)
		if suspended(shown) || shown.GetAnnotations()[stellarflow.AnnotationFollows] == "" {
			t.Errorf("before its cluster reports: %s", describe(shown))
		}
		wec.argo(t, ns, name, "Running")
		a.hub.waitFor(t, ns, name, "phase Running", inPhase("Running"))
		wec.argo(t, ns, name, "Succeeded")
		if ended := a.hub.waitFor(t, ns, name, "the end", inPhase("Succeeded")); !mirrors(false)(ended) {
			t.Errorf("at its end: %s", describe(ended))
		}
	}
	for _, name := range []string{"imported", "finished", "nobodys", "unreadable"} {
		if w := a.hub.get(t.Context(), ns, name); w.GetLabels()[stellarflow.LabelCluster] != "" || wec.get(t.Context(), ns, name) != nil {
			t.Errorf("it is not to be run: %s", describe(w))
		}
	}
	a.waitEvent(t, ns, "unreadable", "NotPlaced", "spec.suspend is a text and not true or false")
}

// TestDedicatedSuspendsWhatWaits suspends what waits for a cluster that has not joined yet: it is suspended there from its beginning.
func TestDedicatedSuspendsWhatWaits(t *testing.T) {
	a, _ := setUpDedicated(t, managerOptions{})
	wec, ns := a.wecs["cluster1"], a.ns
	a.create(t, policy("later", map[string]string{"name": "later"}))
	for _, name := range []string{"held", "let-go", "kubestellar"} {
		if name == "kubestellar" {
			a.submit(t, ns, name, "later")
		} else {
			a.submit(t, ns, name, "later", unsuspended)
		}
		a.hub.waitFor(t, ns, name, "that it waits", func(w *unstructured.Unstructured) bool {
			return w.GetAnnotations()[stellarflow.AnnotationWaiting] != ""
		})
	}
	mustPatch(t, a, "held", `{"spec":{"suspend":true}}`)
	mustPatch(t, a, "let-go", `{"spec":{"suspend":true}}`)
	mustPatch(t, a, "let-go", `{"spec":{"suspend":null}}`)
	changed := policy("later", map[string]string{"name": "cluster1"})
	eventually(t, "the policy to name a cluster", func(ctx context.Context) (bool, string) {
		if err := a.hub.client.Get(ctx, client.ObjectKeyFromObject(changed), changed); err != nil {
			return false, err.Error()
		}
		changed.Spec.ClusterSelectors = policy("later", map[string]string{"name": "cluster1"}).Spec.ClusterSelectors
		err := a.hub.client.Update(ctx, changed)
		return err == nil, fmt.Sprint(err)
	})
	for name, held := range map[string]bool{"held": true, "let-go": false, "kubestellar": false} {
		if created := wec.waitFor(t, ns, name, "the WEC copy", exists); suspended(created) != held || created.GetGeneration() != 1 {
			t.Errorf("%s was created so: generation %d, %s", name, created.GetGeneration(), describe(created))
		}
		wec.argo(t, ns, name, "Running")
		a.hub.waitFor(t, ns, name, "the cluster's suspension", func(w *unstructured.Unstructured) bool {
			return phase(w) == "Running" && noIntents(w) && mirrors(held)(w)
		})
	}
}

// TestDedicatedSuspends suspends and resumes by every write that stock tools make.
func TestDedicatedSuspends(t *testing.T) {
	a, _ := setUpDedicated(t, managerOptions{})
	wec, ns := a.wecs["cluster1"], a.ns
	for name, tc := range map[string]struct {
		suspend, resume func(t *testing.T, name string)
	}{
		"by-argo": {
			func(t *testing.T, name string) { a.holds(t, name) },
			func(t *testing.T, name string) { a.act(t, name, resume) },
		},
		"by-kubectl": {
			func(t *testing.T, name string) { mustPatch(t, a, name, `{"spec":{"suspend":true}}`) },
			func(t *testing.T, name string) { mustPatch(t, a, name, `{"spec":{"suspend":null}}`) },
		},
		"by-us": {
			func(t *testing.T, name string) {
				mustPatch(t, a, name, `{"metadata":{"annotations":{"stellarflow.io/request":"suspend"}}}`)
			},
			func(t *testing.T, name string) { mustPatch(t, a, name, `{"spec":{"suspend":false}}`) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			a.asks(t, name)
			tc.suspend(t, name)
			wec.waitFor(t, ns, name, "the suspension", suspended)
			a.hub.waitFor(t, ns, name, "the suspension", mirrors(true))
			tc.resume(t, name)
			wec.waitFor(t, ns, name, "the resume", func(w *unstructured.Unstructured) bool { return !suspended(w) })
			a.hub.waitFor(t, ns, name, "the resume", mirrors(false))
			a.waitEvent(t, ns, name, "IntentDone", "suspend asked by alice was done on cluster cluster1")
		})
	}
	t.Run("by a person there", func(t *testing.T) {
		a.asks(t, "there")
		wec.write(t, ns, "there", func(w *v1alpha1.Workflow) { w.Spec.Suspend = ptr.To(true) })
		a.hub.waitFor(t, ns, "there", "the suspension", mirrors(true))
		wec.write(t, ns, "there", func(w *v1alpha1.Workflow) { w.Spec.Suspend = nil })
		a.hub.waitFor(t, ns, "there", "the resume", mirrors(false))
	})
	t.Run("a retry", func(t *testing.T) {
		a.running(t, ns, "again", "cluster1")
		a.fails(t, ns, "again")
		a.trusted(t, ns, "again")
		if err := a.patches(t, "again", `{"spec":{"suspend":true}}`); !refusedWith(err, "it has ended, and cannot be suspended") {
			t.Errorf("what has ended was suspended: %v", err)
		}
		a.act(t, "again", argoRetry("again"))
		wec.waitFor(t, ns, "again", "the retry", inPhase("Running"))
		a.hub.waitFor(t, ns, "again", "the retry", func(w *unstructured.Unstructured) bool { return phase(w) == "Running" && mirrors(false)(w) })
	})
}

func mustPatch(t *testing.T, a acting, name, patch string) {
	t.Helper()
	if err := a.patches(t, name, patch); err != nil {
		t.Fatal(err)
	}
}

// TestDedicatedLastWordWins asks and takes back while the cluster is away: Argo's tools see what was asked before, and the last word counts.
func TestDedicatedLastWordWins(t *testing.T) {
	dedicate(t)
	address := sharedClusters(t).serveWebhook(t)
	c, b, ns := setUpBetween(t, managerOptions{webhook: address, profile: stellarflow.ProfileDedicated})
	a := acting{c, ns, address, c.hub.as(t, "alice")}
	wec := c.wecs["cluster1"]
	names := []string{"kept", "let-go", "taken-back", "late"}
	for _, name := range names {
		a.asks(t, name)
	}
	b.freeze()
	for _, name := range names {
		if !a.holds(t, name) {
			t.Errorf("%s: argo suspend writes nothing", name)
		}
		if w := c.hub.get(t.Context(), ns, name); !suspended(w) || noIntents(w) {
			t.Errorf("%s: what was asked is not seen: %s", name, describe(w))
		}
	}
	a.act(t, "let-go", func(w *v1alpha1.Workflow) {
		if w.Spec.Suspend == nil || !*w.Spec.Suspend {
			t.Error("argo resume would find nothing to resume")
		}
		w.Spec.Suspend = nil
	})
	mustPatch(t, a, "taken-back", `{"metadata":{"annotations":{"stellarflow.io/intents":null}}}`)
	if w := c.hub.get(t.Context(), ns, "taken-back"); !mirrors(false)(w) {
		t.Errorf("what was taken back is still shown: %s", describe(w))
	}
	wec.argo(t, ns, "late", "Succeeded")
	b.thaw()
	wec.waitFor(t, ns, "kept", "the suspension", suspended)
	c.hub.waitFor(t, ns, "kept", "the suspension", mirrors(true))
	for _, name := range []string{"let-go", "late"} {
		if shown := c.hub.waitFor(t, ns, name, "no suspension", mirrors(false)); suspended(wec.get(t.Context(), ns, name)) {
			t.Errorf("%s: it is suspended: %s", name, describe(shown))
		}
	}
}

// TestDedicatedGuard lets nobody but the manager change spec.suspend where no webhook passes it on.
func TestDedicatedGuard(t *testing.T) {
	dedicate(t)
	c, _, ns := setUp(t, managerOptions{profile: stellarflow.ProfileDedicated})
	a := acting{clusters: c, ns: ns, alice: c.hub.as(t, "alice")}
	wec := c.wecs["cluster1"]
	a.running(t, ns, "guarded", "cluster1")
	wec.write(t, ns, "guarded", func(w *v1alpha1.Workflow) { w.Spec.Suspend = ptr.To(true) })
	c.hub.waitFor(t, ns, "guarded", "the suspension", mirrors(true))
	for what, tc := range map[string]struct{ patch, refusal string }{
		"lift":              {`{"spec":{"suspend":null}}`, "nobody would pass this change on"},
		"kept suspended":    {`{"metadata":{"annotations":{"stellarflow.io/follows":null}}}`, "are written by the hub manager only"},
		"an unknown ending": {`{"spec":{"shutdown":"Kill"}}`, refusedStop},
		"a label":           {`{"metadata":{"labels":{"team":"green"}}}`, ""},
	} {
		if err := a.patches(t, "guarded", tc.patch); (tc.refusal == "") != (err == nil) || err != nil && !refusedWith(err, tc.refusal) {
			t.Errorf("%s: want %q, got %v", what, tc.refusal, err)
		}
	}
	argo := acting{clusters: c, ns: ns, alice: c.hub.as(t, argoController)}
	if err := argo.patches(t, "guarded", `{"status":{"phase":"Error"}}`); !refusedWith(err, refusedArgo) {
		t.Errorf("a controller that is started by mistake: %v", err)
	}
}

// TestDedicatedRestart restarts the manager of a dedicated hub: nothing is written anew.
func TestDedicatedRestart(t *testing.T) {
	a, m := setUpDedicated(t, managerOptions{})
	a.asks(t, "held")
	a.asks(t, "free")
	a.holds(t, "held")
	for name, value := range map[string]bool{"held": true, "free": false} {
		a.hub.waitFor(t, a.ns, name, "its suspension", func(w *unstructured.Unstructured) bool { return mirrors(value)(w) && settled(w) })
	}
	m.stop()
	version := func() string {
		return a.hub.get(t.Context(), a.ns, "held").GetResourceVersion() + "/" + a.hub.get(t.Context(), a.ns, "free").GetResourceVersion()
	}
	settled := version()
	startManager(t, a.clusters, managerOptions{profile: stellarflow.ProfileDedicated, webhook: a.address})
	a.submit(t, a.ns, "later", "cluster1", unsuspended)
	a.wecs["cluster1"].waitFor(t, a.ns, "later", "the WEC copy", exists)
	a.wecs["cluster1"].argo(t, a.ns, "later", "Running")
	a.hub.waitFor(t, a.ns, "later", "phase Running", inPhase("Running"))
	if got := version(); got != settled {
		t.Errorf("it was written at the restart: %s, then %s", settled, got)
	}
}

// TestDedicatedBecomesShared suspends what a dedicated hub has placed as soon as a manager of a shared one leads, with its cluster away.
func TestDedicatedBecomesShared(t *testing.T) {
	dedicate(t)
	address := sharedClusters(t).serveWebhook(t)
	c, b, ns := setUpBetween(t, managerOptions{webhook: address, profile: stellarflow.ProfileDedicated})
	a := acting{c, ns, address, c.hub.as(t, "alice")}
	wec := c.wecs["cluster1"]
	for _, name := range []string{"runs", "waits", "ended"} {
		a.asks(t, name)
	}
	wec.argo(t, ns, "ended", "Succeeded")
	c.hub.waitFor(t, ns, "ended", "the end", inPhase("Succeeded"))
	b.freeze()
	a.holds(t, "waits") // and is let go: what was asked last is not done yet
	a.act(t, "waits", resume)
	b.manager.stop()
	c.guardFor(t.Context(), t, stellarflow.ProfileShared)
	b.manager = startManager(t, c, managerOptions{webhook: address})
	kept := func(w *unstructured.Unstructured) bool {
		return suspended(w) && w.GetAnnotations()[stellarflow.AnnotationFollows] == ""
	}
	for _, name := range []string{"runs", "waits", "ended"} {
		c.hub.waitFor(t, ns, name, "its suspension on the hub", kept)
	}
	b.thaw()
	wec.waitFor(t, ns, "waits", "the resume", func(w *unstructured.Unstructured) bool { return nodePhase(w, "waits-1") == "Succeeded" })
	wec.argo(t, ns, "runs", "Succeeded")
	if shown := c.hub.waitFor(t, ns, "runs", "the end", inPhase("Succeeded")); !kept(shown) || suspended(wec.get(t.Context(), ns, "runs")) {
		t.Errorf("it goes on as on any shared hub: %s", describe(shown))
	}

	t.Run("and back", func(t *testing.T) {
		b.manager.stop()
		c.guardFor(t.Context(), t, stellarflow.ProfileDedicated)
		b.manager = startManager(t, c, managerOptions{webhook: address, profile: stellarflow.ProfileDedicated})
		c.hub.waitFor(t, ns, "waits", "its cluster's suspension", mirrors(false))
	})
}

// TestDedicatedRequests counts what one Workflow costs that nobody touches: as much as on a shared hub (TestRequestsPerWorkflow).
func TestDedicatedRequests(t *testing.T) {
	a, m := setUpDedicated(t, managerOptions{})
	wec, ns := a.wecs["cluster1"], a.ns
	a.submit(t, ns, "warm-up", "cluster1") // makes the namespace
	wec.waitFor(t, ns, "warm-up", "the WEC copy", exists)
	wec.argo(t, ns, "warm-up", "Succeeded")
	wec.waitFor(t, ns, "warm-up", "harvest released", func(w *unstructured.Unstructured) bool { return !hasFinalizer(w, stellarflow.FinalizerHarvest) })
	before := a.hub.requests(t)
	const changes = 3
	a.submit(t, ns, "counted", "cluster1", unsuspended)
	wec.waitFor(t, ns, "counted", "the WEC copy", exists)
	for _, p := range []string{"Pending", "Running", "Succeeded"} {
		wec.argo(t, ns, "counted", p)
		a.hub.waitFor(t, ns, "counted", "phase "+p, func(w *unstructured.Unstructured) bool {
			return inPhase(p)(w) && settled(w)
		})
	}
	wec.waitFor(t, ns, "counted", "harvest released", func(w *unstructured.Unstructured) bool { return !hasFinalizer(w, stellarflow.FinalizerHarvest) })
	m.stop()
	if n := a.hub.requests(t)["PATCH"] - before["PATCH"]; n > 1+1+changes {
		t.Errorf("%d writes on the hub, want at most one placement, one of the UID and %d states", n, changes)
	}
}

// TestDedicatedStatusSubresource does the same where the hub's CRD has a status subresource, so that the spec is another write.
func TestDedicatedStatusSubresource(t *testing.T) {
	withSubresource(t)
	a, _ := setUpDedicated(t, managerOptions{})
	wec, ns := a.wecs["cluster1"], a.ns
	a.submit(t, ns, "sub", "cluster1", unsuspended)
	wec.waitFor(t, ns, "sub", "the WEC copy", exists)
	wec.argo(t, ns, "sub", "Running")
	a.hub.waitFor(t, ns, "sub", "phase Running", inPhase("Running"))
	eventually(t, "the suspension to be asked", func(context.Context) (bool, string) {
		err := a.patches(t, "sub", `{"spec":{"suspend":true}}`)
		return err == nil, fmt.Sprint(err)
	})
	wec.waitFor(t, ns, "sub", "the suspension", suspended)
	a.hub.waitFor(t, ns, "sub", "the suspension", mirrors(true))
	mustPatch(t, a, "sub", `{"spec":{"suspend":null}}`)
	a.hub.waitFor(t, ns, "sub", "the resume", mirrors(false))
	if err := a.hub.workflows(ns).Delete(t.Context(), "sub", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	a.hub.waitFor(t, ns, "sub", "the end", gone)
}
