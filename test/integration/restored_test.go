package integration

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// deleteByForce removes a Workflow, finalizers and all, however often they are put back.
func (s *server) deleteByForce(t *testing.T, namespace, name string) {
	t.Helper()
	uid := s.get(t.Context(), namespace, name).GetUID()
	if err := s.workflows(namespace).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.waitFor(t, namespace, name, "the object to go", func(w *unstructured.Unstructured) bool {
		if w == nil || w.GetUID() != uid {
			return true
		}
		_, _ = s.workflows(namespace).Patch(t.Context(), name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
		return false
	})
}

// TestForcedAwayBeforeItWasRecorded removes a WEC copy by force while the hub takes no writes, so that its UID is nowhere but in
// this process: it is not created again.
func TestForcedAwayBeforeItWasRecorded(t *testing.T) {
	var refusing atomic.Bool
	c, _, ns := setUp(t, managerOptions{hubTransport: func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodPatch && isWorkflowWrite(r) && strings.HasSuffix(r.URL.Path, "/forced") && refusing.Load() {
				return nil, errInjected
			}
			return next.RoundTrip(r)
		})
	}, wecTransport: func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodPost && isWorkflowWrite(r) {
				refusing.Store(true)
			}
			return next.RoundTrip(r)
		})
	}})
	wec := c.wecs["cluster1"]
	before := c.creates(t, "cluster1")
	c.submit(t, ns, "forced", "cluster1")
	created := wec.waitFor(t, ns, "forced", "the WEC copy", exists)
	wec.deleteByForce(t, ns, "forced")
	refusing.Store(false)
	ended := c.hub.waitFor(t, ns, "forced", "phase Error", inPhase("Error"))
	if record := mustPlacement(t, ended); record.WECUID != created.GetUID() || !strings.Contains(message(ended), "was removed there before its end was seen") {
		t.Errorf("record %s, message %q", record, message(ended))
	}
	if n := c.creates(t, "cluster1") - before; n != 1 {
		t.Errorf("created %d times", n)
	}
	if got := ended.GetLabels()[stellarflow.ArgoLabelCompleted]; got != "true" {
		t.Errorf("completed is %q", got)
	}
}
