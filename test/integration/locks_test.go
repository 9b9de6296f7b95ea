package integration

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestLocks: what the hub's controller gives back stands in the status until the end, and nothing of it then.
func TestLocks(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{})
	c.hub.put(t, ns, cm, "here", `{data: {k: "1"}}`)
	wec := c.wecs["cluster1"]
	c.submit(t, ns, "w", "cluster1", needing(`{entrypoint: main, templates: [{name: main, container: {image: busybox}}],
		synchronization: {mutexes: [{name: m}], semaphores: [{configMapKeyRef: {name: here, key: k}}, {configMapKeyRef: {name: here, key: missing}}]}}`))
	semaphore := func(w *unstructured.Unstructured) bool {
		held, _, _ := unstructured.NestedSlice(w.Object, "status", "synchronization", "semaphore", "holding")
		return len(held) == 1 && held[0].(map[string]any)["semaphore"] == ns+"/ConfigMap/here/k"
	}
	wec.waitFor(t, ns, "w", "the WEC copy", exists)
	if w := c.hub.get(t.Context(), ns, "w"); !semaphore(w) {
		t.Errorf("placed: %s %v", describe(w), w.Object["status"])
	}
	wec.argo(t, ns, "w", "Running")
	c.hub.waitFor(t, ns, "w", "Running with the locks", func(w *unstructured.Unstructured) bool { return inPhase("Running")(w) && semaphore(w) })
	wec.argo(t, ns, "w", "Succeeded")
	c.hub.waitFor(t, ns, "w", "the end without them", func(w *unstructured.Unstructured) bool {
		_, found, _ := unstructured.NestedFieldNoCopy(w.Object, "status", "synchronization")
		return inPhase("Succeeded")(w) && !found
	})
}

// TestLocksOfTemplate: those of the template that it is made from too, which the hub's controller may look at later than we.
func TestLocksOfTemplate(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{})
	c.hub.put(t, ns, wft, "whole", `{spec: {entrypoint: main, synchronization: {mutexes: [{name: m}]}, templates: [{name: main, container: {image: busybox}}]}}`)
	c.submit(t, ns, "w", "cluster1", needing(`{workflowTemplateRef: {name: whole}}`))
	c.wecs["cluster1"].waitFor(t, ns, "w", "the WEC copy", exists)
	w := c.hub.get(t.Context(), ns, "w")
	if held, _, _ := unstructured.NestedSlice(w.Object, "status", "synchronization", "mutex", "holding"); len(held) != 1 {
		t.Errorf("placed: %s %v", describe(w), w.Object["status"])
	}
}

// TestDatabaseLock: a Workflow that would wait on its cluster for what it holds on the hub is not placed, and says why.
func TestDatabaseLock(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{})
	c.submit(t, ns, "w", "cluster1", needing(`{entrypoint: main, synchronization: {mutexes: [{name: m, database: true}]}, templates: [{name: main, container: {image: busybox}}]}`))
	c.hub.waitFor(t, ns, "w", "why it waits", waiting("holds mutex \"m\" for it, in a database"))
	c.hub.put(t, ns, wft, "whole", `{spec: {entrypoint: main, synchronization: {mutexes: [{name: t, database: true}]}, templates: [{name: main, container: {image: busybox}}]}}`)
	c.submit(t, ns, "made", "cluster1", needing(`{workflowTemplateRef: {name: whole}}`))
	c.hub.put(t, ns, cwft, ns, `{spec: {entrypoint: main, synchronization: {semaphores: [{database: {key: s}}]}, templates: [{name: main, container: {image: busybox}}]}}`)
	c.submit(t, ns, "of-cluster", "cluster1", needing(`{workflowTemplateRef: {name: `+ns+`, clusterScope: true}}`))
	c.submit(t, ns, "over", "cluster1", needing(`{workflowTemplateRef: {name: whole}, synchronization: {mutexes: [{name: local}]}}`))
	c.hub.waitFor(t, ns, "made", "why it waits", waiting("holds mutex \"t\" for it, in a database"))
	c.hub.waitFor(t, ns, "of-cluster", "why it waits", waiting("holds semaphore \"s\" for it, in a database"))
	c.wecs["cluster1"].waitFor(t, ns, "over", "the WEC copy, with a lock of its own", exists)
}
