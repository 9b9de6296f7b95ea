package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

const (
	transformsCRD = "customtransforms.control.kubestellar.io"
	othersCRD     = "others.control.kubestellar.io"
)

var crdResource = apiextensionsv1.SchemeGroupVersion.WithResource("customresourcedefinitions")

// testDefinitions takes CRDs away, when no Workflow is needed any more: those of Argo on a cluster and on the hub, one of ours that loses
// its name to another, and at the end all of ours.
func testDefinitions(t *testing.T, f *fleet) {
	f.putTogether(t)
	f.awaitReady(t)
	for _, c := range f.all() { // with their CRD they would go anyhow, past everything that is to be done before
		f.kubectl(t, c, "delete", "workflows", "--all", "-A", "--timeout=120s")
	}
	f.awaitHealth(t)
	wec := f.wecs["cluster1"]
	f.loseName(t, wec)
	argo := stellarflow.Workflows.GroupResource().String()
	for _, gone := range []struct {
		id string
		on *cluster
	}{{"cluster-argo-missing", wec}, {"hub-argo-missing", f.hub}} {
		f.deleteCRD(t, gone.on, argo)
		f.obey(t, f.awaitAilment(t, gone.id), gone.on.kubeconfig)
		f.awaitReady(t)
		f.awaitHealth(t)
	}
	for _, name := range wecNames {
		f.must(t, "leave", name, "--kubeconfig", f.wecs[name].kubeconfig)
	}
	f.must(t, "uninstall", "--crds")
	f.checkNoDefinitions(t)
}

// putTogether installs and joins unless that is done.
func (f *fleet) putTogether(t *testing.T) {
	t.Helper()
	f.releaseHeld(t)
	_, err := f.hub.core.CoreV1().Namespaces().Get(t.Context(), stellarflow.SystemNamespace, metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		return
	}
	f.obey(t, f.awaitAilment(t, "hub-not-installed"), "")
	f.joinAll(t, f.bin("stellarflow"))
}

// loseName lets another CRD take the name of CustomTransforms, and gives it back: doctor's command waits until ours has it.
func (f *fleet) loseName(t *testing.T, wec *cluster) {
	t.Helper()
	ours, err := f.hub.dynamic.Resource(crdResource).Get(t.Context(), transformsCRD, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f.deleteCRD(t, f.hub, transformsCRD)
	ours.SetResourceVersion("")
	ours.SetUID("")
	delete(ours.Object, "status")
	theirs := ours.DeepCopy()
	theirs.SetName(othersCRD)
	if err := unstructured.SetNestedField(theirs.Object, "others", "spec", "names", "plural"); err != nil {
		t.Fatal(err)
	}
	f.createCRD(t, theirs)
	f.createCRD(t, ours)
	unserved := f.awaitAilments(t, doctorLimit, nil, sought{"hub-crd-not-served", transformsCRD})[0]
	f.deleteCRD(t, f.hub, othersCRD)
	f.obey(t, unserved, wec.kubeconfig)
	f.awaitHealth(t)
}

// createCRD creates a CRD on the hub and waits until the API server has judged its names.
func (f *fleet) createCRD(t *testing.T, crd *unstructured.Unstructured) {
	t.Helper()
	crds := f.hub.dynamic.Resource(crdResource)
	if _, err := crds.Create(t.Context(), crd, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, moment, "the names of CRD "+crd.GetName()+" are judged", func(ctx context.Context) error {
		now, err := crds.Get(ctx, crd.GetName(), metav1.GetOptions{})
		if err != nil {
			return err
		}
		if conditions, _, _ := unstructured.NestedSlice(now.Object, "status", "conditions"); len(conditions) == 0 {
			return errors.New("it has no condition")
		}
		return nil
	})
}

// deleteCRD deletes a CRD and waits until it is gone.
func (f *fleet) deleteCRD(t *testing.T, c *cluster, name string) {
	t.Helper()
	f.kubectl(t, c, "delete", "crd", name, "--timeout=60s")
}

// checkNoDefinitions checks that no CRD of ours is left on the hub, nor what was of their kinds, and that Argo's are there.
func (f *fleet) checkNoDefinitions(t *testing.T) {
	t.Helper()
	eventually(t, moment, "our CRDs are gone", func(ctx context.Context) error {
		list, err := f.hub.dynamic.Resource(crdResource).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		argo := 0
		for _, crd := range list.Items {
			switch group, _, _ := unstructured.NestedString(crd.Object, "spec", "group"); group {
			case "control.kubestellar.io", "cluster.open-cluster-management.io":
				return fmt.Errorf("CRD %s is left", crd.GetName())
			case stellarflow.Workflows.Group:
				argo++
			}
		}
		if argo < 8 {
			return finalError{fmt.Errorf("%d CRDs of Argo are left", argo)}
		}
		return nil
	})
	if ailments, err := f.doctor(t); err != nil || len(ailments) != 1 || ailments[0].ID != "hub-not-installed" {
		t.Errorf("after an uninstall doctor finds %+v (%v)", ailments, err)
	}
}
