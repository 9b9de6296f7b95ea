package integration

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// TestActionsWait acts on what cannot be reached: it is kept and done once the cluster is back, if it can be, and else refused.
func TestActionsWait(t *testing.T) {
	address := sharedClusters(t).serveWebhook(t)
	c, b, ns := setUpBetween(t, managerOptions{webhook: address})
	a := acting{c, ns, address, c.hub.as(t, "alice")}
	wec := c.wecs["cluster1"]
	for _, name := range []string{"kept", "late", "answered", "declined"} {
		a.asks(t, name)
	}
	b.freeze()
	for _, name := range []string{"kept", "late"} {
		a.act(t, name, resume)
		if w := c.hub.get(t.Context(), ns, name); noIntents(w) || nodePhase(w, name+"-1") != "Running" || !suspended(w) {
			t.Errorf("%s: while nobody knows: %s", name, describe(w))
		}
	}
	mustPatch(t, a, "kept", `{"metadata":{"annotations":{"stellarflow.io/request":"suspend"}}}`) // the last of two wins
	a.act(t, "answered", setOutput("answered-1", "approve", "yes"))                              // as the UI resumes with a value: two writes
	a.act(t, "answered", resume)
	wec.write(t, ns, "answered", setOutput("answered-1", "approve", "no")) // a person there was faster
	a.act(t, "declined", endNode("declined-1", v1alpha1.NodeSucceeded))
	a.act(t, "declined", endNode("declined-1", v1alpha1.NodeFailed))
	wec.write(t, ns, "late", func(w *v1alpha1.Workflow) { // here too
		node := w.Status.Nodes["late-1"]
		node.Phase = v1alpha1.NodeFailed
		w.Status.Nodes["late-1"] = node
		w.Labels[stellarflow.ArgoLabelPhase], w.Labels[stellarflow.ArgoLabelCompleted] = "Failed", "true"
		w.Status.Phase = v1alpha1.WorkflowFailed
	})
	b.thaw()
	wec.waitFor(t, ns, "kept", "both", func(w *unstructured.Unstructured) bool { return suspended(w) && nodePhase(w, "kept-1") == "Succeeded" })
	c.hub.waitFor(t, ns, "kept", "both", func(w *unstructured.Unstructured) bool { return noIntents(w) && nodePhase(w, "kept-1") == "Succeeded" })
	shown := c.hub.waitFor(t, ns, "late", "the refusal", func(w *unstructured.Unstructured) bool { return noIntents(w) && phase(w) == "Failed" })
	if said := shown.GetAnnotations()[stellarflow.AnnotationRefused]; !strings.Contains(said, "it has ended meanwhile") {
		t.Errorf("it says %q", said)
	}
	wec.waitFor(t, ns, "declined", "the last word", func(w *unstructured.Unstructured) bool { return nodePhase(w, "declined-1") == "Failed" })
	// Nobody lets the step go on with the answer of another.
	shown = c.hub.waitFor(t, ns, "answered", "the refusal", noIntents)
	said, counts := shown.GetAnnotations()[stellarflow.AnnotationRefused], stellarflow.ActionsOf(shown)
	if !strings.Contains(said, "has got a value there meanwhile; the resume that was asked after it leaves this step as it is") || counts[stellarflow.IntentSet].Refused != 1 || counts[stellarflow.IntentResume].Done != 1 {
		t.Errorf("it says %q, and counts %v", said, counts)
	}
	if nodePhase(wec.get(t.Context(), ns, "answered"), "answered-1") != "Running" {
		t.Error("the step goes on with the answer of somebody else")
	}
	a.act(t, "answered", resume) // now that the other answer is seen
	wec.waitFor(t, ns, "answered", "the resume", func(w *unstructured.Unstructured) bool { return nodePhase(w, "answered-1") == "Succeeded" })
	if shown := c.hub.waitFor(t, ns, "answered", "the resume", noIntents); shown.GetAnnotations()[stellarflow.AnnotationRefused] != "" {
		t.Errorf("it still says %q", shown.GetAnnotations()[stellarflow.AnnotationRefused])
	}
}

// endNode ends a suspended node, as Argo does with one that a selector selects.
func endNode(id string, phase v1alpha1.NodePhase) func(*v1alpha1.Workflow) {
	return func(w *v1alpha1.Workflow) {
		node := w.Status.Nodes[id]
		node.Phase, node.FinishedAt = phase, metav1.Now()
		w.Status.Nodes[id] = node
	}
}

