package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// endless runs until its pod is deleted, and ends at once then.
const endless = "trap 'exit 1' TERM; sleep 3600 & wait"

// foreground deletes a Workflow after all that it owns, as `kubectl delete --cascade=foreground` does, while its pod runs on cluster1.
func (l live) foreground(t *testing.T) {
	namespace, wec := l.newNamespace(t, "foreground"), l.wecs["cluster1"]
	l.create(t, namespace, suspended("foreground", wec.name, shell(endless)))
	shown := l.mirror(t, namespace, "foreground")
	ended := wec.awaitEnd(t, namespace, "foreground")
	l.kubectl(t, l.hub, "-n", namespace, "delete", "workflow", "foreground", "--cascade=foreground", "--timeout=120s")
	ended(t)
	l.wantGone(t, wec, shown)
	if said := l.kubectl(t, l.hub, "-n", namespace, "get", "events"); wants(said, "PodDeletedOnCluster") == nil {
		t.Errorf("garbage collection has deleted a pod on a cluster by what shows it on the hub: %s", said)
	}
}

// namespaced deletes a namespace of the hub in which a Workflow is whose pod runs on cluster2. What shows that pod goes first
// (k8s.io/kubernetes pkg/controller/namespace/deletion, OrderedNamespaceDeletion).
func (l live) namespaced(t *testing.T) {
	namespace, wec := l.newNamespace(t, "namespaced"), l.wecs["cluster2"]
	l.create(t, namespace, suspended("namespaced", wec.name, shell(endless)))
	shown := l.mirror(t, namespace, "namespaced")
	ended := wec.awaitEnd(t, namespace, "namespaced")
	l.kubectl(t, l.hub, "delete", "namespace", namespace, "--timeout=150s")
	ended(t)
	l.wantGone(t, wec, shown)
}

// awaitEnd looks on as the one pod of a Workflow on a cluster is deleted. What it returns waits for that, and checks that the Workflow there was
// deleted before.
func (c *cluster) awaitEnd(t *testing.T, namespace, workflow string) func(*testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	pods, err := c.pods(ctx, namespace, workflow)
	if err != nil || len(pods) != 1 {
		t.Fatalf("%s has %d pods of Workflow %s: %v", c.name, len(pods), workflow, err)
	}
	changes, err := c.core.CoreV1().Pods(namespace).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + pods[0].Name, ResourceVersion: pods[0].ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	found := make(chan error, 1)
	go func() {
		defer changes.Stop()
		for change := range changes.ResultChan() {
			pod, ok := change.Object.(*corev1.Pod)
			if !ok || pod.DeletionTimestamp == nil && change.Type != watch.Deleted {
				continue
			}
			owner, err := c.get(ctx, namespace, workflow)
			if err == nil && owner.DeletionTimestamp == nil {
				err = fmt.Errorf("it is deleted while Workflow %s there is not, which is %q", workflow, owner.Status.Phase)
			}
			found <- client.IgnoreNotFound(err)
			return
		}
		found <- fmt.Errorf("the watch has ended before: %w", context.Cause(ctx))
	}()
	return func(t *testing.T) {
		t.Helper()
		if err := <-found; err != nil {
			t.Errorf("pod %s on %s: %v", pods[0].Name, c.name, err)
		}
	}
}

// wantGone checks that nothing is left of a Workflow that was deleted, and that its pod was not deleted by what had shown it on the hub.
func (l live) wantGone(t *testing.T, wec *cluster, shown *corev1.Pod) {
	t.Helper()
	for _, c := range []*cluster{l.hub, wec} {
		eventually(t, moment, "no pod and no Workflow is left on "+c.name, func(ctx context.Context) error {
			pods, err := c.core.CoreV1().Pods(shown.Namespace).List(ctx, metav1.ListOptions{})
			if err != nil {
				return err
			}
			workflows, err := c.workflows.Namespace(shown.Namespace).List(ctx, metav1.ListOptions{})
			if err == nil && len(pods.Items)+len(workflows.Items) > 0 {
				err = fmt.Errorf("there are %d pods and %d Workflows", len(pods.Items), len(workflows.Items))
			}
			return err
		})
	}
	for line := range strings.Lines(l.kubectl(t, l.hub, "-n", stellarflow.SystemNamespace, "logs", "-l", managerSelector, "--prefix", "--tail=-1")) {
		if wants(line, "deleted a pod as its mirror was", shown.Namespace) == nil {
			t.Errorf("the hub manager says: %s", line)
		}
	}
}
