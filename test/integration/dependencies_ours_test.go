package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// again creates what somebody makes of an object with kubectl get, a text editor and kubectl create.
func (s *server) again(t *testing.T, object *unstructured.Unstructured, namespace, name string) {
	t.Helper()
	other := object.DeepCopy()
	other.SetUID("")
	other.SetResourceVersion("")
	other.SetCreationTimestamp(metav1.Time{})
	other.SetManagedFields(nil)
	other.SetNamespace(namespace)
	other.SetName(name)
	if _, err := s.kind(cm, namespace).Create(t.Context(), other, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.kind(cm, namespace).Delete(context.Background(), name, metav1.DeleteOptions{}) })
}

const lockOf = `{entrypoint: main, synchronization: {semaphore: {configMapKeyRef: {name: %s, key: k}}}, templates: [{name: main, container: {image: busybox}}]}`

// TestDependenciesCopied: what somebody makes of a copy is the cluster's own: it is neither removed nor changed, and used.
func TestDependenciesCopied(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{timing: travelTiming()})
	wec := c.wecs["cluster1"]
	c.hub.put(t, ns, cm, "locks", `{data: {k: "1"}}`)
	c.submit(t, ns, "first", "cluster1", needing(fmt.Sprintf(lockOf, "locks")))
	wec.waitFor(t, ns, "first", "the WEC copy", exists)
	wec.again(t, wec.look(t.Context(), t, ns, cm, "locks"), ns, "mine")
	wec.stays(t, ns, cm, "mine", "it is gone", data("1"))
	c.hub.put(t, ns, cm, "mine", `{data: {k: "2"}}`)
	c.submit(t, ns, "second", "cluster1", needing(fmt.Sprintf(lockOf, "mine")))
	second := wec.waitFor(t, ns, "second", "the WEC copy", exists)
	if got := second.GetAnnotations()[stellarflow.AnnotationDependencies]; got != `{"there":["ConfigMap/mine"]}` {
		t.Errorf("the second says %s", got)
	}
	if object := wec.look(t.Context(), t, ns, cm, "mine"); !data("1")(object) {
		t.Errorf("it was changed: %v", object)
	}
}

// TestDependenciesOtherHub: a copy of another hub's is not counted on.
func TestDependenciesOtherHub(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{timing: travelTiming()})
	wec := c.wecs["cluster1"]
	if err := wec.client.Create(t.Context(), namespaceObject(ns)); err != nil {
		t.Fatal(err)
	}
	wec.accept(t, ns)
	wec.put(t, ns, cm, "locks", fmt.Sprintf(`{metadata: {labels: {%s: other-hub, %s: "true"}, annotations: {%s: ConfigMap/%s/locks}}, data: {k: "1"}}`,
		stellarflow.LabelOrigin, stellarflow.LabelDependency, stellarflow.AnnotationSource, ns))
	c.hub.put(t, ns, cm, "locks", `{data: {k: "2"}}`)
	c.submit(t, ns, "w", "cluster1", needing(fmt.Sprintf(lockOf, "locks")))
	c.hub.waitFor(t, ns, "w", "whose it is", waiting(`what another hub has copied there`))
	wec.stays(t, ns, cm, "locks", "it was changed", data("1"))
}

// TestDependenciesImmutable: one that is made anew on the hub under its name reaches the WEC.
func TestDependenciesImmutable(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{timing: travelTiming()})
	wec := c.wecs["cluster1"]
	c.hub.put(t, ns, cm, "locks", `{immutable: true, data: {k: "1"}}`)
	c.submit(t, ns, "first", "cluster1", needing(fmt.Sprintf(lockOf, "locks")))
	wec.waitFor(t, ns, "first", "the WEC copy", exists)
	c.hub.drop(t, ns, cm, "locks")
	c.hub.put(t, ns, cm, "locks", `{immutable: true, data: {k: "2"}}`)
	c.submit(t, ns, "second", "cluster1", needing(fmt.Sprintf(lockOf, "locks")))
	wec.waitFor(t, ns, "second", "the WEC copy", exists)
	wec.awaitKind(t, ns, cm, "locks", "the new one", data("2"))
}