// TestSuspendBeforeTheCreate suspends what is placed and not created yet, because its cluster takes nothing or is slow: it is created suspended, so that
// nothing of it begins.
func TestSuspendBeforeTheCreate(t *testing.T) {
	var refuses, slow atomic.Bool
	var namespace atomic.Value
	asked := make(chan struct{}) // closed when the suspension is asked for
	a, _ := setUpActing(t, managerOptions{wecTransport: func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			switch workflow := strings.Contains(r.URL.Path, "/workflows"); {
			case workflow && r.Method == http.MethodPost && refuses.Load(): // until one comes that was made after the suspension
				body, _ := io.ReadAll(r.Body)
				r.Body = io.NopCloser(bytes.NewReader(body))
				if !bytes.Contains(body, []byte(stellarflow.AnnotationApplied)) {
					return nil, errors.New("the connection is lost")
				}
			case !workflow && slow.Load() && strings.Contains(r.URL.Path, "/namespaces/"+namespace.Load().(string)) && slow.CompareAndSwap(true, false):
				<-asked
			}
			return next.RoundTrip(r)
		})
	}})
	wec, ns := a.wecs["cluster1"], a.ns
	suspend := func(name string) {
		t.Helper()
		a.hub.waitFor(t, ns, name, "the placement", func(w *unstructured.Unstructured) bool { return w.GetLabels()[stellarflow.LabelCluster] != "" })
		mustPatch(t, a, name, `{"metadata":{"annotations":{"stellarflow.io/request":"suspend"}}}`)
	}
	namespace.Store(ns)
	slow.Store(true)
	a.submit(t, ns, "slow", "cluster1")
	eventually(t, "a request that is held", func(context.Context) (bool, string) { return !slow.Load(), "none came" })
	suspend("slow")
	<-time.After(1100 * time.Millisecond) // what was read is younger before that
	close(asked)
	refuses.Store(true)
	a.submit(t, ns, "away", "cluster1")
	suspend("away")
	for _, name := range []string{"slow", "away"} {
		created := wec.waitFor(t, ns, name, "the WEC copy", exists)
		if !suspended(created) || created.GetGeneration() != 1 {
			t.Errorf("%s was created without the suspension: generation %d, %s", name, created.GetGeneration(), describe(created))
		}
		wec.argo(t, ns, name, "Running")
		shown := a.hub.waitFor(t, ns, name, "the suspension", func(w *unstructured.Unstructured) bool {
			return noIntents(w) && w.GetAnnotations()[stellarflow.AnnotationSuspended] == "true"
		})
		if stellarflow.ActionsOf(shown)[stellarflow.IntentSuspend].Done != 1 {
			t.Errorf("the hub copy %s says %v", name, shown.GetAnnotations())
		}
	}
}

// TestAskedIsNotDeleted has the hub's Argo controller delete what has ended, as for ttlStrategy: not while a retry waits for its cluster.
func TestAskedIsNotDeleted(t *testing.T) {
	address := sharedClusters(t).serveWebhook(t)
	c, b, ns := setUpBetween(t, managerOptions{webhook: address})
	a := acting{c, ns, address, c.hub.as(t, "alice")}
	a.running(t, ns, "given-up", "cluster1")
	a.trusted(t, ns, "given-up")
	names := []string{"ended", "history"}
	for _, name := range names {
		a.running(t, ns, name, "cluster1")
		a.fails(t, ns, name)
		a.trusted(t, ns, name)
	}
	mustPatch(t, a, "history", `{"metadata":{"labels":{"workflows.argoproj.io/cron-workflow":"nightly"}}}`)
	a.trusted(t, ns, "history")
	b.freeze()
	for _, name := range names {
		a.act(t, name, argoRetry(name))
	}
	controller := c.hub.as(t, argoController).Resource(stellarflow.Workflows).Namespace(ns)
	if err := controller.Delete(t.Context(), "ended", metav1.DeleteOptions{}); !refusedWith(err, "its cluster has not done yet") {
		t.Errorf("the controller deletes it: %v", err)
	}
	if err := controller.Delete(t.Context(), "history", metav1.DeleteOptions{}); err != nil { // or no further run of its CronWorkflow would start
		t.Errorf("the controller cannot keep to the history limit: %v", err)
	}
	mustPatch(t, a, "given-up", `{"metadata":{"annotations":{"stellarflow.io/request":"suspend"}}}`)
	mustPatch(t, a, "given-up", `{"metadata":{"annotations":{"stellarflow.io/request":"abandon"}}}`)
	given := c.hub.waitFor(t, ns, "given-up", "that it is given up", func(w *unstructured.Unstructured) bool { return stellarflow.Abandoned(w) })
	if counts := stellarflow.ActionsOf(given); !noIntents(given) || counts[stellarflow.IntentSuspend].Refused != 1 || !strings.Contains(given.GetAnnotations()[stellarflow.AnnotationRefused], "it was given up") {
		t.Errorf("what is asked of what was given up: %v", given.GetAnnotations())
	}
	b.thaw()
	c.wecs["cluster1"].waitFor(t, ns, "ended", "the retry", inPhase("Running"))
	c.hub.waitFor(t, ns, "ended", "the retry", noIntents)
	c.wecs["cluster1"].argo(t, ns, "ended", "Succeeded")
	c.hub.waitFor(t, ns, "ended", "the end", inPhase("Succeeded"))
	if err := controller.Delete(t.Context(), "ended", metav1.DeleteOptions{}); err != nil {
		t.Errorf("nothing waits, and the controller cannot delete it: %v", err)
	}
}
