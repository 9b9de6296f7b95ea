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

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// setUpBetween is setUp with a proxy in front of cluster1.
func setUpBetween(t *testing.T, o managerOptions) (*clusters, *between, string) {
	t.Helper()
	c := sharedClusters(t)
	namespace := c.namespace(t)
	b := newBetween(t, c.wecs["cluster1"])
	c.joinWith(t, "cluster1", b.kubeconfig(t, c.wecs["cluster1"].token(t, stellarflow.SystemNamespace, "stellarflow")))
	c.join(t, "cluster2")
	for _, name := range []string{"cluster1", "cluster2"} {
		c.create(t, policy(name, map[string]string{"name": name}))
	}
	b.manager = startManager(t, c, o)
	c.condition(t, "cluster1", withReason("Ready"))
	return c, b, namespace
}

// TestSilentProxy lets the network between the hub and one cluster take every byte and pass none on: the Workflows of the other
// cluster go on meanwhile, and those of this one go on after it.
func TestSilentProxy(t *testing.T) {
	timing := quickTiming()
	timing.Connection.Probe = 500 * time.Millisecond
	c, b, ns := setUpBetween(t, managerOptions{timing: timing})
	c.running(t, ns, "runs", "cluster1")
	before := c.creates(t, "cluster1")
	b.freeze()
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
	c.condition(t, "cluster1", withReason("Unreachable"))
	c.wecs["cluster1"].argo(t, ns, "runs", "Succeeded")
	if c.wecs["cluster1"].get(t.Context(), ns, "stuck") != nil || phase(c.hub.get(t.Context(), ns, "runs")) != "Running" {
		t.Error("something came through")
	}
	b.thaw()
	c.hub.waitFor(t, ns, "runs", "its end", inPhase("Succeeded"))
	c.wecs["cluster1"].waitFor(t, ns, "stuck", "the WEC copy", exists)
	c.condition(t, "cluster1", withReason("Ready"))
	if created := c.creates(t, "cluster1") - before; created != 1 {
		t.Errorf("created %d times", created)
	}
}

// TestProxyRefuses lets a proxy answer in the cluster's place: nothing is gone for that, nothing is created twice, it is said, and all
// goes on afterwards.
func TestProxyRefuses(t *testing.T) {
	timing := quickTiming()
	timing.Connection.Probe = 200 * time.Millisecond
	c, b, ns := setUpBetween(t, managerOptions{timing: timing})
	w := c.wecs["cluster1"]
	for code, reason := range map[int]string{401: "CredentialRejected", 403: "Unreachable", 404: "Unreachable", 500: "Unreachable"} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			runs, ends, fresh := fmt.Sprintf("runs-%d", code), fmt.Sprintf("ends-%d", code), fmt.Sprintf("new-%d", code)
			t.Cleanup(func() { b.inject(nil) })
			before := c.creates(t, "cluster1")
			c.running(t, ns, runs, "cluster1")
			c.running(t, ns, ends, "cluster1")

			var posts atomic.Int64
			refuse := func(answer http.ResponseWriter, _ *http.Request) bool {
				answer.Header().Set("Content-Type", "text/html")
				answer.WriteHeader(code)
				_, _ = io.WriteString(answer, "<html>says the proxy</html>")
				return true
			}
			b.inject(func(answer http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodPost || !isWorkflowWrite(r) {
					return false
				}
				posts.Add(1)
				return refuse(answer, r)
			})
			c.submit(t, ns, fresh, "cluster1")
			eventually(t, "a create that the proxy answers", func(context.Context) (bool, string) { return posts.Load() > 0, "there was none" })
			b.inject(refuse)
			b.cut()
			said := c.condition(t, "cluster1", withReason(reason))
			if said.Status != metav1.ConditionFalse || reason == "Unreachable" && !strings.Contains(said.Message, fmt.Sprint(code)) && !strings.Contains(said.Message, "says the proxy") {
				t.Errorf("the condition is %s: %s", said.Status, said.Message)
			}
			if err := c.hub.workflows(ns).Delete(t.Context(), ends, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			c.hub.waitFor(t, ns, runs, "that the cluster cannot be reached", func(w *unstructured.Unstructured) bool {
				return phase(w) == "Running" && strings.Contains(w.GetAnnotations()[stellarflow.AnnotationSync], "cluster cluster1 cannot be reached since 20")
			})
			if c.hub.get(t.Context(), ns, ends) == nil || w.get(t.Context(), ns, ends) == nil {
				t.Error("a proxy's answer counts as gone")
			}

			b.inject(nil)
			c.condition(t, "cluster1", withReason("Ready"))
			created := w.waitFor(t, ns, fresh, "the WEC copy", exists)
			w.argo(t, ns, fresh, "Succeeded")
			w.argo(t, ns, runs, "Succeeded")
			for _, name := range []string{fresh, runs} {
				c.hub.waitFor(t, ns, name, "its end", inPhase("Succeeded"))
			}
			c.hub.waitFor(t, ns, ends, "the hub copy to go", gone)
			if n := c.creates(t, "cluster1") - before; n != 3 || created.GetAnnotations()[stellarflow.AnnotationAttempt] != "1" {
				t.Errorf("3 Workflows were created %d times; %s", n, describe(created))
			}
		})
	}
}

// TestWatchesAreCut lets a proxy end every watch after a moment, as those do that know no long requests: in the middle of the answer,
// or with the 524 of Cloudflare before it begins. No change is lost, and the cluster stays connected.
func TestWatchesAreCut(t *testing.T) {
	says := &spoken{}
	c, b, ns := setUpBetween(t, managerOptions{timing: connectionTiming(), hubTransport: says.wrap})
	w := c.wecs["cluster1"]
	quiet := len(says.since(0))
	var watches atomic.Int64
	b.inject(func(answer http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Get("watch") == "" {
			return false
		}
		n := watches.Add(1)
		const most = 300 * time.Millisecond
		if n%3 == 0 {
			select {
			case <-time.After(most):
			case <-r.Context().Done():
			}
			answer.WriteHeader(524)
			return true
		}
		time.AfterFunc(most, b.cut)
		return false
	})
	b.cut()
	const total = 8
	for i := range total {
		name := fmt.Sprintf("cut-%d", i)
		c.running(t, ns, name, "cluster1")
		w.argo(t, ns, name, "Succeeded")
		c.hub.waitFor(t, ns, name, "its end", inPhase("Succeeded"))
	}
	c.running(t, ns, "deleted", "cluster1")
	w.deleteByForce(t, ns, "deleted")
	c.hub.waitFor(t, ns, "deleted", "that its copy was removed", inPhase("Error"))
	if n := watches.Load(); n < 4 {
		t.Errorf("only %d watches were begun: nothing was cut", n)
	}
	for _, text := range says.since(quiet) {
		if strings.Contains(text, `"status":"False"`) && strings.Contains(text, stellarflow.ConditionConnected) {
			t.Errorf("the condition changed: %s", text)
		}
	}
}
