package integration

import (
	"context"
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

func archiving(w *unstructured.Unstructured) string {
	return w.GetLabels()[stellarflow.ArgoLabelArchivingStatus]
}

// archives writes what Argo's controller writes when it has archived a Workflow, as its user: the guard is asked.
func (s *server) archives(ctx context.Context, t *testing.T, ns, name string) error {
	t.Helper()
	patch := fmt.Sprintf(`{"metadata":{"labels":{%q:"Archived"}}}`, stellarflow.ArgoLabelArchivingStatus)
	_, err := s.as(t, argoController).Resource(stellarflow.Workflows).Namespace(ns).Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	return err
}

// archived waits until a Workflow is to be archived, and archives it.
func (s *server) archived(t *testing.T, ns, name string) {
	t.Helper()
	s.waitFor(t, ns, name, "it is to be archived", func(w *unstructured.Unstructured) bool { return archiving(w) == "Pending" })
	if err := s.archives(t.Context(), t, ns, name); err != nil {
		t.Errorf("Argo's controller cannot archive it: %v", err)
	}
}

// says writes a part of the status of a WEC copy.
func (s *server) says(t *testing.T, ns, name, status string) {
	t.Helper()
	patch := fmt.Sprintf(`{"status":%s}`, status)
	if _, err := s.workflows(ns).Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestArchive: with its end, and once for each, a hub copy is labelled for the hub's Argo controller.
func TestArchive(t *testing.T) {
	c, m, ns := setUp(t, managerOptions{archive: "all"})
	wec := c.wecs["cluster1"]
	c.running(t, ns, "w", "cluster1")
	if status := archiving(c.hub.get(t.Context(), ns, "w")); status != "" {
		t.Errorf("while it runs it is %s", status)
	}
	if err := c.hub.archives(t.Context(), t, ns, "w"); err == nil {
		t.Error("Argo's controller may label what runs")
	}
	wec.argo(t, ns, "w", "Failed")
	c.hub.waitFor(t, ns, "w", "the end", func(w *unstructured.Unstructured) bool {
		if stellarflow.Completed(w) != (archiving(w) == "Pending") {
			t.Errorf("the end and the label come in one write: %v", w.GetLabels())
		}
		return inPhase("Failed")(w)
	})
	c.hub.archived(t, ns, "w")

	wec.says(t, ns, "w", `{"message":"of the same end"}`)
	if w := c.hub.waitFor(t, ns, "w", "another status of the same end", func(w *unstructured.Unstructured) bool { return message(w) == "of the same end" }); archiving(w) != "Archived" {
		t.Errorf("it is archived again: %q", archiving(w))
	}
	wec.argo(t, ns, "w", "Running")
	if w := c.hub.waitFor(t, ns, "w", "its retry on the cluster", inPhase("Running")); archiving(w) != "" {
		t.Errorf("while it runs again it is %s", archiving(w))
	}
	wec.argo(t, ns, "w", "Succeeded")
	c.hub.waitFor(t, ns, "w", "its second end", inPhase("Succeeded"))
	c.hub.archived(t, ns, "w")

	m.stop()
	wec.says(t, ns, "w", `{"phase":"Error","finishedAt":"2026-01-01T00:09:00Z"}`) // of a retry that nobody saw
	startManager(t, c, managerOptions{archive: "all"})
	c.hub.waitFor(t, ns, "w", "the end that was missed", inPhase("Error"))
	c.hub.archived(t, ns, "w")
}

// TestArchiveOfOurEnds: what the hub itself ends is archived too.
func TestArchiveOfOurEnds(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{archive: "all"})
	wec := c.wecs["cluster1"]
	c.create(t, policy("nowhere", map[string]string{"name": "nowhere"}))
	c.submit(t, ns, "stopped", "nowhere")
	c.hub.waitFor(t, ns, "stopped", "why it waits", waiting("workflows-nowhere"))
	c.stop(t, ns, "stopped", "Stop")
	c.running(t, ns, "lost", "cluster1")
	for range 2 { // harvest may be put back in between
		_, _ = wec.workflows(ns).Patch(t.Context(), "lost", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
		_ = wec.workflows(ns).Delete(t.Context(), "lost", metav1.DeleteOptions{})
	}
	c.running(t, ns, "abandoned", "cluster1")
	c.ask(t, ns, "abandoned", stellarflow.RequestAbandon)
	for name, phase := range map[string]string{"stopped": "Failed", "lost": "Error", "abandoned": "Error"} {
		c.hub.waitFor(t, ns, name, "its end", inPhase(phase))
		c.hub.archived(t, ns, name)
	}
}

// TestArchiveSelects: without an archive, and where the controller's selector does not select it, nothing is labelled.
func TestArchiveSelects(t *testing.T) {
	c, m, ns := setUp(t, managerOptions{archive: "kept=yes"})
	ends := func(name, want string, change ...func(*unstructured.Unstructured)) {
		c.submit(t, ns, name, "cluster1", change...)
		c.wecs["cluster1"].waitFor(t, ns, name, "the WEC copy", exists)
		c.wecs["cluster1"].argo(t, ns, name, "Succeeded")
		if got := archiving(c.hub.waitFor(t, ns, name, "its end", inPhase("Succeeded"))); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	kept := func(w *unstructured.Unstructured) {
		labels := w.GetLabels()
		labels["kept"] = "yes"
		w.SetLabels(labels)
	}
	ends("selected", "Pending", kept)
	ends("other", "")
	m.stop()
	startManager(t, c, managerOptions{})
	ends("off", "", kept)
}
