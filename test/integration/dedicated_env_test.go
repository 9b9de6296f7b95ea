package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

var admissionPolicies = schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingadmissionpolicies"}

// guardSuspend is the policy about spec.suspend, as install renders it for a profile.
func guardSuspend(t *testing.T, c *clusters, profile stellarflow.Profile) *unstructured.Unstructured {
	t.Helper()
	var answer struct{ Objects []map[string]any }
	newCommandLine(t, c.hub).json(&answer, "install", "--dry-run", "--artifact-store=DIR/store.env", "--argo-controller="+argoController, "--profile="+string(profile))
	for _, object := range answer.Objects {
		if u := (&unstructured.Unstructured{Object: object}); u.GetKind() == "ValidatingAdmissionPolicy" && u.GetName() == "stellarflow-guard-suspend" {
			return u
		}
	}
	t.Fatal("install renders no policy about spec.suspend")
	return nil
}

// guardFor brings the policy of a profile to the hub, and waits until it counts: in a dedicated one the manager may lift a suspension.
func (c *clusters) guardFor(ctx context.Context, t *testing.T, profile stellarflow.Profile) {
	t.Helper()
	wanted := guardSuspend(t, c, profile)
	if _, err := c.hub.dynamic.Resource(admissionPolicies).Apply(ctx, wanted.GetName(), wanted, metav1.ApplyOptions{FieldManager: "test", Force: true}); err != nil {
		t.Fatal(err)
	}
	name := "probe-" + string(profile)
	created, err := workflows(c.hub.dynamic).Create(ctx, guardedWorkflow(name), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.wipe("default", name)
	manager := c.hub.as(t, hubManager)
	record, err := json.Marshal(stellarflow.Placement{UID: created.GetUID(), Cluster: "none", Attempt: 1})
	if err != nil {
		t.Fatal(err)
	}
	place := fmt.Sprintf(`{"metadata":{"labels":{"stellarflow.io/cluster":"none"},"annotations":{"stellarflow.io/placement":%q}}}`, record)
	if _, err := patchWorkflow(ctx, manager, name, place); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) { // eventually ends with the test
		_, err := workflows(manager).Patch(ctx, name, types.MergePatchType, []byte(`{"spec":{"suspend":false}}`), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
		if (err == nil) == (profile == stellarflow.ProfileDedicated) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the policy of the profile %s does not count: %v", profile, err)
		}
	}
}

// dedicate makes the hub a dedicated one until the test ends.
func dedicate(t *testing.T) *clusters {
	t.Helper()
	c := sharedClusters(t)
	c.guardFor(t.Context(), t, stellarflow.ProfileDedicated)
	t.Cleanup(func() { c.guardFor(context.Background(), t, stellarflow.ProfileShared) })
	return c
}

// setUpDedicated is a dedicated hub whose API server asks the manager's webhook.
func setUpDedicated(t *testing.T, o managerOptions) (acting, *manager) {
	t.Helper()
	dedicate(t)
	o.profile = stellarflow.ProfileDedicated
	return setUpActing(t, o)
}

// unsuspended makes of submit's Workflow one as the UI and `argo submit` make it.
func unsuspended(w *unstructured.Unstructured) {
	unstructured.RemoveNestedField(w.Object, "spec", "suspend")
}

// mirrors reports that a hub copy is suspended or not, that the manager says it is so there, and that nothing waits.
func mirrors(value bool) func(*unstructured.Unstructured) bool {
	return func(w *unstructured.Unstructured) bool {
		return w != nil && suspended(w) == value && (w.GetAnnotations()[stellarflow.AnnotationSuspended] == "true") == value && noIntents(w) &&
			w.GetAnnotations()[stellarflow.AnnotationFollows] == stellarflow.FollowsSuspend
	}
}

// patches is a person's kubectl patch.
func (a acting) patches(t *testing.T, name, patch string) error {
	t.Helper()
	_, err := a.alice.Resource(stellarflow.Workflows).Namespace(a.ns).Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	return err
}

// settled reports that nothing is left to be compared.
func settled(w *unstructured.Unstructured) bool {
	observed, mirrored := stellarflow.ParseObserved(w.GetAnnotations()[stellarflow.AnnotationObserved])
	return mirrored && observed.Generation == w.GetGeneration()
}

func refusedWith(err error, part string) bool {
	return err != nil && strings.Contains(err.Error(), part)
}
