package integration

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// forgottenAttempt puts the copy of a later attempt in the place of a Workflow's copy, as a retry leaves it that the hub's backup does not
// know. No manager may run. It returns the new copy.
func (c *clusters) forgottenAttempt(t *testing.T, cluster, ns, name, attempt string) *unstructured.Unstructured {
	t.Helper()
	wec := c.wecs[cluster]
	later := wec.get(t.Context(), ns, name)
	if later == nil { // on another cluster: as on the first
		later = c.wecs["cluster1"].get(t.Context(), ns, name)
		if _, err := wec.core.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	} else {
		wec.deleteByForce(t, ns, name)
	}
	later.SetUID("")
	later.SetResourceVersion("")
	later.SetFinalizers([]string{stellarflow.FinalizerHarvest})
	labels, annotations := later.GetLabels(), later.GetAnnotations()
	delete(labels, stellarflow.ArgoLabelCompleted)
	annotations[stellarflow.AnnotationAttempt] = attempt
	delete(annotations, stellarflow.AnnotationShutdown) // a retry takes that back
	unstructured.RemoveNestedField(later.Object, "spec", "shutdown")
	later.SetLabels(labels)
	later.SetAnnotations(annotations)
	created, err := wec.workflows(ns).Create(t.Context(), later, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	wec.argo(t, ns, name, "Running")
	return created
}

// follows reports whether a hub copy shows the run of an attempt.
func follows(attempt int, uid types.UID) func(*unstructured.Unstructured) bool {
	return func(w *unstructured.Unstructured) bool {
		if w == nil {
			return false
		}
		placement, placed := stellarflow.PlacementOf(w)
		return placed && placement.Attempt == attempt && placement.WECUID == uid && phase(w) == "Running" && !stellarflow.Completed(w)
	}
}

// TestRestoredHubFollowsALaterAttempt restores the hub from a backup to before a retry whose copy is a new one. The run of that is shown, not
// the end of the attempt before, and its Workflow is created nowhere.
func TestRestoredHubFollowsALaterAttempt(t *testing.T) {
	c := sharedClusters(t)
	c.forgetsRestores(t)
	_, m, ns := setUp(t, managerOptions{})
	wec := c.wecs["cluster1"]
	for _, name := range []string{"ended", "stopped", "ran", "deleted", "two", "asked"} {
		c.running(t, ns, name, "cluster1")
	}
	c.stop(t, ns, "stopped", "Stop")
	wec.waitFor(t, ns, "stopped", "the shutdown", stopping("Stop"))
	for _, name := range []string{"ended", "stopped", "two"} {
		wec.argo(t, ns, name, "Failed")
		c.hub.waitFor(t, ns, name, "phase Failed", inPhase("Failed"))
		wec.waitFor(t, ns, name, "the release", func(w *unstructured.Unstructured) bool { return !hasFinalizer(w, stellarflow.FinalizerHarvest) })
	}
	m.stop()
	later := map[string]types.UID{}
	for _, name := range []string{"ended", "stopped", "ran", "deleted", "two", "asked"} {
		later[name] = c.forgottenAttempt(t, "cluster1", ns, name, "2").GetUID()
	}
	c.forgottenAttempt(t, "cluster2", ns, "two", "2")
	if err := c.hub.workflows(ns).Delete(t.Context(), "deleted", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	before := c.creates(t, "cluster1") + c.creates(t, "cluster2")
	c.goesBack(t)
	c.stop(t, ns, "asked", "Stop")
	startManager(t, c, managerOptions{})

	t.Run("a stop asked since the restore is passed on", func(t *testing.T) {
		wec.waitFor(t, ns, "asked", "the shutdown", stopping("Stop"))
		c.waitEvent(t, ns, "asked", "ShutdownPassedOn", "spec.shutdown: Stop was passed on to cluster cluster1")
	})
	for _, name := range []string{"ended", "stopped", "ran"} {
		c.hub.waitFor(t, ns, name, "the later attempt", follows(2, later[name]))
		c.waitEvent(t, ns, name, "PlacementRestored", "to before attempt 2 of this Workflow, whose copy on cluster cluster1 was found and is followed")
		if there := wec.get(t.Context(), ns, name); stopping("Stop")(there) || there.GetUID() != later[name] {
			t.Errorf("its copy: %s", describe(there))
		}
		wec.argo(t, ns, name, "Succeeded")
		c.hub.waitFor(t, ns, name, "its end", inPhase("Succeeded"))
		wec.waitFor(t, ns, name, "the release", func(w *unstructured.Unstructured) bool { return !hasFinalizer(w, stellarflow.FinalizerHarvest) })
	}
	wec.waitFor(t, ns, "deleted", "it to go with all its attempts", gone)
	c.hub.waitFor(t, ns, "deleted", "it to go", gone)
	t.Run("two clusters have one: a person decides", func(t *testing.T) {
		c.hub.waitFor(t, ns, "two", "what is in the way", func(w *unstructured.Unstructured) bool {
			return strings.Contains(w.GetAnnotations()[stellarflow.AnnotationSync], "attempt 2 is on clusters cluster1 and cluster2")
		})
		c.condition(t, "cluster1", func(condition metav1.Condition) bool { return strings.Contains(condition.Message, ns+"/two") })
		if shown := c.hub.get(t.Context(), ns, "two"); phase(shown) != "Failed" || mustPlacement(t, shown).Attempt != 1 {
			t.Errorf("it shows %s", describe(shown))
		}
		c.wecs["cluster2"].deleteByForce(t, ns, "two")
		touch(t, &clusters{hub: wec}, ns, "two") // sooner than it would be looked at again
		c.hub.waitFor(t, ns, "two", "the later attempt", follows(2, later["two"]))
	})
	if n := c.creates(t, "cluster1") + c.creates(t, "cluster2") - before; n != 0 {
		t.Errorf("%d Workflows were created after the restore", n)
	}
}

// TestLaterAttemptIsNotBelieved lets a WEC invent a later attempt of what has ended, on a hub that has forgotten nothing: that is said, and
// not shown.
func TestLaterAttemptIsNotBelieved(t *testing.T) {
	c := sharedClusters(t)
	c.forgetsRestores(t)
	_, m, ns := setUp(t, managerOptions{})
	c.running(t, ns, "ended", "cluster1")
	c.wecs["cluster1"].argo(t, ns, "ended", "Failed")
	c.hub.waitFor(t, ns, "ended", "phase Failed", inPhase("Failed"))
	m.stop()
	c.forgottenAttempt(t, "cluster1", ns, "ended", "2")
	startManager(t, c, managerOptions{})
	c.condition(t, "cluster1", func(condition metav1.Condition) bool { return strings.Contains(condition.Message, ns+"/ended") })
	neverWithin(t, time.Second, "it is shown", func() bool {
		shown := c.hub.get(t.Context(), ns, "ended")
		return phase(shown) != "Failed" || mustPlacement(t, shown).Attempt != 1
	})
}
