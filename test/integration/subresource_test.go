package integration

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
)

// setSubresource gives the hub's Workflow CRD a status subresource, as users of peers do, or takes it away.
func (s *server) setSubresource(t *testing.T, value string) {
	t.Helper()
	crds := s.dynamic.Resource(schema.GroupVersionResource{Group: apiextensionsv1.GroupName, Version: "v1", Resource: "customresourcedefinitions"})
	patch := `[{"op":"add","path":"/spec/versions/0/subresources","value":` + value + `}]`
	if _, err := crds.Patch(context.WithoutCancel(t.Context()), "workflows.argoproj.io", types.JSONPatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestStatusSubresourceOnTheHub(t *testing.T) {
	c := sharedClusters(t)
	c.hub.setSubresource(t, `{"status":{}}`)
	t.Cleanup(func() { c.hub.setSubresource(t, `{}`) })
	eventually(t, "the subresource to be served", func(context.Context) (bool, string) {
		has, err := hubcopy.HasStatusSubresource(c.hub.core.Discovery())
		return has && err == nil, "not yet"
	})
	_, m, ns := setUp(t, managerOptions{})
	c.submit(t, ns, "sub", "cluster1")
	wec := c.wecs["cluster1"]
	wec.waitFor(t, ns, "sub", "the WEC copy", exists)
	wec.argo(t, ns, "sub", "Running")
	c.hub.waitFor(t, ns, "sub", "phase Running", inPhase("Running"))
	last := wec.argo(t, ns, "sub", "Succeeded")
	shown := c.hub.waitFor(t, ns, "sub", "phase Succeeded, completed", func(w *unstructured.Unstructured) bool {
		return phase(w) == "Succeeded" && stellarflow.Completed(w)
	})
	if diff := cmp.Diff(last.Object["status"], shown.Object["status"]); diff != "" {
		t.Errorf("the hub shows another status (-WEC +hub):\n%s", diff)
	}
	wec.waitFor(t, ns, "sub", "harvest released", func(w *unstructured.Unstructured) bool { return !hasFinalizer(w, stellarflow.FinalizerHarvest) })
	m.stop()
	before := c.hub.get(t.Context(), ns, "sub").GetResourceVersion()
	startManager(t, c, managerOptions{})
	c.submit(t, ns, "later", "cluster1")
	c.hub.waitFor(t, ns, "later", "a placement", placedOn("cluster1"))
	if after := c.hub.get(t.Context(), ns, "sub"); after.GetResourceVersion() != before {
		raw, _ := json.Marshal(after.GetAnnotations())
		t.Errorf("it was written at the restart: %s", raw)
	}
}
