package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// testEscapes takes every way out that there is when a cluster, or the hub's knowledge of a Workflow, is lost.
func testEscapes(t *testing.T, f *fleet) {
	f.releaseHeld(t)
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
	t.Run("orphans", func(t *testing.T) { f.escapeOrphans(t, namespace, wec) })
	t.Run("abandon", func(t *testing.T) { f.escapeAbandon(t, namespace, wec) })
	t.Run("leave", func(t *testing.T) { f.escapeLeave(t, namespace, wec) })
	t.Run("uninstall", func(t *testing.T) { f.escapeUninstall(t, namespace) })
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
	f.obey(t, f.awaitAilments(t, doctorLimit, nil, sought{"orphan", namespace + "/adopted"})[0], "")
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
	f.kubectl(t, f.hub, "-n", namespace, "delete", "workflow", "given-up", "--timeout=60s")
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

// testMove asks for a move of two Workflows away from a cluster whose API server fails on every create: a copy of them was never seen
// there, and whether one was made nobody can tell from the answers. One stays, because no other cluster takes it, and runs there in the
// end. Each answer takes 90 s, until no create can arrive any more: both are waited for at once, and beside other suites.
func testMove(t *testing.T, f *fleet) {
	const target = "either"
	namespace, from, to := f.newNamespace(t, "move"), f.wecs["cluster1"], f.wecs["cluster2"]
	end := f.failCreates(t, from, namespace)
	policyOf := func(clusters ...string) string {
		for i, name := range clusters {
			clusters[i] = fmt.Sprintf(`{"matchLabels": {"name": %q}}`, name)
		}
		return policy(target, target, `"wantSingletonReportedState": true,`, strings.Join(clusters, ", "))
	}
	f.applyPolicy(t, target, policyOf(from.name))
	f.create(t, namespace, suspended("moves", target, shell("echo moved")))
	f.create(t, namespace, suspended("stays", from.name, shell("echo stayed")))
	for _, name := range []string{"moves", "stays"} {
		f.hub.await(t, namespace, name, "says that "+from.name+" keeps failing", func(workflow *wfv1.Workflow) error {
			return wants(workflow.Status.Message, "the next step for it on cluster "+from.name+" keeps failing")
		})
	}
	f.applyPolicy(t, target, policyOf(from.name, to.name))
	var refused sync.WaitGroup
	refused.Go(func() {
		out, err := f.stellarflow(t, "move", "stays", "-n", namespace, "--timeout=200s")
		if err == nil || !strings.Contains(err.Error(), "no other cluster takes it") {
			t.Errorf("there is no cluster to move to: %v %s", err, out)
		}
	})
	out, err := f.stellarflow(t, "move", "moves", "-n", namespace, "--timeout=200s")
	if err != nil || !strings.Contains(out, "moved from cluster "+from.name+" to cluster "+to.name+" (attempt 2)") {
		t.Errorf("the answer: %v %s", err, out)
	}
	refused.Wait()
	end() // from now on the first cluster takes both
	f.hub.awaitPhase(t, namespace, "moves", wfv1.WorkflowSucceeded)
	f.awaitRun(t, namespace, "stays", from.name, 1)
	if there, elsewhere := to.countPods(t, namespace, "moves"), from.countPods(t, namespace, "moves")+f.hub.countPods(t, namespace, "moves"); there != 1 || elsewhere > 0 {
		t.Errorf("%d pods on %s and %d elsewhere", there, to.name, elsewhere)
	}
	if _, err := from.get(t.Context(), namespace, "moves"); !apierrors.IsNotFound(errors.Unwrap(err)) {
		t.Errorf("a copy is on %s too: %v", from.name, err)
	}
}

// failCreates lets a cluster's API server answer 500 to each create of a Workflow in a namespace, until the returned function is called.
func (f *fleet) failCreates(t *testing.T, c *cluster, namespace string) func() {
	t.Helper()
	webhooks := c.core.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	end := func() { _ = webhooks.Delete(context.Background(), namespace, metav1.DeleteOptions{}) }
	t.Cleanup(end)
	_, err := webhooks.Create(t.Context(), &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: namespace},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name:                    "nobody.listens.example.com",
			ClientConfig:            admissionregistrationv1.WebhookClientConfig{URL: ptr.To("https://127.0.0.1:1/")},
			FailurePolicy:           ptr.To(admissionregistrationv1.Fail),
			SideEffects:             ptr.To(admissionregistrationv1.SideEffectClassNone),
			TimeoutSeconds:          ptr.To(int32(1)),
			AdmissionReviewVersions: []string{"v1"},
			NamespaceSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: namespace}},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{"argoproj.io"}, APIVersions: []string{"*"}, Resources: []string{"workflows"}},
			}},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return end
}

// escapeUninstall takes the hub away while Workflows run and one of the clusters does not answer; then it installs it again.
func (f *fleet) escapeUninstall(t *testing.T, namespace string) {
	t.Cleanup(func() { f.mend(t) })
	reached, away := f.wecs["cluster1"], f.wecs["cluster2"]
	kept := map[string]*cluster{"kept-1": reached, "kept-2": away}
	for name, wec := range kept {
		f.create(t, namespace, suspended(name, wec.name, retried("sleep 3600")))
	}
	for name := range kept {
		f.hub.awaitPod(t, namespace, name)
	}
	f.do(t, "stop", away.name)
	out := f.must(t, "uninstall", "--force")
	if err := wants(out, "these may still run on their clusters", namespace+"/kept-1 on cluster1", namespace+"/kept-2 on cluster2",
		"removed finalizer "+stellarflow.FinalizerHarvest, `warning: cluster "cluster2"`, "remove their finalizer "+stellarflow.FinalizerHarvest+" by hand"); err != nil {
		t.Error(err)
	}
	if running, err := reached.get(t.Context(), namespace, "kept-1"); err != nil || running.Status.Phase != wfv1.WorkflowRunning || len(running.Finalizers) > 0 {
		t.Errorf("it runs on and nothing holds it: %+v, %v", running, err)
	}
	f.kubectl(t, f.hub, "-n", namespace, "delete", "workflow", "kept-1", "kept-2", "--timeout=60s")
	f.do(t, "start", away.name)
	f.kubectl(t, away, "-n", namespace, "patch", "workflow", "kept-2", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`) // as was said
	for name, wec := range kept {
		f.kubectl(t, wec, "-n", namespace, "delete", "workflow", name, "--timeout=60s")
	}
	f.obey(t, f.awaitAilment(t, "hub-not-installed"), "")
	f.joinAll(t, f.bin("stellarflow"))
	f.awaitReady(t)
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
