package integration

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
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

// TestHubIsSetBack restores the hub beneath a manager that lives on: its API server's resourceVersion is below what the caches have, and
// a watch would be silent for long. The manager ends and says why; one old answer, as from a proxy's cache, is none of that.
func TestHubIsSetBack(t *testing.T) {
	c := sharedClusters(t)
	c.forgetsRestores(t)
	var old atomic.Int64 // how many answers are old
	ended := make(chan error, 1)
	timing := quickTiming()
	timing.Connection.Probe = 500 * time.Millisecond
	_, _, ns := setUp(t, managerOptions{timing: timing, ended: func(err error) { ended <- err }, hubTransport: func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			response, err := next.RoundTrip(r)
			if err != nil || r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/v1alpha1/workflows") || r.URL.Query().Get("limit") != "1" || old.Add(-1) < 0 {
				return response, err
			}
			defer func() { _ = response.Body.Close() }()
			if _, err := io.Copy(io.Discard, response.Body); err != nil {
				return nil, err
			}
			response.Header.Set("Content-Type", "application/json")
			response.ContentLength = -1
			response.Body = io.NopCloser(strings.NewReader(`{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"2"},"items":[]}`))
			return response, nil
		})
	}})
	c.running(t, ns, "before", "cluster1")
	old.Store(1)
	eventually(t, "the old answer", func(context.Context) (bool, string) { return old.Load() < 0, "" })
	c.running(t, ns, "after", "cluster1")
	old.Store(1 << 40)
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "is at resourceVersion 2 and was at ") || !strings.Contains(err.Error(), "it was restored from a backup") {
			t.Errorf("the manager ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the manager goes on")
	}
}

// TestRelease takes the cleanup finalizer off what is being deleted, and not off an object of the same UID that is not.
func TestRelease(t *testing.T) {
	c := sharedClusters(t)
	c.create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "still-ending"}})
	asManager := c.hub.as(t, hubManager).Resource(stellarflow.Workflows).Namespace("still-ending")
	release := func(seen metav1.Object) error {
		raw, err := hubcopy.Marshal(hubcopy.Release(seen))
		if err != nil {
			t.Fatal(err)
		}
		_, err = asManager.Patch(t.Context(), "ending", hubcopy.PatchType, raw, metav1.PatchOptions{})
		return hubcopy.Classify(err)
	}
	held := c.submit(t, "still-ending", "ending", "nowhere", func(w *unstructured.Unstructured) { w.SetFinalizers([]string{stellarflow.FinalizerCleanup}) })
	now := metav1.Now()
	held.SetDeletionTimestamp(&now)
	if err := release(held); !errors.Is(err, hubcopy.ErrLostRace) {
		t.Errorf("it was released, or fails otherwise: %v", err)
	}
	if err := c.hub.workflows("still-ending").Delete(t.Context(), "ending", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := release(c.hub.get(t.Context(), "still-ending", "ending")); err != nil {
		t.Error(err)
	}
	c.hub.waitFor(t, "still-ending", "ending", "it to go", gone)
}