// TestDependenciesShared: a template that one run was started from as a whole is not changed because another calls it.
func TestDependenciesShared(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{timing: travelTiming()})
	wec := c.wecs["cluster1"]
	c.hub.put(t, ns, wft, "lib", `{metadata: {labels: {v: old}}, spec: {entrypoint: x, templates: [{name: x, container: {image: busybox}}]}}`)
	c.submit(t, ns, "whole", "cluster1", needing(`{workflowTemplateRef: {name: lib}}`))
	c.submit(t, ns, "caller", "cluster1", needing(chain))
	for _, name := range []string{"whole", "caller"} {
		wec.waitFor(t, ns, name, "the WEC copy", exists)
	}
	patch := fmt.Sprintf(`{"metadata":{"labels":{%q:"lib"}}}`, stellarflow.ArgoLabelWorkflowTemplate)
	if _, err := wec.workflows(ns).Patch(t.Context(), "whole", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"whole", "caller"} {
		wec.argo(t, ns, name, "Running")
		c.hub.waitFor(t, ns, name, "phase Running", inPhase("Running"))
	}
	c.hub.patchKind(t, ns, wft, "lib", `{"metadata":{"labels":{"v":"new"}}}`)
	wec.stays(t, ns, wft, "lib", "it was changed under a run", func(object *unstructured.Unstructured) bool {
		return object != nil && object.GetLabels()["v"] == "old"
	})
	wec.argo(t, ns, "whole", "Succeeded")
	wec.awaitKind(t, ns, wft, "lib", "the new one, when that run has ended", func(object *unstructured.Unstructured) bool {
		return object != nil && object.GetLabels()["v"] == "new"
	})
}

// TestDependenciesPassedOn: what a template refers to since is recorded on the WEC copy too, where it outlives the hub copy.
func TestDependenciesPassedOn(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{timing: travelTiming()})
	wec := c.wecs["cluster1"]
	c.hub.put(t, ns, wft, "lib", `{spec: {templates: [{name: x, container: {image: busybox}}]}}`)
	c.hub.put(t, ns, cm, "locks", `{data: {k: "1"}}`)
	c.submit(t, ns, "w", "cluster1", needing(chain))
	wec.waitFor(t, ns, "w", "the WEC copy", exists)
	wec.argo(t, ns, "w", "Running")
	c.hub.waitFor(t, ns, "w", "phase Running", inPhase("Running"))
	c.hub.patchKind(t, ns, wft, "lib", `{"spec":{"templates":[{"name":"x","synchronization":{"semaphore":{"configMapKeyRef":{"name":"locks","key":"k"}}},"container":{"image":"busybox"}}]}}`)
	wec.waitFor(t, ns, "w", "the new record", func(w *unstructured.Unstructured) bool {
		return w != nil && w.GetAnnotations()[stellarflow.AnnotationDependencies] == `{"copied":["ConfigMap/locks","WorkflowTemplate/lib"]}`
	})
	c.hub.waitFor(t, ns, "w", "phase Running still", inPhase("Running"))
}

// TestDependenciesBehind: who looks at a Workflow is told that it runs without what the hub has now, and why.
func TestDependenciesBehind(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{timing: travelTiming()})
	wec := c.wecs["cluster1"]
	c.hub.put(t, ns, cm, "locks", `{data: {k: "1"}}`)
	c.submit(t, ns, "behind", "cluster1", needing(fmt.Sprintf(lockOf, "locks")))
	wec.waitFor(t, ns, "behind", "the WEC copy", exists)
	wec.argo(t, ns, "behind", "Running")
	c.hub.waitFor(t, ns, "behind", "phase Running", inPhase("Running"))
	restore := wec.without(t, right{role: "ClusterRole stellarflow-wec", resource: "configmaps", verb: "update"})
	c.hub.patchKind(t, ns, cm, "locks", `{"data":{"k":"2"}}`)
	eventually(t, "the event", func(ctx context.Context) (bool, string) {
		said := c.eventsOf(ctx, "behind")
		return strings.Contains(said, "is not brought up to date on cluster cluster1") && strings.Contains(said, "it may not update ConfigMap/locks"), said
	})
	restore()
	wec.awaitKind(t, ns, cm, "locks", "the new number", data("2"))
}

// TestDependenciesUnaccepted: what is in a namespace that does not accept Workflows is not looked for: a refusal would tell of it.
func TestDependenciesUnaccepted(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{timing: travelTiming()})
	wec := c.wecs["cluster1"]
	if err := wec.client.Create(t.Context(), namespaceObject(ns)); err != nil {
		t.Fatal(err)
	}
	c.submit(t, ns, "curious", "cluster1", needing(fmt.Sprintf(lockOf, "nowhere")))
	c.hub.waitFor(t, ns, "curious", "the namespace", waiting("does not accept Workflows"))
}
