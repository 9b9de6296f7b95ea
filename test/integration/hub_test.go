package integration

import (
	"context"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// setUp joins both WECs, applies a policy for each and starts a manager.
func setUp(t *testing.T, o managerOptions) (*clusters, *manager, string) {
	t.Helper()
	c := sharedClusters(t)
	namespace := c.namespace(t)
	for _, name := range []string{"cluster1", "cluster2"} {
		c.join(t, name)
		c.create(t, policy(name, map[string]string{"name": name}))
	}
	return c, startManager(t, c, o), namespace
}

func TestMainJob(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{})
	wec := c.wecs["cluster2"]
	hubCopy := c.submit(t, ns, "hello", "cluster2")
	wecCopy := wec.waitFor(t, ns, "hello", "the WEC copy", exists)

	t.Run("the WEC copy is stripped and says whose it is", func(t *testing.T) {
		if _, found, _ := unstructured.NestedFieldNoCopy(wecCopy.Object, "spec", "suspend"); found {
			t.Error("it is suspended")
		}
		if _, found, _ := unstructured.NestedFieldNoCopy(wecCopy.Object, "spec", "ttlStrategy"); found {
			t.Error("it has a ttlStrategy of its own")
		}
		if got := wecCopy.GetAnnotations()[stellarflow.AnnotationHubUID]; got != string(hubCopy.GetUID()) {
			t.Errorf("hub UID is %q, want %q", got, hubCopy.GetUID())
		}
		if !hasFinalizer(wecCopy, stellarflow.FinalizerHarvest) || len(wecCopy.GetOwnerReferences()) > 0 {
			t.Errorf("finalizers %v, owners %v", wecCopy.GetFinalizers(), wecCopy.GetOwnerReferences())
		}
		if other := c.wecs["cluster1"].get(t.Context(), ns, "hello"); other != nil {
			t.Error("there is a copy on cluster1 too")
		}
	})
	t.Run("its status is mirrored whole", func(t *testing.T) {
		wec.argo(t, ns, "hello", "Running", "hello-1", "hello-2")
		c.hub.waitFor(t, ns, "hello", "phase Running", inPhase("Running"))
		last := wec.argo(t, ns, "hello", "Succeeded", "hello-1")
		shown := c.hub.waitFor(t, ns, "hello", "phase Succeeded", inPhase("Succeeded"))
		if diff := cmp.Diff(last.Object["status"], shown.Object["status"]); diff != "" {
			t.Errorf("the hub shows another status (-WEC +hub):\n%s", diff)
		}
		for key, want := range map[string]string{stellarflow.ArgoLabelCompleted: "true", stellarflow.ArgoLabelPhase: "Succeeded", stellarflow.LabelCluster: "cluster2"} {
			if got := shown.GetLabels()[key]; got != want {
				t.Errorf("label %s is %q, want %q", key, got, want)
			}
		}
		if suspended, _, _ := unstructured.NestedBool(shown.Object, "spec", "suspend"); !suspended {
			t.Error("the hub copy is not suspended any more")
		}
	})
	t.Run("the WEC copy may go once the hub has its end", func(t *testing.T) {
		wec.waitFor(t, ns, "hello", "harvest released", func(w *unstructured.Unstructured) bool { return w != nil && len(w.GetFinalizers()) == 0 })
	})
	t.Run("deleting the hub copy deletes the WEC copy first", func(t *testing.T) {
		if err := c.hub.workflows(ns).Delete(t.Context(), "hello", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		wec.waitFor(t, ns, "hello", "the WEC copy to go", gone)
		c.hub.waitFor(t, ns, "hello", "the hub copy to go", gone)
	})
}

func TestWhatIsNotOurs(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{})
	for name, change := range map[string]func(*unstructured.Unstructured){
		"unlabelled":  func(w *unstructured.Unstructured) { w.SetLabels(nil) },
		"unsuspended": func(w *unstructured.Unstructured) { unstructured.RemoveNestedField(w.Object, "spec", "suspend") },
		"started": func(w *unstructured.Unstructured) {
			w.Object["status"] = map[string]any{"nodes": map[string]any{"x": map[string]any{"type": "Pod", "phase": "Running", "startedAt": "2999-01-01T00:00:00Z"}}}
		},
	} {
		c.submit(t, ns, name, "cluster1", change)
	}
	c.submit(t, ns, "ours", "cluster1") // decided after the others, by the same controller
	c.hub.waitFor(t, ns, "ours", "the placement of ours", placedOn("cluster1"))
	for _, name := range []string{"unlabelled", "unsuspended", "started"} {
		if w := c.hub.get(t.Context(), ns, name); w.GetGeneration() != 1 || len(w.GetFinalizers()) > 0 || w.GetLabels()[stellarflow.LabelCluster] != "" {
			t.Errorf("%s was touched: %s", name, describe(w))
		}
	}
}

