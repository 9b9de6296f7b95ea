package integration

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

func stopping(strategy string) func(*unstructured.Unstructured) bool {
	return func(w *unstructured.Unstructured) bool { return shutdown(w) == strategy }
}

// followed waits until the hub copy's spec, as it is now, was compared with the WEC copy's.
func (c *clusters) followed(t *testing.T, ns, name string) {
	t.Helper()
	c.hub.waitFor(t, ns, name, "its spec to be looked at", func(w *unstructured.Unstructured) bool {
		observed, ok := stellarflow.ParseObserved(w.GetAnnotations()[stellarflow.AnnotationObserved])
		return ok && observed.Generation == w.GetGeneration()
	})
}

// change writes to a hub copy's spec what a WEC is not told of, so that the hub manager has to look at the spec again.
func (c *clusters) change(t *testing.T, ns, name string) {
	t.Helper()
	ttl, _, _ := unstructured.NestedInt64(c.hub.get(t.Context(), ns, name).Object, "spec", "ttlStrategy", "secondsAfterCompletion")
	patch := fmt.Sprintf(`{"spec":{"ttlStrategy":{"secondsAfterCompletion":%d}}}`, ttl+1)
	if _, err := c.hub.workflows(ns).Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	c.followed(t, ns, name)
}

// retryThere is argo retry on the WEC.
func (s *server) retryThere(t *testing.T, ns, name string) {
	t.Helper()
	if _, err := s.workflows(ns).Patch(t.Context(), name, types.MergePatchType, []byte(`{"spec":{"shutdown":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	s.argo(t, ns, name, "Running")
}

// TestShutdown stops and terminates on the hub what runs on a WEC.
func TestShutdown(t *testing.T) {
	c, m, ns := setUp(t, managerOptions{})
	wec, restart := c.wecs["cluster1"], func() { m.stop(); m = startManager(t, c, managerOptions{}) }
	c.running(t, ns, "runs", "cluster1")
	c.stop(t, ns, "runs", "Stop")
	wec.waitFor(t, ns, "runs", "the stop", stopping("Stop"))
	c.waitEvent(t, ns, "runs", "ShutdownPassedOn", "spec.shutdown: Stop was passed on to cluster cluster1")
	c.stop(t, ns, "runs", "Terminate")
	wec.waitFor(t, ns, "runs", "the termination, which is the last word", stopping("Terminate"))
	c.followed(t, ns, "runs")
	if hubCopy := c.hub.get(t.Context(), ns, "runs"); phase(hubCopy) != "Running" || hubCopy.Object["spec"].(map[string]any)["suspend"] != true {
		t.Errorf("before the cluster says that it has ended: %s", describe(hubCopy))
	}
	wec.argo(t, ns, "runs", "Failed")
	c.hub.waitFor(t, ns, "runs", "the end", inPhase("Failed"))

	t.Run("once: a retry there is not stopped again, and ends what was asked", func(t *testing.T) {
		wec.retryThere(t, ns, "runs")
		c.hub.waitFor(t, ns, "runs", "the retry", func(w *unstructured.Unstructured) bool { return phase(w) == "Running" && shutdown(w) == "" })
		again := func() bool { return shutdown(wec.get(t.Context(), ns, "runs")) != "" }
		c.change(t, ns, "runs")
		neverWithin(t, time.Second, "it was stopped again", again)
		restart()
		c.change(t, ns, "runs")
		neverWithin(t, time.Second, "it was stopped again by another manager", again)
	})
	t.Run("asked again", func(t *testing.T) {
		c.stop(t, ns, "runs", "Terminate") // what was the last word before
		wec.waitFor(t, ns, "runs", "the termination", stopping("Terminate"))
		c.stop(t, ns, "runs", "")
		c.followed(t, ns, "runs")
		neverWithin(t, time.Second, "what runs down there was told to go on", func() bool { return shutdown(wec.get(t.Context(), ns, "runs")) == "" })
		c.stop(t, ns, "runs", "Stop")
		wec.waitFor(t, ns, "runs", "the stop", stopping("Stop"))
	})
	t.Run("too late", func(t *testing.T) {
		wec.argo(t, ns, "runs", "Succeeded")
		c.hub.waitFor(t, ns, "runs", "the end", inPhase("Succeeded"))
		c.stop(t, ns, "runs", "Terminate")
		c.followed(t, ns, "runs")
		wec.retryThere(t, ns, "runs")
		c.hub.waitFor(t, ns, "runs", "the retry", inPhase("Running"))
		c.change(t, ns, "runs")
		neverWithin(t, time.Second, "the retry was stopped by what came before it", func() bool { return shutdown(wec.get(t.Context(), ns, "runs")) != "" })
	})
}

// racing has Workflow races run, into whose WEC copy Argo writes before each of the next two writes of the manager, which count races down.
func racing(t *testing.T) (c *clusters, ns string, races *atomic.Int32) {
	t.Helper()
	races = &atomic.Int32{}
	c, _, ns = setUp(t, managerOptions{wecTransport: func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/workflows/races") && races.Add(-1) >= 0 {
				c.wecs["cluster1"].argo(t, ns, "races", "Running", fmt.Sprint("more-", races.Load()))
			}
			return next.RoundTrip(r)
		})
	}})
	c.running(t, ns, "races", "cluster1")
	races.Store(2)
	return c, ns, races
}

// TestShutdownRacesArgo lets Argo write between the read of the WEC copy and the write of the stop: that is no refusal.
func TestShutdownRacesArgo(t *testing.T) {
	c, ns, races := racing(t)
	c.stop(t, ns, "races", "Stop")
	c.wecs["cluster1"].waitFor(t, ns, "races", "the stop", stopping("Stop"))
	c.followed(t, ns, "races")
	if races.Load() > 0 {
		t.Error("there was no race")
	}
	if said := c.eventsOf(t.Context(), "races"); strings.Contains(said, "ShutdownRefused") {
		t.Errorf("a lost race is said to be a refusal: %s", said)
	}
}

// TestShutdownFails stops what runs on a cluster that answers something else each time: that is said once, and the hub copy is written no more.
func TestShutdownFails(t *testing.T) {
	var down atomic.Bool
	var answers atomic.Int32
	c, _, ns := setUp(t, managerOptions{wecTransport: func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/workflows/fails") && down.Load() {
				return answer(r, http.StatusInternalServerError, metav1.StatusReasonInternalError, fmt.Sprint("failed calling webhook, request ", answers.Add(1))), nil
			}
			return next.RoundTrip(r)
		})
	}})
	c.running(t, ns, "fails", "cluster1")
	down.Store(true)
	c.stop(t, ns, "fails", "Stop")
	c.waitEvent(t, ns, "fails", "StepFails", "failed calling webhook")
	said := c.hub.waitFor(t, ns, "fails", "what is wrong", func(w *unstructured.Unstructured) bool {
		return strings.Contains(w.GetAnnotations()[stellarflow.AnnotationSync], "keeps failing")
	})
	quiet := func(said *unstructured.Unstructured) {
		neverWithin(t, 3*time.Second, "it is taken back and said again", func() bool {
			return c.hub.get(t.Context(), ns, "fails").GetResourceVersion() != said.GetResourceVersion()
		})
	}
	quiet(said)
	relabel(t, c.hub, ns, "fails", `"team":"green"`) // which fails too, and is said in other words
	c.waitEvent(t, ns, "fails", "MetadataRefused", "failed calling webhook")
	quiet(c.hub.get(t.Context(), ns, "fails"))
	down.Store(false)
	relabel(t, c.hub, ns, "fails", `"team":"blue"`) // another change does not wait as the one before it
	c.wecs["cluster1"].waitFor(t, ns, "fails", "the stop", stopping("Stop"))
	c.hub.waitFor(t, ns, "fails", "that nothing is wrong", func(w *unstructured.Unstructured) bool { return w.GetAnnotations()[stellarflow.AnnotationSync] == "" })
}

// TestShutdownIsRefused stops what runs on a cluster whose owner does not let that happen.
func TestShutdownIsRefused(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{})
	wec := c.wecs["cluster1"]
	repeal := wec.rule(t, "stop", "unstoppable", admissionregistrationv1.Update, "!has(object.spec.shutdown)", "nobody stops this, says the owner of cluster1")
	c.submit(t, ns, "runs", "cluster1", func(w *unstructured.Unstructured) {
		w.SetLabels(map[string]string{"kubestellar.io/cluster": "cluster1", "unstoppable": "yes"})
	})
	wec.waitFor(t, ns, "runs", "the WEC copy", exists)
	wec.argo(t, ns, "runs", "Running")
	c.hub.waitFor(t, ns, "runs", "phase Running", inPhase("Running"))
	eventually(t, "the rule to hold", func(ctx context.Context) (bool, string) {
		_, err := wec.workflows(ns).Patch(ctx, "runs", types.MergePatchType, []byte(`{"spec":{"shutdown":"Stop"}}`), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
		return err != nil, "it can be stopped"
	})
	c.stop(t, ns, "runs", "Stop")
	c.waitEvent(t, ns, "runs", "ShutdownRefused", "nobody stops this, says the owner of cluster1")
	wec.argo(t, ns, "runs", "Running", "more")
	c.hub.waitFor(t, ns, "runs", "its state, and why it goes on", func(w *unstructured.Unstructured) bool {
		nodes, _, _ := unstructured.NestedMap(w.Object, "status", "nodes")
		return len(nodes) == 2 && strings.Contains(w.GetAnnotations()[stellarflow.AnnotationSync], `spec.shutdown "Stop" is not passed on to cluster cluster1`)
	})
	repeal()
	eventually(t, "the stop", func(ctx context.Context) (bool, string) {
		touch(t, c, ns, "runs")
		return shutdown(wec.get(ctx, ns, "runs")) == "Stop", describe(c.hub.get(ctx, ns, "runs"))
	})
	c.hub.waitFor(t, ns, "runs", "that nothing is in the way", func(w *unstructured.Unstructured) bool { return w.GetAnnotations()[stellarflow.AnnotationSync] == "" })
}

// TestShutdownIsNotLost stops what runs on a cluster that is away, with nobody there to notice.
func TestShutdownIsNotLost(t *testing.T) {
	c, m, ns := setUp(t, managerOptions{})
	c.running(t, ns, "runs", "cluster1")
	m.stop()
	c.stop(t, ns, "runs", "Stop")
	var away atomic.Bool
	away.Store(true)
	startManager(t, c, managerOptions{wecTransport: func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if away.Load() {
				return nil, errInjected
			}
			return next.RoundTrip(r)
		})
	}})
	c.condition(t, "cluster1", func(condition metav1.Condition) bool { return condition.Status == metav1.ConditionFalse })
	away.Store(false)
	c.wecs["cluster1"].waitFor(t, ns, "runs", "the stop", stopping("Stop"))
}

// TestShutdownBeforeTheCreate stops what is nowhere yet: it ends on the hub where that is certain, and is created with the stop where a
// copy may have been created.
func TestShutdownBeforeTheCreate(t *testing.T) {
	var failing, tried, losing atomic.Bool
	var c *clusters
	var ns string
	c, _, ns = setUp(t, managerOptions{wecTransport: func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if failing.Load() && r.Method == http.MethodPost && isWorkflowWrite(r) {
				tried.Store(true)
				return nil, errInjected
			}
			if losing.Load() && r.URL.Host == c.wecs["cluster1"].address() && strings.Contains(r.URL.Path, "/workflows") {
				if r.Method != http.MethodPost { // an open watch goes on
					return nil, errInjected
				}
				if response, err := next.RoundTrip(r); err == nil {
					_ = response.Body.Close()
				}
				return nil, errInjected
			}
			return next.RoundTrip(r)
		})
	}})
	wec := c.wecs["cluster1"]
	ended := func(t *testing.T, ns, name, strategy string) *unstructured.Unstructured {
		t.Helper()
		failed := c.hub.waitFor(t, ns, name, "the end", inPhase("Failed"))
		if want := "Stopped with strategy '" + strategy + "'"; message(failed) != want || !stellarflow.Completed(failed) {
			t.Errorf("want %q, got %s", want, describe(failed))
		}
		for _, s := range c.wecs {
			if found := s.get(t.Context(), ns, name); found != nil {
				t.Errorf("it was created all the same: %s", describe(found))
			}
		}
		return failed
	}
	t.Run("it waits for a cluster", func(t *testing.T) {
		c.create(t, policy("nowhere", map[string]string{"name": "nowhere"}))
		c.submit(t, ns, "waits", "nowhere")
		c.hub.waitFor(t, ns, "waits", "why it waits", waiting("Waiting for a cluster"))
		c.stop(t, ns, "waits", "Stop")
		if failed := ended(t, ns, "waits", "Stop"); failed.GetAnnotations()[stellarflow.AnnotationWaiting] != "" {
			t.Error("it says that it waits")
		}
	})
	t.Run("it is created so", func(t *testing.T) {
		c.submit(t, ns, "born", "cluster1", func(w *unstructured.Unstructured) { w.Object["spec"].(map[string]any)["shutdown"] = "Terminate" })
		ended(t, ns, "born", "Terminate")
	})
	t.Run("nobody knows whether it was created", func(t *testing.T) {
		failing.Store(true)
		c.submit(t, ns, "unknown", "cluster1")
		eventually(t, "a create", func(context.Context) (bool, string) { return tried.Load(), "none was tried" })
		c.stop(t, ns, "unknown", "Stop")
		neverWithin(t, time.Second, "it is said to have ended", func() bool { return stellarflow.Completed(c.hub.get(t.Context(), ns, "unknown")) })
		failing.Store(false)
		created := wec.waitFor(t, ns, "unknown", "the WEC copy", exists)
		if shutdown(created) != "Stop" {
			t.Errorf("it was created to run: %s", describe(created))
		}
		wec.argo(t, ns, "unknown", "Failed")
		c.hub.waitFor(t, ns, "unknown", "the end", inPhase("Failed"))
	})
	t.Run("it was created, and the answer was lost", func(t *testing.T) {
		losing.Store(true)
		c.submit(t, ns, "lost", "cluster1")
		wec.waitFor(t, ns, "lost", "the WEC copy", exists)
		c.stop(t, ns, "lost", "Stop")
		losing.Store(false)
		wec.waitFor(t, ns, "lost", "the stop", stopping("Stop"))
	})
	t.Run("the cluster refuses it", func(t *testing.T) {
		ns := c.namespace(t)
		if _, err := wec.core.CoreV1().Namespaces().Create(t.Context(), namespaceObject(ns), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		c.submit(t, ns, "refused", "cluster1")
		c.hub.waitFor(t, ns, "refused", "the refusal", waiting("does not accept Workflows from this hub"))
		eventually(t, "the end", func(ctx context.Context) (bool, string) { // that nothing of it can still arrive is certain after a while
			c.stop(t, ns, "refused", "Terminate")
			touch(t, c, ns, "refused")
			hubCopy := c.hub.get(ctx, ns, "refused")
			return phase(hubCopy) == "Failed", describe(hubCopy)
		})
		ended(t, ns, "refused", "Terminate")
		if err := c.hub.workflows(ns).Delete(t.Context(), "refused", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		c.hub.waitFor(t, ns, "refused", "it to go", gone)
	})
}
