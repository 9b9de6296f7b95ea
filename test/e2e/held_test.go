package e2e

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
)

const (
	heldName      = "held"
	heldFinalizer = "e2e.example.com/held"
	// heldLimit is how long doctor waits before a deletion is a finding (5 minutes), and doctorLimit.
	heldLimit = 5*time.Minute + doctorLimit
)

// holdDeletion deletes a Workflow whose copy on cluster2 is kept by a finalizer of somebody else, unless one waits so already. It is begun
// by an early suite, because doctor calls it a finding only after minutes; giveUpHeld ends it.
func (f *fleet) holdDeletion(t *testing.T) {
	t.Helper()
	if f.held != "" {
		return
	}
	namespace, wec := "t-held-"+rand.String(4), f.wecs["cluster2"]
	if _, err := f.hub.core.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.create(t, namespace, suspended(heldName, wec.name, "- name: main\n  suspend: {}"))
	wec.await(t, namespace, heldName, "exists", func(*wfv1.Workflow) error { return nil })
	f.held = namespace
	f.kubectl(t, wec, "-n", namespace, "patch", "workflow", heldName, "--type=json", "-p", `[{"op":"add","path":"/metadata/finalizers/-","value":"`+heldFinalizer+`"}]`)
	f.kubectl(t, f.hub, "-n", namespace, "delete", "workflow", heldName, "--wait=false")
}

// isHeld reports whether a finding is about the deletion that waits, and about nothing else: for some minutes its status says why it does.
func (f *fleet) isHeld(a ailment) bool {
	key := f.held + "/" + heldName
	return f.held != "" && (a.ID == "workflow-not-deleted" && a.Which == "Workflow "+key ||
		a.ID == "workflows-not-synced" && strings.HasPrefix(a.Which, "1 Workflows ") && strings.Contains(a.What, "of "+key+" it says: "))
}

// giveUpHeld waits until doctor finds the deletion that waits. What doctor prints frees the hub of it; its copy goes when nobody keeps it
// any more.
func (f *fleet) giveUpHeld(t *testing.T) {
	t.Helper()
	found := f.awaitAilments(t, heldLimit, nil, sought{id: "workflow-not-deleted"})[0]
	if found.Which != "Workflow "+f.held+"/"+heldName || !strings.Contains(found.What, "waits for cluster cluster2 since ") {
		t.Errorf("the finding: %+v", found)
	}
	f.obey(t, found, "")
	if _, err := f.hub.get(t.Context(), f.held, heldName); !apierrors.IsNotFound(errors.Unwrap(err)) {
		t.Errorf("the hub is not free of it: %v", err)
	}
	if _, err := f.wecs["cluster2"].get(t.Context(), f.held, heldName); err != nil {
		t.Errorf("somebody keeps it on its cluster: %v", err)
	}
	f.awaitCured(t, "workflow-not-deleted")
	f.releaseHeld(t)
}

// releaseHeld lets the copy that is kept go, if there is one. Suites that leave clusters begin with it: another suite that was to end it
// may not have run.
func (f *fleet) releaseHeld(t *testing.T) {
	t.Helper()
	if f.held == "" {
		return
	}
	namespace, wec := f.held, f.wecs["cluster2"]
	eventually(t, moment, "take the finalizer away", func(ctx context.Context) error {
		wecCopy, err := wec.workflows.Namespace(namespace).Get(ctx, heldName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		wecCopy.SetFinalizers(slices.DeleteFunc(wecCopy.GetFinalizers(), func(name string) bool { return name == heldFinalizer }))
		_, err = wec.workflows.Namespace(namespace).Update(ctx, wecCopy, metav1.UpdateOptions{})
		return err
	})
	f.held = ""
	f.awaitBuried(t, namespace, heldName, wec)
	f.endNamespace(t, namespace)
}
