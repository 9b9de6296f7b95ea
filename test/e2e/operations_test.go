package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

const (
	managerSelector         = "app.kubernetes.io/name=stellarflow-hub"
	managerLease            = "stellarflow-hub"
	metricsPort, healthPort = "8080", "8081"
	gateFile                = "/tmp/go"
)

// gated is a template whose pod runs until a test opens the gate.
func gated(text string) string {
	return shell(fmt.Sprintf("until [ -e %s ]; do sleep 1; done; echo %s", gateFile, text))
}

// openGate lets the pod of a gated Workflow end.
func (f *fleet) openGate(t *testing.T, c *cluster, namespace, workflow string) {
	t.Helper()
	eventually(t, moment, "open the gate of "+workflow, func(ctx context.Context) error {
		pods, err := c.pods(ctx, namespace, workflow)
		if err != nil {
			return err
		}
		if len(pods) != 1 {
			return fmt.Errorf("%d pods", len(pods))
		}
		_, err = f.tryKubectl(t, c, "-n", namespace, "exec", pods[0].Name, "-c", "main", "--", "touch", gateFile)
		return err
	})
}

// managers are the pods of the hub manager that are ready, the leader first.
func (f *fleet) managers(ctx context.Context) ([]corev1.Pod, error) {
	lease, err := f.hub.core.CoordinationV1().Leases(stellarflow.SystemNamespace).Get(ctx, managerLease, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	if lease.Spec.HolderIdentity == nil {
		return nil, errors.New("nobody leads")
	}
	list, err := f.hub.core.CoreV1().Pods(stellarflow.SystemNamespace).List(ctx, metav1.ListOptions{LabelSelector: managerSelector})
	if err != nil {
		return nil, err
	}
	var leader, others []corev1.Pod
	for _, pod := range list.Items {
		switch {
		case pod.DeletionTimestamp != nil || !podReady(&pod):
		case strings.HasPrefix(*lease.Spec.HolderIdentity, pod.Name+"_"):
			leader = append(leader, pod)
		default:
			others = append(others, pod)
		}
	}
	if len(leader) == 0 {
		return nil, fmt.Errorf("%s leads and is none of the pods that are ready", *lease.Spec.HolderIdentity)
	}
	return append(leader, others...), nil
}

func podReady(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// awaitManagers waits until both replicas are ready and one of them leads.
func (f *fleet) awaitManagers(t *testing.T) []corev1.Pod {
	t.Helper()
	var found []corev1.Pod
	eventually(t, patience, "two replicas of the hub manager", func(ctx context.Context) error {
		var err error
		if found, err = f.managers(ctx); err == nil && len(found) != 2 {
			err = fmt.Errorf("%d are ready", len(found))
		}
		return err
	})
	return found
}

// asks sends a request to a port of a pod, through the API server.
func (f *fleet) asks(ctx context.Context, pod, port, path string) (string, error) {
	raw, err := f.hub.core.CoreV1().Pods(stellarflow.SystemNamespace).ProxyGet("http", pod, port, path, nil).DoRaw(ctx)
	return string(raw), err
}

// testOperations takes the leader away in two ways while Workflows run, and looks at what an operator looks at.
func testOperations(t *testing.T, f *fleet) {
	namespace := f.newNamespace(t, "operations")
	pods := f.awaitManagers(t)
	f.holdDeletion(t) // for testDoctor
	for _, target := range wecNames {
		f.create(t, namespace, suspended("gated-"+target, target, gated("through")))
	}
	for _, target := range wecNames {
		f.hub.awaitPod(t, namespace, "gated-"+target)
	}
	f.checkProbesAndMetrics(t, pods)
	f.checkVersion(t)

	f.endLeader(t, pods[0].Name)
	for _, target := range wecNames {
		f.create(t, namespace, suspended("after-"+target, target, shell("echo after")))
	}
	for _, target := range wecNames {
		f.awaitRun(t, namespace, "after-"+target, target, 1)
	}
	f.evictBoth(t, f.awaitManagers(t))
	f.awaitManagers(t)
	for _, target := range wecNames {
		f.openGate(t, f.wecs[target], namespace, "gated-"+target)
	}
	for _, target := range wecNames {
		f.awaitRun(t, namespace, "gated-"+target, target, 1)
	}
	workflow, err := f.hub.get(t.Context(), namespace, "gated-cluster1")
	if err != nil {
		t.Fatal(err)
	}
	if record, ok := stellarflow.PlacementOf(workflow); !ok || record.Attempt != 1 {
		t.Errorf("the record is %+v after two changes of the leader", record)
	}
}

// checkVersion checks what our CLI says of itself.
func (f *fleet) checkVersion(t *testing.T) {
	t.Helper()
	var version struct{ Version, Commit, Go, Platform string }
	if err := json.Unmarshal([]byte(f.must(t, "version", "-o", "json")), &version); err != nil {
		t.Fatal(err)
	}
	if version.Version == "" || version.Go != runtime.Version() || version.Platform != runtime.GOOS+"/"+runtime.GOARCH {
		t.Errorf("stellarflow version: %+v", version)
	}
	if text := f.must(t, "version"); !strings.HasPrefix(text, "stellarflow "+version.Version+" ") {
		t.Errorf("stellarflow version writes %q, and %q as JSON", text, version.Version)
	}
}

// checkProbesAndMetrics checks that both replicas are well and ready, and that the leader tells of the clusters and the standby of
// none.
func (f *fleet) checkProbesAndMetrics(t *testing.T, pods []corev1.Pod) {
	t.Helper()
	for i, pod := range pods {
		for _, path := range []string{"healthz", "readyz"} {
			if said, err := f.asks(t.Context(), pod.Name, healthPort, path); err != nil || said != "ok" {
				t.Errorf("/%s of %s answers %q: %v", path, pod.Name, said, err)
			}
		}
		said, err := f.asks(t.Context(), pod.Name, metricsPort, "metrics")
		if err != nil {
			t.Errorf("/metrics of %s: %v", pod.Name, err)
			continue
		}
		leads := i == 0
		for _, target := range wecNames {
			for _, series := range []string{
				fmt.Sprintf("stellarflow_cluster_connected{cluster=%q,reason=\"Ready\"} 1", target),
				fmt.Sprintf("stellarflow_workflows_unfinished{cluster=%q} ", target),
				fmt.Sprintf("stellarflow_upsync_latency_seconds_count{cluster=%q} ", target),
			} {
				if strings.Contains(said, series) != leads {
					t.Errorf("%s (leader: %v) shows %s: %v", pod.Name, leads, series, !leads)
				}
			}
		}
		if !strings.Contains(said, "leader_election_master_status") {
			t.Errorf("%s does not show who leads", pod.Name)
		}
	}
}

// endLeader deletes the leader's pod, as a rollout does, and checks that it ends well and that the other one leads at once.
func (f *fleet) endLeader(t *testing.T, name string) {
	t.Helper()
	pods := f.hub.core.CoreV1().Pods(stellarflow.SystemNamespace)
	events, err := pods.Watch(t.Context(), metav1.SingleObject(metav1.ObjectMeta{Name: name}))
	if err != nil {
		t.Fatal(err)
	}
	defer events.Stop()
	if err := pods.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	var last *corev1.ContainerStateTerminated
	ctx, cancel := context.WithTimeout(t.Context(), moment)
	defer cancel()
	for open := true; open; {
		select {
		case event, more := <-events.ResultChan():
			if pod, ok := event.Object.(*corev1.Pod); ok && len(pod.Status.ContainerStatuses) == 1 && pod.Status.ContainerStatuses[0].State.Terminated != nil {
				last = pod.Status.ContainerStatuses[0].State.Terminated
			}
			open = more && event.Type != watch.Deleted
		case <-ctx.Done():
			t.Fatalf("pod %s is still there %s after its deletion", name, moment)
		}
	}
	if last == nil || last.ExitCode != 0 {
		t.Errorf("the leader that was told to end ended with %+v, wanted exit code 0", last)
	}
	eventually(t, moment, "another leader", func(ctx context.Context) error {
		found, err := f.managers(ctx)
		if err == nil && found[0].Name == name {
			err = errors.New("the deleted pod leads")
		}
		return err
	})
}

// evictBoth asks for the eviction of both replicas, as a drain does: the budget lets one go.
func (f *fleet) evictBoth(t *testing.T, pods []corev1.Pod) {
	t.Helper()
	evict := func(name string) error {
		return f.hub.core.PolicyV1().Evictions(stellarflow.SystemNamespace).Evict(t.Context(), &policyv1.Eviction{
			ObjectMeta: metav1.ObjectMeta{Namespace: stellarflow.SystemNamespace, Name: name},
		})
	}
	eventually(t, moment, "evict the leader", func(context.Context) error { return evict(pods[0].Name) }) // the budget's status lags
	err := evict(pods[1].Name)
	if status := apierrors.APIStatus(nil); !errors.As(err, &status) || status.Status().Code != http.StatusTooManyRequests {
		t.Errorf("the eviction of the last replica must be refused: %v", err)
	}
	if _, err := f.hub.core.CoreV1().Pods(stellarflow.SystemNamespace).Get(t.Context(), pods[1].Name, metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}
