package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// testEscapes takes every way out that there is when a cluster, or the hub's knowledge of a Workflow, is lost.
func testEscapes(t *testing.T, f *fleet) {
	namespace := f.newNamespace(t, "escapes")
	f.prepareHubNamespace(t, namespace)
	wec := f.wecs["cluster1"]
	for _, name := range []string{"adopted", "unwanted", "given-up", "left"} {
		f.create(t, namespace, suspended(name, wec.name, retried("sleep 3600")))
	}
	for _, name := range []string{"adopted", "unwanted", "given-up", "left"} {
		f.hub.awaitPod(t, namespace, name)
	}
	out, err := f.stellarflow(t, "move", "adopted", "-n", namespace)
	if err == nil || !strings.Contains(err.Error(), "does not move it") {
		t.Errorf("a Workflow that runs must not be moved: %v %s", err, out)
	}
	f.escapeOrphans(t, namespace, wec)
	f.escapeAbandon(t, namespace, wec)
	f.escapeLeave(t, namespace, wec)
	f.awaitHealth(t)
}

// must runs our CLI; it must succeed.
func (f *fleet) must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := f.stellarflow(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("$ stellarflow %s\n%s", strings.Join(args, " "), out)
	return out
}

// escapeOrphans removes two hub copies by force. One orphan is adopted, the other deleted.
func (f *fleet) escapeOrphans(t *testing.T, namespace string, wec *cluster) {
	before, err := wec.get(t.Context(), namespace, "adopted")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"adopted", "unwanted"} {
		f.kubectl(t, f.hub, "-n", namespace, "patch", "workflow", name, "--as=system:serviceaccount:stellarflow-system:stellarflow-hub", "--as-group=system:masters",
			"--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
		f.kubectl(t, f.hub, "-n", namespace, "delete", "workflow", name, "--wait=false")
	}
	eventually(t, patience, "the orphans are listed", func(context.Context) error {
		out, err := f.stellarflow(t, "orphans", "list", "-o", "json")
		if err != nil {
			return err
		}
		var list struct {
			Orphans []struct{ Cluster, Namespace, Name string }
		}
		if err := json.Unmarshal([]byte(out), &list); err != nil {
			return err
		}
		if len(list.Orphans) != 2 || list.Orphans[0].Name != "adopted" || list.Orphans[0].Cluster != wec.name {
			return fmt.Errorf("wanted the two of %s: %s", namespace, out)
		}
		return nil
	})
	f.must(t, "orphans", "adopt", wec.name, namespace+"/adopted")
	f.hub.awaitPod(t, namespace, "adopted")
	after, err := wec.get(t.Context(), namespace, "adopted")
	if err != nil || after.UID != before.UID {
		t.Errorf("the adopted copy is another: %v", err)
	}
	f.must(t, "orphans", "delete", wec.name, namespace+"/unwanted")
	if _, err := wec.get(t.Context(), namespace, "unwanted"); !apierrors.IsNotFound(errors.Unwrap(err)) {
		t.Errorf("the deleted orphan is still there: %v", err)
	}
	f.kubectl(t, f.hub, "-n", namespace, "delete", "workflow", "adopted", "--timeout=120s")
}

// escapeAbandon gives a Workflow up while its cluster is away. The hub is free of it at once; the copy goes when the cluster is back.
func (f *fleet) escapeAbandon(t *testing.T, namespace string, wec *cluster) {
	t.Cleanup(func() { f.mend(t) })
	f.do(t, "stop", wec.name)
	f.must(t, "abandon", "given-up", "-n", namespace, "--yes")
	workflow := f.hub.awaitPhase(t, namespace, "given-up", wfv1.WorkflowError)
	if !strings.Contains(workflow.Status.Message, "it may still run on cluster "+wec.name) {
		t.Errorf("what may still happen is not said: %s", workflow.Status.Message)
	}
	f.kubectl(t, f.hub, "-n", namespace, "delete", "workflow", "given-up", "--timeout=20s")
	f.do(t, "start", wec.name)
	f.awaitReady(t)
	f.awaitBuried(t, namespace, "given-up", wec)
}

// escapeLeave takes a cluster out with a Workflow on it, and joins it again.
func (f *fleet) escapeLeave(t *testing.T, namespace string, wec *cluster) {
	f.hub.awaitPod(t, namespace, "left")
	f.must(t, "leave", wec.name, "--force")
	f.hub.awaitPhase(t, namespace, "left", wfv1.WorkflowError)
	f.must(t, "join", wec.name, "--kubeconfig", wec.kubeconfig, "--namespaces", "argo")
	f.awaitReady(t)
	f.awaitBuried(t, namespace, "left", wec)
}

// awaitBuried waits until the copy of a given-up Workflow and its tombstone are gone.
func (f *fleet) awaitBuried(t *testing.T, namespace, name string, wec *cluster) {
	t.Helper()
	eventually(t, patience, "the copy of "+name+" is removed from "+wec.name, func(ctx context.Context) error {
		if _, err := wec.get(ctx, namespace, name); !apierrors.IsNotFound(errors.Unwrap(err)) {
			return fmt.Errorf("it is there: %w", err)
		}
		left, err := f.hub.core.CoreV1().ConfigMaps(stellarflow.SystemNamespace).List(ctx, metav1.ListOptions{LabelSelector: stellarflow.LabelTombstone})
		if err == nil && len(left.Items) > 0 {
			err = fmt.Errorf("%d tombstones are left", len(left.Items))
		}
		return err
	})
}
