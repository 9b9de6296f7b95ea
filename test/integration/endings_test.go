package integration

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// running submits a Workflow and waits until the hub shows it running.
func (c *clusters) running(t *testing.T, ns, name, cluster string) {
	t.Helper()
	c.submit(t, ns, name, cluster)
	c.wecs[cluster].waitFor(t, ns, name, "the WEC copy", exists)
	c.wecs[cluster].argo(t, ns, name, "Running")
	c.hub.waitFor(t, ns, name, "phase Running", inPhase("Running"))
}

func TestDeletedOnTheWEC(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{})
	wec := c.wecs["cluster1"]
	t.Run("while it runs: it is terminated, mirrored and released", func(t *testing.T) {
		c.running(t, ns, "deleted", "cluster1")
		if err := wec.workflows(ns).Delete(t.Context(), "deleted", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		wec.waitFor(t, ns, "deleted", "the shutdown", stopping("Terminate"))
		wec.argo(t, ns, "deleted", "Failed")
		c.hub.waitFor(t, ns, "deleted", "phase Failed", inPhase("Failed"))
		wec.waitFor(t, ns, "deleted", "the WEC copy to go", gone)
		neverWithin(t, time.Second, "it was created again", func() bool { return wec.get(t.Context(), ns, "deleted") != nil })
	})
	t.Run("while it is suspended: Argo would never end it", func(t *testing.T) {
		c.running(t, ns, "suspended", "cluster1")
		if _, err := wec.workflows(ns).Patch(t.Context(), "suspended", types.MergePatchType, []byte(`{"spec":{"suspend":true,"shutdown":"Stop"}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := wec.workflows(ns).Delete(t.Context(), "suspended", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		ending := wec.waitFor(t, ns, "suspended", "the end of the suspension", func(w *unstructured.Unstructured) bool { return !suspended(w) })
		if !stopping("Stop")(ending) {
			t.Errorf("it was being stopped already: %s", describe(ending))
		}
		wec.argo(t, ns, "suspended", "Failed")
		wec.waitFor(t, ns, "suspended", "the WEC copy to go", gone)
	})
	t.Run("by force: it is said, and it is not run again", func(t *testing.T) {
		c.running(t, ns, "forced", "cluster1")
		if _, err := wec.workflows(ns).Patch(t.Context(), "forced", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := wec.workflows(ns).Delete(t.Context(), "forced", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if left := wec.get(t.Context(), ns, "forced"); left != nil { // harvest was put back in between
			_, _ = wec.workflows(ns).Patch(t.Context(), "forced", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
		}
		ended := c.hub.waitFor(t, ns, "forced", "phase Error", inPhase("Error"))
		if !strings.Contains(message(ended), "its copy on cluster cluster1 was removed there before its end was seen") {
			t.Errorf("message is %q", message(ended))
		}
		if again := wec.get(t.Context(), ns, "forced"); again != nil {
			t.Errorf("it was created again: %s", describe(again))
		}
	})
}

// TestDeletedBeforeItIsRead deletes a WEC copy after the event that a pass is for and before the pass reads it: the read shows the
// deletion, the cache does not yet, and the event of the deletion finds that version settled.
func TestDeletedBeforeItIsRead(t *testing.T) {
	var beforeRead atomic.Pointer[func()]
	c, _, ns := setUp(t, managerOptions{wecTransport: func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/workflows/read-late") {
				if do := beforeRead.Swap(nil); do != nil {
					(*do)()
				}
			}
			return next.RoundTrip(r)
		})
	}})
	wec := c.wecs["cluster1"]
	c.running(t, ns, "read-late", "cluster1")
	deleted := func() {
		if err := wec.workflows(ns).Delete(t.Context(), "read-late", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	}
	beforeRead.Store(&deleted)
	wec.argo(t, ns, "read-late", "Running", "one-more-node")
	wec.waitFor(t, ns, "read-late", "the shutdown", stopping("Terminate"))
	wec.argo(t, ns, "read-late", "Failed")
	wec.waitFor(t, ns, "read-late", "the WEC copy to go", gone)
}

func TestRetriedOnTheWEC(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{})
	wec := c.wecs["cluster1"]
	c.running(t, ns, "retried", "cluster1")
	wec.argo(t, ns, "retried", "Failed")
	c.hub.waitFor(t, ns, "retried", "phase Failed", inPhase("Failed"))
	wec.waitFor(t, ns, "retried", "harvest released", func(w *unstructured.Unstructured) bool { return !hasFinalizer(w, stellarflow.FinalizerHarvest) })
	wec.argo(t, ns, "retried", "Running")
	c.hub.waitFor(t, ns, "retried", "phase Running again, not completed", func(w *unstructured.Unstructured) bool {
		return phase(w) == "Running" && w.GetLabels()[stellarflow.ArgoLabelCompleted] != "true"
	})
	wec.waitFor(t, ns, "retried", "harvest put back", func(w *unstructured.Unstructured) bool { return hasFinalizer(w, stellarflow.FinalizerHarvest) })
}

// orphan takes hub copies away as `argo delete --force` does where no guard is.
func (c *clusters) orphan(t *testing.T, ns string, names ...string) {
	t.Helper()
	asManager := c.hub.as(t, hubManager).Resource(stellarflow.Workflows).Namespace(ns)
	for _, name := range names {
		if _, err := asManager.Patch(t.Context(), name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := asManager.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOrphans(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{})
	wec := c.wecs["cluster1"]
	c.running(t, ns, "ended", "cluster1")
	c.running(t, ns, "unfinished", "cluster1")
	wec.argo(t, ns, "ended", "Succeeded")
	c.hub.waitFor(t, ns, "ended", "phase Succeeded", inPhase("Succeeded"))
	c.orphan(t, ns, "ended", "unfinished")
	wec.waitFor(t, ns, "ended", "the finished orphan to go", gone)
	names := func(condition metav1.Condition) bool { return strings.Contains(condition.Message, ns+"/unfinished") }
	c.condition(t, "cluster1", names)
	neverWithin(t, time.Second, "the unfinished orphan was killed on suspicion", func() bool {
		left := wec.get(t.Context(), ns, "unfinished")
		return left == nil || left.GetDeletionTimestamp() != nil
	})
	wec.argo(t, ns, "unfinished", "Succeeded")
	wec.waitFor(t, ns, "unfinished", "it to go once it has ended", gone)
	c.condition(t, "cluster1", func(condition metav1.Condition) bool { return !names(condition) })
}

// TestLeftBehind is a finished copy on another cluster than the record names, as an earlier attempt leaves one that arrived late. It is
// reported while its Workflow is there, and goes with it.
func TestLeftBehind(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{})
	c.running(t, ns, "moved", "cluster1")
	late := c.wecs["cluster1"].get(t.Context(), ns, "moved")
	late.SetUID("")
	late.SetResourceVersion("")
	if _, err := c.wecs["cluster2"].core.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.wecs["cluster2"].workflows(ns).Create(t.Context(), late, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.wecs["cluster2"].argo(t, ns, "moved", "Succeeded")
	c.condition(t, "cluster2", func(condition metav1.Condition) bool { return strings.Contains(condition.Message, ns+"/moved") })
	if err := c.hub.workflows(ns).Delete(t.Context(), "moved", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.hub.waitFor(t, ns, "moved", "it to go", gone)
	c.wecs["cluster2"].waitFor(t, ns, "moved", "what was left behind to go", gone)
}

// TestSameNameAgain creates Workflows under the names of earlier ones whose copies are on the WEC still. A copy is never taken over,
// and there are never two; as soon as the old one is gone the new one runs.
func TestSameNameAgain(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{})
	wec := c.wecs["cluster1"]
	runs := func(t *testing.T, name string, old *unstructured.Unstructured) {
		t.Helper()
		created := wec.waitFor(t, ns, name, "a copy of the new one", func(w *unstructured.Unstructured) bool { return w != nil && w.GetUID() != old.GetUID() })
		wec.argo(t, ns, name, "Succeeded")
		ended := c.hub.waitFor(t, ns, name, "its end", inPhase("Succeeded"))
		if record := mustPlacement(t, ended); record.WECUID != created.GetUID() || created.GetAnnotations()[stellarflow.AnnotationHubUID] != string(ended.GetUID()) {
			t.Errorf("record %s, copy %s", record, describe(created))
		}
	}
	t.Run("while the old one is being deleted", func(t *testing.T) { // as kubectl replace --force: delete, wait until it is gone, create
		c.running(t, ns, "replaced", "cluster1")
		old := wec.get(t.Context(), ns, "replaced")
		if err := c.hub.workflows(ns).Delete(t.Context(), "replaced", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		c.hub.waitFor(t, ns, "replaced", "the old one to go, after its copy", func(w *unstructured.Unstructured) bool {
			return w == nil && wec.get(t.Context(), ns, "replaced") == nil
		})
		c.submit(t, ns, "replaced", "cluster1")
		runs(t, "replaced", old)
	})
	t.Run("while the copy of one that was removed by force runs", func(t *testing.T) {
		c.running(t, ns, "forced", "cluster1")
		old := wec.get(t.Context(), ns, "forced")
		c.orphan(t, ns, "forced")
		c.submit(t, ns, "forced", "cluster1")
		c.hub.waitFor(t, ns, "forced", "what it waits for", waiting("a copy of an earlier Workflow named "+ns+"/forced runs there (hub UID "+old.GetAnnotations()[stellarflow.AnnotationHubUID]+
			") and is waited for: to end it, `stellarflow orphans delete cluster1 "+ns+"/forced`"))
		c.condition(t, "cluster1", func(condition metav1.Condition) bool { return strings.Contains(condition.Message, ns+"/forced") })
		neverWithin(t, time.Second, "the running copy was replaced", func() bool {
			left := wec.get(t.Context(), ns, "forced")
			return left == nil || left.GetUID() != old.GetUID() || left.GetDeletionTimestamp() != nil
		})
		wec.argo(t, ns, "forced", "Succeeded")
		runs(t, "forced", old)
		c.condition(t, "cluster1", func(condition metav1.Condition) bool { return !strings.Contains(condition.Message, ns+"/forced") })
	})
	t.Run("while the copy of one that had ended is there", func(t *testing.T) {
		c.running(t, ns, "ended", "cluster1")
		wec.argo(t, ns, "ended", "Failed")
		c.hub.waitFor(t, ns, "ended", "its end", inPhase("Failed"))
		old := wec.get(t.Context(), ns, "ended")
		c.orphan(t, ns, "ended")
		c.submit(t, ns, "ended", "cluster1")
		runs(t, "ended", old)
	})
}

// TestArtifactGC lets both Argo controllers put their finalizer on: the hub's on a suspended Workflow, as soon as it sees it, the
// WEC's where the Workflow runs. Only the latter may remove artifacts, and only it holds the end.
func TestArtifactGC(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{})
	wec := c.wecs["cluster1"]
	const finalizer = stellarflow.ArgoFinalizerArtifactGC
	c.submit(t, ns, "collected", "cluster1", func(w *unstructured.Unstructured) {
		w.SetFinalizers([]string{"example.com/other", finalizer})
		w.Object["spec"].(map[string]any)["artifactGC"] = map[string]any{"strategy": "OnWorkflowDeletion"}
	})
	created := wec.waitFor(t, ns, "collected", "the WEC copy", exists)
	if strategy, _, _ := unstructured.NestedString(created.Object, "spec", "artifactGC", "strategy"); strategy != "OnWorkflowDeletion" {
		t.Errorf("the WEC is not told to collect: %s", describe(created))
	}
	if _, err := wec.workflows(ns).Patch(t.Context(), "collected", types.JSONPatchType,
		[]byte(`[{"op":"add","path":"/metadata/finalizers/-","value":"`+finalizer+`"}]`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	wec.argo(t, ns, "collected", "Running")
	wec.argo(t, ns, "collected", "Succeeded")
	ended := c.hub.waitFor(t, ns, "collected", "its end", inPhase("Succeeded"))
	if hasFinalizer(ended, finalizer) || !hasFinalizer(ended, "example.com/other") || !hasFinalizer(ended, stellarflow.FinalizerCleanup) {
		t.Errorf("the hub copy has finalizers %v", ended.GetFinalizers())
	}
	wec.waitFor(t, ns, "collected", "harvest released and nothing else", func(w *unstructured.Unstructured) bool {
		return !hasFinalizer(w, stellarflow.FinalizerHarvest) && hasFinalizer(w, finalizer)
	})
	if err := c.hub.workflows(ns).Delete(t.Context(), "collected", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	said := c.hub.waitFor(t, ns, "collected", "what keeps it", func(w *unstructured.Unstructured) bool {
		return strings.Contains(w.GetAnnotations()[stellarflow.AnnotationSync], "its copy on cluster cluster1 is kept there by "+finalizer+": ")
	})
	c.waitEvent(t, ns, "collected", "CopyHeld", finalizer)
	left := wec.get(t.Context(), ns, "collected")
	if !hasFinalizer(said, stellarflow.FinalizerCleanup) || left == nil || left.GetDeletionTimestamp() == nil || !hasFinalizer(left, finalizer) {
		t.Errorf("the WEC's Argo has no time to collect: hub %s, WEC %s", describe(said), describe(left))
	}
	wec.finalizers(t, ns, "collected") // the artifacts are removed
	c.hub.waitFor(t, ns, "collected", "only the other finalizer", func(w *unstructured.Unstructured) bool {
		return w != nil && len(w.GetFinalizers()) == 1 && hasFinalizer(w, "example.com/other")
	})
}

// finalizers replaces those of a Workflow.
func (s *server) finalizers(t *testing.T, namespace, name string, finalizers ...string) {
	t.Helper()
	raw, err := json.Marshal(map[string]any{"metadata": map[string]any{"finalizers": finalizers}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.workflows(namespace).Patch(t.Context(), name, types.MergePatchType, raw, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestHostileStatus(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{})
	wec := c.wecs["cluster1"]
	c.running(t, ns, "hostile", "cluster1")
	patch := `{"metadata":{"labels":{"evil":"yes","stellarflow.io/cluster":"cluster2"},"annotations":{"stellarflow.io/placement":"{}"}},
		"status":{"phase":"Running","synchronization":{"mutex":{}},"offloadNodeStatusVersion":"fnv:1",
		"artifactRepositoryRef":{"artifactRepository":{"s3":{"endpoint":"evil.example:9000"}}},
		"nodes":{"n":{"id":"n","outputs":{"artifacts":[
			{"name":"theirs","s3":{"key":"k","endpoint":"evil.example:9000","accessKeySecret":{"name":"hub-secret","key":"k"}}},
			{"name":"web","http":{"url":"http://evil.example"}},{"name":"good","s3":{"key":"a/b"}}]}}}}}`
	if _, err := wec.workflows(ns).Patch(t.Context(), "hostile", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	shown := c.hub.waitFor(t, ns, "hostile", "the node", func(w *unstructured.Unstructured) bool {
		_, found, _ := unstructured.NestedMap(w.Object, "status", "nodes", "n")
		return found
	})
	text := describe(shown)
	for _, bad := range []string{"evil", "hub-secret", "synchronization", "offloadNodeStatusVersion"} {
		if strings.Contains(text, bad) {
			t.Errorf("%q reached the hub: %s", bad, text)
		}
	}
	if !strings.Contains(text, `"key":"a/b"`) || !placedOn("cluster1")(shown) {
		t.Errorf("what is good was lost: %s", text)
	}
}

// TestClusterLeaves deletes finished Workflows of a cluster that left before, and one that leaves after.
func TestClusterLeaves(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{})
	for _, name := range []string{"before", "after"} {
		c.running(t, ns, name, "cluster1")
		c.wecs["cluster1"].argo(t, ns, name, "Succeeded")
		c.hub.waitFor(t, ns, name, "its end", inPhase("Succeeded"))
	}
	c.wecs["cluster1"].waitFor(t, ns, "before", "harvest released", func(w *unstructured.Unstructured) bool { return !hasFinalizer(w, stellarflow.FinalizerHarvest) })
	for _, object := range []client.Object{
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: stellarflow.SystemNamespace, Name: stellarflow.CredentialName("cluster1")}},
		&clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "cluster1"}},
	} {
		if err := c.hub.client.Delete(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"before", "after"} {
		if err := c.hub.workflows(ns).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		c.hub.waitFor(t, ns, name, "the hub copy to go", gone)
	}
}

// TestBrokenStoreIsSaid breaks the Secret of the artifact store: it is said on the Workflow that waits for it.
func TestBrokenStoreIsSaid(t *testing.T) {
	c := sharedClusters(t)
	c.create(t, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: stellarflow.SystemNamespace, Name: "broken-store"},
		Data:       map[string][]byte{"endpoint": []byte("http://not a host")},
	})
	_, _, ns := setUp(t, managerOptions{store: "broken-store"})
	c.submit(t, ns, "needs-store", "cluster1")
	c.hub.waitFor(t, ns, "needs-store", "what is wrong", waiting("secret stellarflow-system/broken-store"))
}
