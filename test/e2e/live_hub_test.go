package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// unseen checks that nothing of the hub takes the pods of other clusters for its own.
func (l live) unseen(t *testing.T) {
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "steps"},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{stellarflow.ArgoLabelWorkflow: "live"}, Ports: []corev1.ServicePort{{Port: 8000}}, PublishNotReadyAddresses: true},
	}
	if _, err := l.hub.core.CoreV1().Services(l.namespace).Create(t.Context(), service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, moment, "the Service has its EndpointSlice", func(ctx context.Context) error {
		slices, err := l.hub.core.DiscoveryV1().EndpointSlices(l.namespace).List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=steps"})
		if err != nil {
			return err
		}
		if len(slices.Items) == 0 {
			return errors.New("there is none")
		}
		for i := range slices.Items {
			if found := slices.Items[i].Endpoints; len(found) > 0 {
				return finalError{fmt.Errorf("the Service sends people to %v", found)}
			}
		}
		return nil
	})
	shown, err := l.hub.core.CoreV1().Pods(l.namespace).Get(t.Context(), l.pod, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range shown.ManagedFields {
		if entry.Manager != "hub" && entry.Manager != "stellarflow-hub" {
			t.Errorf("%s has written to the pod that the hub shows: %s", entry.Manager, entry.FieldsV1)
		}
	}
	if len(shown.ManagedFields) == 0 || len(shown.Finalizers) > 0 {
		t.Errorf("the pod that the hub shows has been written to by %v and has the finalizers %v", shown.ManagedFields, shown.Finalizers)
	}
}

// argoSays is what is said on the hub of pods that are gone.
func (l live) argoSays(t *testing.T) []string {
	t.Helper()
	l.checkEventsOfArgo(t, l.namespace)
	events, err := l.hub.core.CoreV1().Events(l.namespace).List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=live"})
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for i := range events.Items {
		if strings.Contains(events.Items[i].Message, "pod deleted") {
			said = append(said, events.Items[i].Message)
		}
	}
	return said
}

// scheduled rolls out what tolerates every taint: none of it comes to the Nodes that stand for other clusters.
func (l live) scheduled(t *testing.T) {
	const everywhere = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: everywhere}
spec:
  selector: {matchLabels: {app: everywhere}}
  template:
    metadata: {labels: {app: everywhere, tolerant: "yes"}}
    spec:
      tolerations: [{operator: Exists}]
      nodeSelector: {kubernetes.io/os: linux}
      terminationGracePeriodSeconds: 0
      containers: [{name: pause, image: "registry.k8s.io/pause:3.10"}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: anywhere}
spec:
  replicas: 2
  selector: {matchLabels: {app: anywhere}}
  template:
    metadata: {labels: {app: anywhere, tolerant: "yes"}}
    spec:
      tolerations: [{operator: Exists}]
      terminationGracePeriodSeconds: 0
      containers: [{name: pause, image: "registry.k8s.io/pause:3.10"}]
