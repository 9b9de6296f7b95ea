package integration

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// TestRetryWaits retries what has ended on a cluster that cannot be reached: the hub shows its end until it runs again, which is once.
func TestRetryWaits(t *testing.T) {
	address := sharedClusters(t).serveWebhook(t)
	c, b, ns := setUpBetween(t, managerOptions{webhook: address})
	a, wec := acting{c, ns, address, c.hub.as(t, "alice")}, c.wecs["cluster1"]
	a.running(t, ns, "again", "cluster1")
	a.fails(t, ns, "again")
	a.trusted(t, ns, "again")
	first := wec.waitFor(t, ns, "again", "the release", func(w *unstructured.Unstructured) bool { return !hasFinalizer(w, stellarflow.FinalizerHarvest) })
	b.freeze()
	a.act(t, "again", argoRetry("again"))
	if kept := c.hub.get(t.Context(), ns, "again"); noIntents(kept) || phase(kept) != "Failed" || !stellarflow.Completed(kept) || nodePhase(kept, "again-2") != "Failed" {
		t.Errorf("while nobody knows: %s", describe(kept))
	}
	newCommandLine(t, c.hub).must([]string{"retry, asked by alice at ", `waits for cluster "cluster1"`}, "explain", "again", "-n", ns, "--kubeconfig=DIR/hub.kubeconfig")
	b.thaw()
	again := wec.waitFor(t, ns, "again", "the retry", inPhase("Running"))
	if again.GetUID() != first.GetUID() || nodePhase(again, "again-1") != "Succeeded" || nodePhase(again, "again-2") != "" {
		t.Errorf("the WEC copy after the retry: %s", describe(again))
	}
	c.hub.waitFor(t, ns, "again", "the retry", func(w *unstructured.Unstructured) bool { return phase(w) == "Running" && noIntents(w) })
	wec.argo(t, ns, "again", "Succeeded")
	ended := c.hub.waitFor(t, ns, "again", "the end", inPhase("Succeeded"))
	if done := ended.GetAnnotations()[stellarflow.AnnotationActions]; !strings.Contains(done, `"retry":{"done":1}`) || mustPlacement(t, ended).Attempt != 1 {
		t.Errorf("it was done %s, in attempt %d", done, mustPlacement(t, ended).Attempt)
	}
}
