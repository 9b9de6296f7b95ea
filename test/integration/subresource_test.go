package integration

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
)

var customResourceDefinitions = schema.GroupVersionResource{Group: apiextensionsv1.GroupName, Version: "v1", Resource: "customresourcedefinitions"}

// setSubresource gives the hub's Workflow CRD a status subresource, as users of peers do, or takes it away.
func (s *server) setSubresource(t *testing.T, value string) {
	t.Helper()
	s.patchCRD(t, `[{"op":"add","path":"/spec/versions/0/subresources","value":`+value+`}]`)
}

// withSubresource is a hub whose Workflow CRD has a status subresource, until the test ends.
func withSubresource(t *testing.T) *clusters {
	t.Helper()
	c := sharedClusters(t)
	c.hub.setSubresource(t, `{"status":{}}`)
	served := func() bool {
		has, err := hubcopy.HasStatusSubresource(c.hub.core.Discovery())
		return has && err == nil
	}
	t.Cleanup(func() {
		c.hub.setSubresource(t, `{}`)
		for deadline := time.Now().Add(30 * time.Second); served() && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			continue // the next manager asks once
		}
	})
	eventually(t, "the subresource to be served", func(context.Context) (bool, string) { return served(), "not yet" })
	return c
}

func TestStatusSubresourceOnTheHub(t *testing.T) {
	c := withSubresource(t)
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