func TestWaiting(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{})
	c.submit(t, ns, "waits", "cluster3")
	c.create(t, policy("cluster3", map[string]string{"name": "cluster3"}))
	c.hub.waitFor(t, ns, "waits", "a message", waiting("workflows-cluster3"))

	// it is placed as soon as that changes
	var managed unstructured.Unstructured
	managed.SetAPIVersion("cluster.open-cluster-management.io/v1")
	managed.SetKind("ManagedCluster")
	managed.SetName("cluster1")
	relabel := func(ctx context.Context, name string) {
		patch := []byte(`{"metadata":{"labels":{"name":"` + name + `"}}}`)
		if err := c.hub.client.Patch(ctx, &managed, clientPatch(patch)); err != nil {
			t.Error(err)
		}
	}
	relabel(t.Context(), "cluster3")
	c.hub.waitFor(t, ns, "waits", "the placement", placedOn("cluster1"))
	// and stays there, whatever happens to labels and policy
	relabel(t.Context(), "cluster1")
	c.wecs["cluster1"].waitFor(t, ns, "waits", "the WEC copy", exists)
	c.wecs["cluster1"].argo(t, ns, "waits", "Succeeded")
	c.hub.waitFor(t, ns, "waits", "its end", inPhase("Succeeded"))
}

