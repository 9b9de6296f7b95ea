package integration

import (
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

// TestAdopt lets a Workflow take over the copy of a hub copy that is no more, as `stellarflow orphans adopt` does it.
func TestAdopt(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{})
	wec := c.wecs["cluster1"]
	c.running(t, ns, "orphaned", "cluster1")
	asManager := c.hub.as(t, hubManager).Resource(stellarflow.Workflows).Namespace(ns)
	if _, err := asManager.Patch(t.Context(), "orphaned", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := asManager.Delete(t.Context(), "orphaned", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	orphan := wec.get(t.Context(), ns, "orphaned")
	created := c.creates(t, "cluster1") + c.creates(t, "cluster2")
	adopts := func(target string) func(*unstructured.Unstructured) {
		return func(w *unstructured.Unstructured) {
			w.SetAnnotations(map[string]string{stellarflow.AnnotationAdopts: target})
		}
	}
	adopting := c.submit(t, ns, "orphaned", "cluster1", adopts("cluster1/"+string(orphan.GetUID())))
	c.submit(t, ns, "nothing-there", "cluster1", adopts("cluster1/00000000-0000-0000-0000-000000000000"))
	c.submit(t, ns, "runs-here", "cluster1", adopts("cluster1/"+string(orphan.GetUID())), func(w *unstructured.Unstructured) {
		unstructured.RemoveNestedField(w.Object, "spec", "suspend")
	})
	wants := "waits for its copy cluster1/" + string(orphan.GetUID()) + ": run `stellarflow orphans adopt` again, or delete it"
	c.hub.waitFor(t, ns, "orphaned", "what it waits for", waiting(wants))
	c.hub.waitFor(t, ns, "nothing-there", "what it waits for", waiting("waits for its copy cluster1/00000000-"))
	c.hub.waitFor(t, ns, "runs-here", "no key of ours", func(w *unstructured.Unstructured) bool { return len(w.GetAnnotations()) == 0 })

	patch := `{"metadata":{"annotations":{"stellarflow.io/hub-uid":"` + string(adopting.GetUID()) + `","stellarflow.io/attempt":"1"}}}`
	if _, err := wec.workflows(ns).Patch(t.Context(), "orphaned", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	c.hub.waitFor(t, ns, "orphaned", "its record and its state", func(w *unstructured.Unstructured) bool {
		return placedOn("cluster1")(w) && mustPlacement(t, w).WECUID == orphan.GetUID() && phase(w) == "Running" &&
			w.GetAnnotations()[stellarflow.AnnotationAdopts] == "" && hasFinalizer(w, stellarflow.FinalizerCleanup)
	})
	wec.argo(t, ns, "orphaned", "Succeeded")
	c.hub.waitFor(t, ns, "orphaned", "its end", inPhase("Succeeded"))
	if placedOn("cluster1")(c.hub.get(t.Context(), ns, "nothing-there")) {
		t.Error("it was placed although it adopts")
	}
	if n := c.creates(t, "cluster1") + c.creates(t, "cluster2") - created; n != 0 {
		t.Errorf("%d Workflows were created", n)
	}
}

// TestAdoptsAnotherCopy lets a copy name a Workflow that was made for another one: it is not followed.
func TestAdoptsAnotherCopy(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{})
	wec := c.wecs["cluster1"]
	c.running(t, ns, "first", "cluster1")
	adopting := c.submit(t, ns, "second", "cluster1", func(w *unstructured.Unstructured) {
		w.SetAnnotations(map[string]string{stellarflow.AnnotationAdopts: "cluster1/00000000-0000-0000-0000-000000000000"})
	})
	c.hub.waitFor(t, ns, "second", "what it waits for", waiting("waits for its copy"))
	wrong := wec.get(t.Context(), ns, "first")
	wrong.SetName("second")
	wrong.SetUID("")
	wrong.SetResourceVersion("")
	annotations := wrong.GetAnnotations()
	annotations[stellarflow.AnnotationHubUID] = string(adopting.GetUID())
	wrong.SetAnnotations(annotations)
	if _, err := wec.workflows(ns).Create(t.Context(), wrong, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	neverWithin(t, 3*adoptsAgain, "it follows another copy", func() bool { return placedOn("cluster1")(c.hub.get(t.Context(), ns, "second")) })
}

// adoptsAgain is how often a Workflow that adopts is looked at.
const adoptsAgain = 2 * time.Second