`
	file := filepath.Join(t.TempDir(), "everywhere.yaml")
	if err := os.WriteFile(file, []byte(everywhere), 0o600); err != nil {
		t.Fatal(err)
	}
	l.kubectl(t, l.hub, "-n", l.namespace, "apply", "-f", file)
	l.kubectl(t, l.hub, "-n", l.namespace, "rollout", "status", "daemonset/everywhere", "--timeout=120s")
	l.kubectl(t, l.hub, "-n", l.namespace, "rollout", "status", "deployment/anywhere", "--timeout=120s")
	pods, err := l.hub.core.CoreV1().Pods(l.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "tolerant"})
	if err != nil {
		t.Fatal(err)
	}
	nodes := sets.New[string]()
	for i := range pods.Items {
		nodes.Insert(pods.Items[i].Spec.NodeName)
	}
	if len(pods.Items) != 3 || len(nodes) != 1 || strings.HasPrefix(nodes.UnsortedList()[0], "stellarflow-") {
		t.Errorf("%d pods that tolerate every taint are on the Nodes %v, wanted 3 on the hub's own", len(pods.Items), sets.List(nodes))
	}
}

// deleted has a person delete a pod that the hub shows: the real one goes, and its Workflow ends as it does on a cluster of its own.
func (l live) deleted(t *testing.T) {
	l.hub.awaitPod(t, l.namespace, "doomed") // before Argo knows that a pod runs it makes another one for it
	shown := l.mirror(t, l.namespace, "doomed")
	l.kubectl(t, l.hub, "-n", l.namespace, "delete", "pod", shown.Name, "--timeout=90s")
	workflow := l.hub.await(t, l.namespace, "doomed", "ends, as its pod was deleted", func(w *wfv1.Workflow) error {
		if w.Status.Phase != wfv1.WorkflowFailed && w.Status.Phase != wfv1.WorkflowError {
			return fmt.Errorf("it is %q: %s", w.Status.Phase, w.Status.Message)
		}
		return nil
	})
	l.compareCopies(t, workflow, l.wecs["cluster1"])
	if _, err := l.wecs["cluster1"].core.CoreV1().Pods(l.namespace).Get(t.Context(), shown.Name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("cluster1 still has the pod that was deleted on the hub: %v", err)
	}
	events := l.kubectl(t, l.hub, "-n", l.namespace, "get", "events", "--field-selector=involvedObject.name=doomed")
	if err := wants(events, "PodDeletedOnCluster", shown.Name); err != nil {
		t.Errorf("events of a Workflow whose pod a person has deleted: %v", err)
	}
}

// drained evicts the pod that the hub shows, drains its Node and deletes that: the real pod runs on, and is shown again.
func (l live) drained(t *testing.T) {
	const node = "stellarflow-cluster2"
	shown := l.mirror(t, l.namespace, "drained")
	runs, err := l.wecs["cluster2"].pods(t.Context(), l.namespace, "drained")
	if err != nil || len(runs) != 1 {
		t.Fatalf("cluster2 has %d pods of it: %v", len(runs), err)
	}
	again := func(how string) {
		t.Helper()
		before := shown.UID
		eventually(t, moment, "the pod is shown again after "+how, func(ctx context.Context) error {
			found, err := l.hub.core.CoreV1().Pods(l.namespace).Get(ctx, shown.Name, metav1.GetOptions{})
			if err == nil && (found.UID == before || found.Status.Phase != corev1.PodRunning) {
				err = fmt.Errorf("pod %s is %s", found.UID, found.Status.Phase)
			}
			if err == nil {
				shown = found
			}
			return err
		})
		if of := types.UID(shown.Labels[stellarflow.LabelMirrorOf]); of != runs[0].UID {
			t.Errorf("after %s the hub shows pod %s, wanted %s", how, of, runs[0].UID)
		}
	}
	eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: l.namespace, Name: shown.Name}}
	if err := l.hub.core.PolicyV1().Evictions(l.namespace).Evict(t.Context(), eviction); err != nil {
		t.Fatal(err)
	}
	again("an eviction")
	t.Cleanup(func() {
		_, _ = l.try(context.Background(), nil, l.bin("kubectl"), "--kubeconfig", l.hub.kubeconfig, "uncordon", node)
	})
	l.kubectl(t, l.hub, "drain", node, "--ignore-daemonsets", "--force", "--timeout=90s")
	again("a drain")
	gone, err := l.hub.core.CoreV1().Nodes().Get(t.Context(), node, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	l.kubectl(t, l.hub, "delete", "node", node)
	eventually(t, moment, "Node "+node+" is made again", func(ctx context.Context) error {
		made, err := l.hub.core.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
		if err == nil && (made.UID == gone.UID || made.Spec.Unschedulable || !slices.ContainsFunc(made.Status.Conditions, isReady)) {
			err = fmt.Errorf("it is %s and not ready: %v", made.UID, made.Status.Conditions)
		}
		return err
	})
	l.openGate(t, l.wecs["cluster2"], l.namespace, "drained")
	l.awaitRun(t, l.namespace, "drained", "cluster2", 1)
	after, err := l.wecs["cluster2"].pods(t.Context(), l.namespace, "drained")
	if err != nil || len(after) != 1 || after[0].UID != runs[0].UID {
		t.Errorf("the Workflow has not ended with the pod that it began with: %d pods, %v", len(after), err)
	}
}

func isReady(condition corev1.NodeCondition) bool {
	return condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue
}
