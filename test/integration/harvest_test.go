package integration

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// TestHarvestThatIsNotReleased lets a WEC take no patches once a Workflow has ended there. The hub shows the end, and says what fails as
// an event: an annotation would come and go with every mirror pass.
func TestHarvestThatIsNotReleased(t *testing.T) {
	var failing atomic.Bool
	c, _, ns := setUp(t, managerOptions{wecTransport: func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/workflows/held") && failing.Load() {
				return nil, errInjected
			}
			return next.RoundTrip(r)
		})
	}})
	c.running(t, ns, "held", "cluster1")
	failing.Store(true)
	c.wecs["cluster1"].argo(t, ns, "held", "Succeeded")
	ended := c.hub.waitFor(t, ns, "held", "its end", inPhase("Succeeded"))
	c.waitEvent(t, ns, "held", "StepFails", "the next step for it on cluster cluster1 keeps failing and is tried again: ")
	neverWithin(t, 3*time.Second, "the hub copy is written", func() bool {
		return c.hub.get(t.Context(), ns, "held").GetResourceVersion() != ended.GetResourceVersion()
	})
	failing.Store(false)
	c.wecs["cluster1"].waitFor(t, ns, "held", "harvest released", func(w *unstructured.Unstructured) bool { return !hasFinalizer(w, stellarflow.FinalizerHarvest) })
}
