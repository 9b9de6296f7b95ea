package e2e

import (
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// testLeave takes everything apart, in the order that a person would: what still runs is refused and listed, and in the end
// nothing of ours is in anybody's way.
func testLeave(t *testing.T, f *fleet) {
	f.releaseHeld(t)
	namespace := f.newNamespace(t, "leave")
	f.prepareHubNamespace(t, namespace)
	f.create(t, namespace, suspended("ended", "cluster1", shell("echo ended")))
	f.create(t, namespace, suspended("busy", "cluster1", shell("sleep 3600")))
	f.awaitRun(t, namespace, "ended", "cluster1", 1)
	f.hub.awaitPod(t, namespace, "busy")
	for _, args := range [][]string{{"leave", "cluster1"}, {"leave", "cluster1", "--kubeconfig", f.wecs["cluster1"].kubeconfig}, {"uninstall"}} {
		out, err := f.stellarflow(t, args...)
		if err == nil {
			t.Fatalf("stellarflow %s must be refused while a Workflow runs:\n%s", strings.Join(args, " "), out)
		}
		if err := wants(err.Error(), namespace+"/busy on cluster1"); err != nil || strings.Contains(out, namespace+"/ended") {
			t.Errorf("stellarflow %s must list the unfinished Workflow and no other: %v", strings.Join(args, " "), out)
		}
	}
	f.awaitReady(t)
	f.kubectl(t, f.hub, "-n", namespace, "delete", "workflow", "busy", "--timeout=120s")
	for _, args := range [][]string{{"leave", "cluster2"}, {"leave", "cluster1", "--kubeconfig", f.wecs["cluster1"].kubeconfig}, {"uninstall"}} {
		if out, err := f.stellarflow(t, args...); err != nil {
			t.Errorf("stellarflow %s: %v", strings.Join(args, " "), err)
		} else {
			t.Logf("$ stellarflow %s\n%s", strings.Join(args, " "), out)
		}
	}
	f.checkNothingBlocks(t, namespace)
	if ailments, err := f.doctor(t); err != nil || len(ailments) != 1 || ailments[0].ID != "hub-not-installed" {
		t.Errorf("after an uninstall doctor finds %+v (%v)", ailments, err)
	}
}

// checkNothingBlocks checks that no finalizer, policy or namespace of ours is left, and that Workflows can be changed and run.
func (f *fleet) checkNothingBlocks(t *testing.T, namespace string) {
	t.Helper()
	for _, c := range f.all() {
		list, err := c.workflows.List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range list.Items {
			for _, finalizer := range item.GetFinalizers() {
				if stellarflow.IsOurs(finalizer) {
					t.Errorf("Workflow %s/%s on %s has the finalizer %s", item.GetNamespace(), item.GetName(), c.name, finalizer)
				}
			}
		}
	}
	policies, err := f.hub.core.AdmissionregistrationV1().ValidatingAdmissionPolicies().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range policies.Items {
		if strings.HasPrefix(policies.Items[i].Name, "stellarflow") {
			t.Errorf("ValidatingAdmissionPolicy %s is left", policies.Items[i].Name)
		}
	}
	for _, c := range []*cluster{f.hub, f.wecs["cluster1"]} {
		if _, err := c.core.CoreV1().Namespaces().Get(t.Context(), stellarflow.SystemNamespace, metav1.GetOptions{}); err == nil {
			t.Errorf("namespace %s of %s is left", stellarflow.SystemNamespace, c.name)
		} else if !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	}
	// What was placed is a Workflow like others now.
	relabel := []byte(fmt.Sprintf(`{"metadata":{"labels":{%q:null}}}`, stellarflow.LabelCluster))
	if _, err := f.hub.workflows.Namespace(namespace).Patch(t.Context(), "ended", types.MergePatchType, relabel, metav1.PatchOptions{}); err != nil {
		t.Errorf("change a Workflow that was placed: %v", err)
	}
	f.create(t, namespace, "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata: {name: after}\nspec:\n  entrypoint: main\n  templates:\n  "+
		strings.ReplaceAll(shell("echo after"), "\n", "\n  "))
	f.awaitLocal(t, namespace, "after", 1)
	if err := f.wecs["cluster1"].workflows.Namespace(namespace).Delete(t.Context(), "ended", metav1.DeleteOptions{}); err != nil {
		t.Errorf("delete what is left of a Workflow on its cluster: %v", err)
	}
}