// TestWaitingEnds takes the reason to wait away: the Workflow is the hub's own again, as if we had never spoken of it.
func TestWaitingEnds(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{})
	nowhere := policy("nowhere", map[string]string{"name": "nowhere"})
	c.create(t, nowhere)
	c.submit(t, ns, "deselected", "nowhere")
	c.submit(t, ns, "resumed", "nowhere")
	for _, name := range []string{"deselected", "resumed"} {
		c.hub.waitFor(t, ns, name, "a message", waiting("workflows-nowhere"))
	}
	untouched := func(w *unstructured.Unstructured) bool {
		return phase(w) == "" && message(w) == "" && w.GetLabels()[stellarflow.ArgoLabelPhase] == "" && w.GetAnnotations()[stellarflow.AnnotationWaiting] == ""
	}
	if _, err := c.hub.workflows(ns).Patch(t.Context(), "resumed", types.MergePatchType, []byte(`{"spec":{"suspend":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	c.hub.waitFor(t, ns, "resumed", "no word of us", untouched)
	if err := c.hub.client.Delete(t.Context(), nowhere); err != nil {
		t.Fatal(err)
	}
	c.hub.waitFor(t, ns, "deselected", "no word of us", untouched)
}

// TestFailedAtSight creates Workflows as the hub's Argo controller leaves one whose template only clusters have: it is faster than
// placement, now and then.
func TestFailedAtSight(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{})
	failed := func(status map[string]any) func(*unstructured.Unstructured) {
		return func(w *unstructured.Unstructured) {
			w.SetLabels(map[string]string{
				"kubestellar.io/cluster": w.GetLabels()["kubestellar.io/cluster"], stellarflow.ArgoLabelCompleted: "true", stellarflow.ArgoLabelPhase: "Error",
				stellarflow.ArgoLabelArchivingStatus: "Pending",
			})
			maps.Copy(status, map[string]any{
				"phase": "Error", "message": "not found", "finishedAt": time.Now().UTC().Format(time.RFC3339), "conditions": []any{map[string]any{"type": "Completed", "status": "True"}},
			})
			w.Object["status"] = status
		}
	}
	c.submit(t, ns, "nowhere", "cluster9", failed(map[string]any{}))
	c.submit(t, ns, "imported", "cluster1", failed(map[string]any{"nodes": map[string]any{"n": map[string]any{"type": "Pod", "phase": "Failed", "startedAt": "2026-01-02T03:04:05Z"}}}))
	c.submit(t, ns, "stripped", "cluster1", failed(map[string]any{}), func(w *unstructured.Unstructured) { delete(w.Object, "status") }) // a backup without it
	c.submit(t, ns, "sent", "cluster1", failed(map[string]any{}))
	c.wecs["cluster1"].waitFor(t, ns, "sent", "a WEC copy", exists)
	sent := c.hub.get(t.Context(), ns, "sent")
	status, _, _ := unstructured.NestedMap(sent.Object, "status")
	if phase(sent) != "Pending" || status["finishedAt"] != nil || status["conditions"] != nil || stellarflow.Completed(sent) || sent.GetLabels()[stellarflow.ArgoLabelArchivingStatus] != "" {
		t.Errorf("it still looks ended: %s", describe(sent))
	}
	for _, name := range []string{"nowhere", "imported", "stripped"} { // a write of ours would make the hub's controller fail it again, for ever
		if w := c.hub.get(t.Context(), ns, name); w.GetGeneration() != 1 || !stellarflow.Completed(w) || c.wecs["cluster1"].get(t.Context(), ns, name) != nil {
			t.Errorf("%s was touched: %s", name, describe(w))
		}
	}
}

func TestRefusals(t *testing.T) {
	timing := leaseTiming(20 * time.Second)
	timing.Settle = time.Hour // what this manager has placed itself need not wait for it
	c, _, ns := setUp(t, managerOptions{timing: timing})
	c.submit(t, ns, "first", "cluster1")
	first := c.wecs["cluster1"]
	first.waitFor(t, ns, "first", "a WEC copy, and the namespace with it", exists)

	t.Run("a name that is taken is said, and the foreign Workflow is left alone", func(t *testing.T) {
		foreign := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": map[string]any{"name": "taken", "namespace": ns}, "spec": map[string]any{"entrypoint": "x"},
		}}
		before, err := first.workflows(ns).Create(t.Context(), foreign, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		c.submit(t, ns, "taken", "cluster1")
		c.hub.waitFor(t, ns, "taken", "the refusal", waiting("is not from this hub: delete it there, or create this one under another name"))
		if err := c.hub.workflows(ns).Delete(t.Context(), "taken", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		c.hub.waitFor(t, ns, "taken", "the hub copy to go", gone)
		after := first.get(t.Context(), ns, "taken")
		if after == nil || after.GetResourceVersion() != before.GetResourceVersion() {
			t.Errorf("the foreign Workflow was changed: %s", describe(after))
		}
	})
	t.Run("a namespace that exists and was not accepted", func(t *testing.T) {
		other := c.namespace(t)
		if err := first.client.Create(t.Context(), namespaceObject(other)); err != nil {
			t.Fatal(err)
		}
		c.submit(t, other, "refused", "cluster1")
		c.hub.waitFor(t, other, "refused", "the refusal", waiting("does not accept Workflows from this hub"))
		if err := first.client.Patch(t.Context(), namespaceObject(other), clientPatch([]byte(`{"metadata":{"labels":{"stellarflow.io/accept":"true"}}}`))); err != nil {
			t.Fatal(err)
		}
		// the ServiceAccount is not made in a namespace that is not ours; it is looked at again within retryRefused
		touch(t, c, other, "refused")
		c.hub.waitFor(t, other, "refused", "the next refusal", waiting(`ServiceAccount "default" does not exist`))
	})
	t.Run("an object that the WEC's admission rejects", func(t *testing.T) {
		first.rejectLabelled(t)
		c.submit(t, ns, "rejected", "cluster1", func(w *unstructured.Unstructured) {
			w.SetLabels(map[string]string{"kubestellar.io/cluster": "cluster1", "forbidden": "yes"})
		})
		c.hub.waitFor(t, ns, "rejected", "the refusal, in the WEC's words", waiting("cluster cluster1 refused it: it rejects the request to create the Workflow"))
		c.hub.waitFor(t, ns, "rejected", "the reason", waiting("forbidden label, says the owner of cluster1"))
	})
	t.Run("the next attempt goes to another cluster that matches", func(t *testing.T) {
		both := policy("both", map[string]string{"location-group": "edge"})
		c.create(t, both)
		other := c.namespace(t)
		if err := first.client.Create(t.Context(), namespaceObject(other)); err != nil {
			t.Fatal(err)
		}
		// cluster2 has the fewer Workflows: keep it busy so that cluster1 is tried first
		for _, name := range []string{"busy-1", "busy-2", "busy-3", "busy-4"} {
			c.submit(t, ns, name, "cluster2")
			c.hub.waitFor(t, ns, name, "placement", placedOn("cluster2"))
		}
		c.submit(t, other, "moves", "both")
		moved := c.hub.waitFor(t, other, "moves", "the second attempt", placedOn("cluster2"))
		if record, _ := stellarflow.PlacementOf(moved); record.Attempt != 2 || len(record.Refused) != 1 {
			t.Errorf("record is %s", record)
		}
		c.wecs["cluster2"].waitFor(t, other, "moves", "the WEC copy", exists)
	})
}

func TestCopiedRecordIsNotObeyed(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{})
	c.submit(t, ns, "original", "cluster1")
	c.wecs["cluster1"].waitFor(t, ns, "original", "the WEC copy", exists)
	c.wecs["cluster1"].argo(t, ns, "original", "Running")
	original := c.hub.waitFor(t, ns, "original", "a mirrored state", inPhase("Running"))
	carry := func(w *unstructured.Unstructured) {
		w.SetLabels(original.GetLabels())
		w.SetAnnotations(original.GetAnnotations())
		w.SetFinalizers(original.GetFinalizers())
	}
	t.Run("a resubmitted Workflow gets a placement of its own", func(t *testing.T) {
		resubmitted := c.submit(t, ns, "resubmitted", "cluster1", carry)
		w := c.hub.waitFor(t, ns, "resubmitted", "a placement of its own", placedOn("cluster1"))
		record, _ := stellarflow.PlacementOf(w)
		if record.UID != resubmitted.GetUID() || record.WECUID == mustPlacement(t, original).WECUID {
			t.Errorf("record %s was taken from the original", record)
		}
		c.wecs["cluster1"].waitFor(t, ns, "resubmitted", "its WEC copy", exists)
	})
	t.Run("an imported local Workflow is cleaned of it", func(t *testing.T) {
		c.submit(t, ns, "imported", "cluster1", carry, func(w *unstructured.Unstructured) { unstructured.RemoveNestedField(w.Object, "spec", "suspend") })
		c.hub.waitFor(t, ns, "imported", "no key of ours", func(w *unstructured.Unstructured) bool {
			raw, _ := json.Marshal([]any{w.GetLabels(), w.GetAnnotations(), w.GetFinalizers()})
			return !strings.Contains(string(raw), stellarflow.Prefix)
		})
	})
}

func TestLostRecordIsFoundAgain(t *testing.T) {
	c, m, ns := setUp(t, managerOptions{})
	c.submit(t, ns, "lost", "cluster2")
	c.wecs["cluster2"].waitFor(t, ns, "lost", "the WEC copy", exists)
	c.wecs["cluster2"].argo(t, ns, "lost", "Running")
	c.hub.waitFor(t, ns, "lost", "a mirrored state", inPhase("Running"))
	m.stop()
	// as a hub restored from a backup shows it; only the manager itself gets past the guard
	asManager := c.hub.as(t, hubManager)
	if _, err := asManager.Resource(stellarflow.Workflows).Namespace(ns).Patch(t.Context(), "lost", types.MergePatchType, []byte(
		`{"metadata":{"finalizers":null,"labels":{"stellarflow.io/cluster":null},"annotations":{"stellarflow.io/placement":null,"stellarflow.io/observed":null}}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	c.wecs["cluster2"].argo(t, ns, "lost", "Succeeded")
	before := c.creates(t, "cluster1") + c.creates(t, "cluster2")
	startManager(t, c, managerOptions{})
	c.hub.waitFor(t, ns, "lost", "its end", inPhase("Succeeded"))
	if after := c.creates(t, "cluster1") + c.creates(t, "cluster2"); after != before {
		t.Errorf("%d Workflows were created on WECs after the record was lost", after-before)
	}
}
