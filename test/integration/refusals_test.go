package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// fullQuota lets a namespace of a WEC hold no Workflow more. No quota controller runs here: the counts are written as it would.
func (s *server) fullQuota(t *testing.T, namespace string) *corev1.ResourceQuota {
	t.Helper()
	one := corev1.ResourceList{"count/workflows.argoproj.io": resource.MustParse("1")}
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "few"}, Spec: corev1.ResourceQuotaSpec{Hard: one}}
	if err := s.client.Create(t.Context(), quota); err != nil {
		t.Fatal(err)
	}
	quota.Status = corev1.ResourceQuotaStatus{Hard: one, Used: one}
	if err := s.client.Status().Update(t.Context(), quota); err != nil {
		t.Fatal(err)
	}
	s.waitRefused(t, namespace, map[string]any{})
	return quota
}

// waitRefused waits until a WEC refuses a Workflow with this spec.
func (s *server) waitRefused(t *testing.T, namespace string, spec map[string]any) {
	t.Helper()
	eventually(t, "the WEC to refuse it", func(ctx context.Context) (bool, string) {
		probe := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": map[string]any{"generateName": "probe-"}, "spec": spec,
		}}
		_, err := s.workflows(namespace).Create(ctx, probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err != nil, "it takes it"
	})
}

// taken touches a hub copy, so that nobody need wait for the next look, until its WEC copy is there.
func (c *clusters) taken(t *testing.T, cluster, namespace, name string) {
	t.Helper()
	eventually(t, "the WEC copy of "+name, func(ctx context.Context) (bool, string) {
		touch(t, c, namespace, name)
		return c.wecs[cluster].get(ctx, namespace, name) != nil, describe(c.hub.get(ctx, namespace, name))
	})
}

// TestRefusedByTheCluster lets a WEC refuse what the hub has taken: the hub copy says why, in the WEC's words, and what to do; it goes to
// another cluster that matches, or there as soon as the reason is gone.
func TestRefusedByTheCluster(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{})
	wec := c.wecs["cluster1"]
	c.submit(t, ns, "first", "cluster1")
	wec.waitFor(t, ns, "first", "a WEC copy, and the namespace with it", exists)

	t.Run("a quota on their number", func(t *testing.T) {
		quota := wec.fullQuota(t, ns)
		c.submit(t, ns, "second", "cluster1")
		said := c.hub.waitFor(t, ns, "second", "the refusal", waiting("cluster cluster1 refused it: it may not create the Workflow: "))
		for _, part := range []string{"exceeded quota: few", "count/workflows.argoproj.io=1", ": change the quota, the admission policy or the hub's rights there"} {
			if !strings.Contains(message(said), part) {
				t.Errorf("the message lacks %q: %s", part, message(said))
			}
		}
		c.create(t, policy("both", map[string]string{"location-group": "edge"}))
		for i := range 4 { // cluster1 has fewer, so that it is tried first
			c.submit(t, ns, fmt.Sprintf("busy-%d", i), "cluster2")
			c.hub.waitFor(t, ns, fmt.Sprintf("busy-%d", i), "placement", placedOn("cluster2"))
		}
		c.submit(t, ns, "elsewhere", "both")
		moved := c.hub.waitFor(t, ns, "elsewhere", "the next attempt", placedOn("cluster2"))
		if record := mustPlacement(t, moved); record.Attempt != 2 {
			t.Errorf("record is %s", record)
		}
		c.waitEvent(t, ns, "elsewhere", "ClusterRefused", "exceeded quota: few")
		if err := wec.client.Delete(t.Context(), quota); err != nil {
			t.Fatal(err)
		}
		c.taken(t, "cluster1", ns, "second")
		if other := wec.get(t.Context(), ns, "elsewhere"); other != nil {
			t.Error("it is on both clusters")
		}
	})
	t.Run("a CRD that is stricter than the hub's", func(t *testing.T) { // as Argo's full CRDs are to its minimal ones
		wec.strict(t)
		c.submit(t, ns, "loose", "cluster1", func(w *unstructured.Unstructured) {
			w.Object["spec"].(map[string]any)["parallelism"] = "many"
		})
		said := c.hub.waitFor(t, ns, "loose", "the refusal", waiting("cluster cluster1 refused it: it rejects the request to create the Workflow: "))
		for _, part := range []string{"spec.parallelism", `must be of type integer: "string"`, ": correct the Workflow, or the CRD or admission there"} {
			if !strings.Contains(message(said), part) {
				t.Errorf("the message lacks %q: %s", part, message(said))
			}
		}
	})
	t.Run("a namespace that is being deleted", func(t *testing.T) {
		c.submit(t, ns, "ready", "cluster1") // and the namespace is not looked at again for a while
		wec.waitFor(t, ns, "ready", "the WEC copy", exists)
		if err := wec.client.Delete(t.Context(), namespaceObject(ns)); err != nil { // it stays, since nobody ends it here
			t.Fatal(err)
		}
		wec.waitRefused(t, ns, map[string]any{})
		c.submit(t, ns, "late", "cluster1")
		c.waitEvent(t, ns, "late", "ClusterRefused", "cluster cluster1 refused it: its namespace is being deleted there: wait until it is gone: ")
		touch(t, c, ns, "late")
		c.hub.waitFor(t, ns, "late", "the refusal from a fresh look", waiting(fmt.Sprintf("cluster cluster1 refused it: namespace %q is being deleted there: wait until it is gone", ns)))
		wec.finalizeNamespace(t, ns)
		c.taken(t, "cluster1", ns, "late")
	})
}

// finalizeNamespace ends the deletion of a namespace, as the namespace controller does once nothing is in it.
func (s *server) finalizeNamespace(t *testing.T, name string) {
	t.Helper()
	namespace, err := s.core.CoreV1().Namespaces().Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	namespace.Spec.Finalizers = nil
	if _, err := s.core.CoreV1().Namespaces().Finalize(t.Context(), namespace, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// strict makes a WEC's Workflow CRD look at one type, until the test ends.
func (s *server) strict(t *testing.T) {
	t.Helper()
	const at = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties"
	s.patchCRD(t, `[{"op":"add","path":"`+at+`","value":{"parallelism":{"type":"integer"}}}]`)
	t.Cleanup(func() { s.patchCRD(t, `[{"op":"remove","path":"`+at+`"}]`) })
	s.waitRefused(t, "default", map[string]any{"parallelism": "many"})
}

func (s *server) patchCRD(t *testing.T, patch string) {
	t.Helper()
	if _, err := s.dynamic.Resource(customResourceDefinitions).Patch(context.WithoutCancel(t.Context()), stellarflow.Workflows.GroupResource().String(),
		types.JSONPatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}
