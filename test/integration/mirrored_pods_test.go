package integration

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	clusterv1 "open-cluster-management.io/api/cluster/v1"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/podmirror"
	"stellarflow.io/stellarflow/pkg/hub/upsync"
)

// mirroring is a hub that mirrors pods, and a Workflow whose pods the test makes on cluster1, where it runs.
type mirroring struct {
	*clusters
	wec          *server
	ns, workflow string
	owner        metav1.OwnerReference
}

// mirrorPods starts a manager that mirrors pods, with its webhook, and places a Workflow on cluster1.
func mirrorPods(t *testing.T) (mirroring, *manager) {
	t.Helper()
	c := sharedClusters(t)
	options := managerOptions{kubelet: freeAddress(t), webhook: c.serveWebhook(t)}
	c, m, ns := setUp(t, options)
	placed := mirroring{clusters: c, ns: ns}.run(t, "hello")
	c.trusted(t, ns, "hello")
	return placed, m
}

// run places a Workflow on cluster1 and waits until its copy is recorded.
func (m mirroring) run(t *testing.T, name string) mirroring {
	t.Helper()
	return m.runOn(t, "cluster1", name)
}

// runOn is run on any cluster.
func (m mirroring) runOn(t *testing.T, cluster, name string) mirroring {
	t.Helper()
	m.submit(t, m.ns, name, cluster)
	return m.runs(t, cluster, name)
}

// runs is run on any cluster, of a Workflow that is submitted.
func (m mirroring) runs(t *testing.T, cluster, name string) mirroring {
	t.Helper()
	m.workflow, m.wec = name, m.wecs[cluster]
	m.wec.waitFor(t, m.ns, name, "the WEC copy", exists)
	wecCopy := m.wec.argo(t, m.ns, name, "Running")
	m.hub.waitFor(t, m.ns, name, "Running", inPhase("Running"))
	m.owner = metav1.OwnerReference{APIVersion: "argoproj.io/v1alpha1", Kind: "Workflow", Name: name, UID: wecCopy.GetUID(), Controller: ptr.To(true)}
	return m
}

// begin makes a pod on the cluster as Argo does, and lets it run as a kubelet does.
func (m mirroring) begin(t *testing.T, name string, change ...func(*corev1.Pod)) *corev1.Pod {
	t.Helper()
	pods := m.wec.core.CoreV1().Pods(m.ns)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: map[string]string{stellarflow.ArgoLabelWorkflow: m.workflow, stellarflow.ArgoLabelCompleted: "false"}, OwnerReferences: []metav1.OwnerReference{m.owner},
		},
		Spec: corev1.PodSpec{NodeName: "worker", RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{
			{Name: "wait", Image: "argoexec", Env: []corev1.EnvVar{{Name: "ARGO_TEMPLATE", Value: `{"archiveLocation":{"archiveLogs":true}}`}}}, {Name: "main", Image: "busybox"},
		}},
	}
	for _, f := range change {
		f(pod)
	}
	pod, err := pods.Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.end(name) })
	return m.report(t, name, corev1.PodRunning, corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: pod.CreationTimestamp}})
}

// report writes a pod's status on the cluster, as its kubelet does.
func (m mirroring) report(t *testing.T, name string, phase corev1.PodPhase, state corev1.ContainerState) *corev1.Pod {
	t.Helper()
	pods := m.wec.core.CoreV1().Pods(m.ns)
	pod, err := pods.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pod.Status.Phase, pod.Status.PodIP, pod.Status.PodIPs = phase, "10.1.2.3", []corev1.PodIP{{IP: "10.1.2.3"}}
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "wait", State: state, Ready: true}, {Name: "main", State: state, Ready: true}}
	if pod, err = pods.UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	return pod
}

// end removes a pod from the cluster, as its kubelet does in the end.
func (m mirroring) end(name string) {
	_ = m.wec.core.CoreV1().Pods(m.ns).Delete(context.Background(), name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)})
}

// waitMirror waits until the Pod on the hub is as wanted; it is nil while there is none.
func (m mirroring) waitMirror(t *testing.T, name, what string, ok func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	var last *corev1.Pod
	eventually(t, what, func(ctx context.Context) (bool, string) {
		pod, err := m.hub.core.CoreV1().Pods(m.ns).Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			last = nil
		case err != nil:
			return false, err.Error()
		default:
			last = pod
		}
		return ok(last), fmt.Sprintf("%+v", last)
	})
	return last
}

func (m mirroring) real(t *testing.T, name string) *corev1.Pod {
	t.Helper()
	pod, err := m.wec.core.CoreV1().Pods(m.ns).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

// coreAs is an administrator's client that acts as another user.
func (s *server) coreAs(t *testing.T, user string) kubernetes.Interface {
	t.Helper()
	config := rest.CopyConfig(s.config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:masters", "system:authenticated"}}
	core, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return core
}

func shows(phase corev1.PodPhase) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool { return p != nil && p.DeletionTimestamp == nil && p.Status.Phase == phase }
}

func noPod(p *corev1.Pod) bool { return p == nil }

// another waits for a mirror that was made again.
func another(before *corev1.Pod) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool { return p != nil && p.UID != before.UID && shows(before.Status.Phase)(p) }
}

func terminated(code int32) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, FinishedAt: metav1.Now()}}
}

func TestMirroredPods(t *testing.T) {
	m, _ := mirrorPods(t)
	t.Run("a pod is shown as it is", func(t *testing.T) {
		there := m.begin(t, "hello-a-1234567890")
		mirror := m.waitMirror(t, "hello-a-1234567890", "the mirror", shows(corev1.PodRunning))
		if mirror.Labels[stellarflow.LabelMirrorOf] != string(there.UID) || mirror.Spec.NodeName != podmirror.NodeName("cluster1") || len(mirror.Labels) != 3 {
			t.Errorf("labels %v on node %s", mirror.Labels, mirror.Spec.NodeName)
		}
		if mirror.Status.PodIP != "" || len(mirror.Status.Conditions) > 0 || len(mirror.Status.ContainerStatuses) != 2 || mirror.Status.ContainerStatuses[1].State.Running == nil {
			t.Errorf("status %+v", mirror.Status)
		}
		taken := []byte(`{"metadata":{"annotations":null}}`)
		if _, err := m.hub.core.CoreV1().Pods(m.ns).Patch(t.Context(), "hello-a-1234567890", types.MergePatchType, taken, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		m.waitMirror(t, "hello-a-1234567890", "its annotations, which somebody took", func(p *corev1.Pod) bool {
			return shows(corev1.PodRunning)(p) && maps.Equal(p.Annotations, mirror.Annotations)
		})
		m.report(t, "hello-a-1234567890", corev1.PodFailed, terminated(64))
		m.waitMirror(t, "hello-a-1234567890", "its failure", func(p *corev1.Pod) bool {
			return shows(corev1.PodFailed)(p) && p.Status.ContainerStatuses[1].State.Terminated.ExitCode == 64
		})
		m.end("hello-a-1234567890")
		m.waitMirror(t, "hello-a-1234567890", "its end", noPod)
	})
	t.Run("the node takes nothing, lives and is ready", func(t *testing.T) {
		var node *corev1.Node
		eventually(t, "a ready node", func(ctx context.Context) (bool, string) {
			var err error
			node, err = m.hub.core.CoreV1().Nodes().Get(ctx, "stellarflow-cluster1", metav1.GetOptions{})
			return err == nil && len(node.Status.Conditions) > 0 && node.Status.Conditions[0].Status == corev1.ConditionTrue, fmt.Sprint(err)
		})
		if !node.Status.Allocatable.Pods().IsZero() || len(node.Spec.Taints) < 2 || node.Status.DaemonEndpoints.KubeletEndpoint.Port == 0 || node.Status.Addresses[0].Address != "127.0.0.1" {
			t.Errorf("%+v", node)
		}
		if _, err := m.hub.core.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(t.Context(), "stellarflow-cluster1", metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
	})
	t.Run("an archived log is on the hub: the pod goes after a while", func(t *testing.T) {
		m.begin(t, "hello-b-1234567890")
		m.waitMirror(t, "hello-b-1234567890", "the mirror", shows(corev1.PodRunning))
		m.report(t, "hello-b-1234567890", corev1.PodSucceeded, corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{FinishedAt: metav1.NewTime(metav1.Now().Add(-podmirror.Lingers))}})
		m.waitMirror(t, "hello-b-1234567890", "its end", noPod)
	})
	t.Run("what another controls is not shown", func(t *testing.T) {
		m.begin(t, "hello-other-1234567890", func(p *corev1.Pod) { p.OwnerReferences[0].UID = "another" })
		m.begin(t, "hello-nobody-1234567890", func(p *corev1.Pod) { p.OwnerReferences = nil })
		m.begin(t, "db-0")
		m.begin(t, "hello-last-1234567890")
		m.waitMirror(t, "hello-last-1234567890", "the mirror of one that came later", shows(corev1.PodRunning))
		for _, name := range []string{"hello-other-1234567890", "hello-nobody-1234567890", "db-0"} {
			m.waitMirror(t, name, "no mirror", noPod)
		}
	})
	t.Run("a name that is taken is said, and waited for", func(t *testing.T) {
		local := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: m.ns, Name: "hello-taken-1234567890", Labels: map[string]string{stellarflow.LabelMirrorOf: "x", stellarflow.LabelCluster: "cluster1"}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "busybox"}}},
		}
		m.create(t, local)
		m.begin(t, "hello-taken-1234567890")
		m.hub.waitFor(t, m.ns, "hello", "a condition", func(w *unstructured.Unstructured) bool {
			return strings.Contains(describe(w), "the hub has a Pod of that name already")
		})
		if err := m.hub.client.Delete(t.Context(), local); err != nil {
			t.Fatal(err)
		}
		m.waitMirror(t, "hello-taken-1234567890", "the mirror", shows(corev1.PodRunning))
	})
	t.Run("namespaces with rules let it pass", func(t *testing.T) {
		patch := `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"restricted"}}}`
		if _, err := m.hub.core.CoreV1().Namespaces().Patch(t.Context(), m.ns, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		m.begin(t, "hello-c-1234567890")
		m.waitMirror(t, "hello-c-1234567890", "the mirror", shows(corev1.PodRunning))
	})
	t.Run("what is refused is said, and status goes on", func(t *testing.T) {
		least := &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Namespace: m.ns, Name: "least"}, Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{
			Type: corev1.LimitTypeContainer, Min: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")},
		}}}}
		m.create(t, least)
		m.begin(t, "hello-d-1234567890")
		eventually(t, "an event", func(ctx context.Context) (bool, string) {
			said := m.eventsOf(ctx, "hello")
			return strings.Contains(said, "logs from S3 only") && strings.Contains(said, "minimum cpu"), said
		})
		m.wec.argo(t, m.ns, "hello", "Running", "more")
		m.hub.waitFor(t, m.ns, "hello", "a new node and a condition", func(w *unstructured.Unstructured) bool {
			return nodePhase(w, "more") == "Running" && strings.Contains(describe(w), upsync.ConditionLogsFromS3)
		})
		m.end("hello-d-1234567890")
		m.hub.waitFor(t, m.ns, "hello", "no condition when the pod is gone", func(w *unstructured.Unstructured) bool {
			return w != nil && !strings.Contains(describe(w), upsync.ConditionLogsFromS3)
		})
	})
}

func TestMirroredPodsAreDeleted(t *testing.T) {
	m, manager := mirrorPods(t)
	hub := m.hub.core.CoreV1().Pods(m.ns)
	remove := func(t *testing.T, as, name string, options metav1.DeleteOptions) *corev1.Pod {
		t.Helper()
		m.begin(t, name)
		mirror := m.waitMirror(t, name, "the mirror", shows(corev1.PodRunning))
		if err := m.hub.coreAs(t, as).CoreV1().Pods(m.ns).Delete(t.Context(), name, options); err != nil {
			t.Fatal(err)
		}
		return mirror
	}
	for as, name := range map[string]string{"jane@example.com": "hello-person-1234567890", "system:serviceaccount:argo:argo-server": "hello-server-1234567890", "system:admin": "hello-admin-1234567890"} {
		t.Run("by a person: "+name, func(t *testing.T) {
			remove(t, as, name, metav1.DeleteOptions{})
			eventually(t, "the real pod to be deleted", func(context.Context) (bool, string) { return m.real(t, name).DeletionTimestamp != nil, "" })
			m.waitMirror(t, name, "the mirror to end with it", func(p *corev1.Pod) bool { return p != nil && p.DeletionTimestamp != nil })
			m.end(name)
			m.waitMirror(t, name, "its end", noPod)
		})
	}
	t.Run("at once", func(t *testing.T) {
		remove(t, "jane", "hello-at-once-1234567890", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)})
		eventually(t, "the real pod to be deleted", func(ctx context.Context) (bool, string) {
			_, err := m.wec.core.CoreV1().Pods(m.ns).Get(ctx, "hello-at-once-1234567890", metav1.GetOptions{})
			return apierrors.IsNotFound(err), fmt.Sprint(err)
		})
	})
	for as, name := range map[string]string{
		"system:serviceaccount:kube-system:generic-garbage-collector": "hello-gc-1234567890", "system:serviceaccount:kube-system:pod-garbage-collector": "hello-pod-gc-1234567890",
		"system:serviceaccount:kube-system:namespace-controller": "hello-namespace-1234567890", "system:kube-scheduler": "hello-preemption-1234567890", "system:node:worker": "hello-node-1234567890",
		"system:kube-controller-manager": "hello-controllers-1234567890", "system:serviceaccount:argo:argo": "hello-argo-1234567890",
	} {
		t.Run("by "+as, func(t *testing.T) { m.untouched(t, name, remove(t, as, name, metav1.DeleteOptions{})) })
	}
	t.Run("by garbage collection at once", func(t *testing.T) {
		m.untouched(t, "hello-gc-once-1234567890", remove(t, "system:serviceaccount:kube-system:pod-garbage-collector", "hello-gc-once-1234567890", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}))
	})
	t.Run("by an eviction, whoever asks for it", func(t *testing.T) {
		m.begin(t, "hello-evicted-1234567890")
		before := m.waitMirror(t, "hello-evicted-1234567890", "the mirror", shows(corev1.PodRunning))
		if err := m.hub.coreAs(t, "jane").CoreV1().Pods(m.ns).EvictV1(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: m.ns, Name: "hello-evicted-1234567890"}}); err != nil {
			t.Fatal(err)
		}
		m.untouched(t, "hello-evicted-1234567890", before)
	})
	t.Run("as a dry run", func(t *testing.T) {
		before := remove(t, "jane", "hello-dry-1234567890", metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}})
		if now, err := hub.Get(t.Context(), "hello-dry-1234567890", metav1.GetOptions{}); err != nil || now.UID != before.UID || now.Annotations[stellarflow.AnnotationDeletion] != "" {
			t.Errorf("%v, %v", now, err)
		}
	})
	t.Run("by a drain", func(t *testing.T) {
		nodes := m.hub.core.CoreV1().Nodes()
		cordon := func(yes bool) {
			if _, err := nodes.Patch(context.WithoutCancel(t.Context()), "stellarflow-cluster1", types.MergePatchType, fmt.Appendf(nil, `{"spec":{"unschedulable":%v}}`, yes), metav1.PatchOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "the node", func(ctx context.Context) (bool, string) {
			_, err := nodes.Get(ctx, "stellarflow-cluster1", metav1.GetOptions{})
			return err == nil, fmt.Sprint(err)
		})
		cordon(true)
		defer cordon(false)
		m.untouched(t, "hello-drained-1234567890", remove(t, "jane", "hello-drained-1234567890", metav1.DeleteOptions{}))
	})
	t.Run("while nobody answers, and by what deletes then", func(t *testing.T) {
		m.begin(t, "hello-away-1234567890")
		before := m.waitMirror(t, "hello-away-1234567890", "the mirror", shows(corev1.PodRunning))
		manager.stop()
		if err := m.hub.coreAs(t, "jane").CoreV1().Pods(m.ns).Delete(t.Context(), "hello-away-1234567890", metav1.DeleteOptions{}); !apierrors.IsInternalError(err) {
			t.Errorf("a person's deletion is not refused: %v", err)
		}
		if err := m.hub.coreAs(t, "system:serviceaccount:kube-system:namespace-controller").CoreV1().Pods(m.ns).Delete(t.Context(), "hello-away-1234567890", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		startManager(t, m.clusters, managerOptions{kubelet: freeAddress(t)})
		m.untouched(t, "hello-away-1234567890", before)
	})
}

// TestMirroredPodsLeave lets a policy switch mirroring off, and a cluster leave.
func TestMirroredPodsLeave(t *testing.T) {
	m, _ := mirrorPods(t)
	m.begin(t, "hello-a-1234567890")
	m.waitMirror(t, "hello-a-1234567890", "the mirror", shows(corev1.PodRunning))
	t.Run("by policy", func(t *testing.T) {
		annotate := func(value string) {
			patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%s}}}`, stellarflow.AnnotationMirrorPods, value)
			if err := m.hub.client.Patch(t.Context(), &v1alpha1.BindingPolicy{ObjectMeta: metav1.ObjectMeta{Name: "workflows-cluster1"}}, clientPatch([]byte(patch))); err != nil {
				t.Fatal(err)
			}
		}
		annotate(`"false"`)
		m.waitMirror(t, "hello-a-1234567890", "no mirror", noPod)
		annotate("null")
		m.waitMirror(t, "hello-a-1234567890", "the mirror again", shows(corev1.PodRunning))
	})
	if err := m.hub.client.Delete(t.Context(), &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "cluster1"}}); err != nil {
		t.Fatal(err)
	}
	m.waitMirror(t, "hello-a-1234567890", "no mirror once the cluster has left", noPod)
	eventually(t, "no node", func(ctx context.Context) (bool, string) {
		_, err := m.hub.core.CoreV1().Nodes().Get(ctx, "stellarflow-cluster1", metav1.GetOptions{})
		return apierrors.IsNotFound(err), fmt.Sprint(err)
	})
	if there := m.real(t, "hello-a-1234567890"); there.DeletionTimestamp != nil {
		t.Error("the real pod is deleted")
	}
}

// TestMirroredPodsOfALostCluster: while a cluster is away its pods are shown as they were, but not those of a Workflow that is given up, also
// by a manager that has never reached it.
func TestMirroredPodsOfALostCluster(t *testing.T) {
	var net network
	options := managerOptions{kubelet: freeAddress(t), wecTransport: net.wrap}
	c, manager, ns := setUp(t, options)
	m := mirroring{clusters: c, ns: ns}
	for _, name := range []string{"second", "first", "stays"} {
		m = m.run(t, name)
		m.begin(t, name+"-a-1234567890")
		m.waitMirror(t, name+"-a-1234567890", "the mirror", shows(corev1.PodRunning))
	}
	net.cut(t, c, "cluster1")
	c.ask(t, ns, "first", stellarflow.RequestAbandon)
	m.waitMirror(t, "first-a-1234567890", "its end", noPod)
	manager.stop()
	options.kubelet = freeAddress(t)
	startManager(t, c, options)
	c.ask(t, ns, "second", stellarflow.RequestAbandon)
	m.waitMirror(t, "second-a-1234567890", "its end", noPod)
	m.waitMirror(t, "stays-a-1234567890", "the other as it was", shows(corev1.PodRunning))
	if there := m.real(t, "second-a-1234567890"); there.DeletionTimestamp != nil {
		t.Error("the real pod is deleted")
	}
	if err := m.wec.core.CoreV1().Pods(ns).Delete(t.Context(), "stays-a-1234567890", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}); err != nil {
		t.Fatal(err)
	}
	m.begin(t, "stays-b-1234567890")
	net.heal(t, c, "cluster1") // whatever happened meanwhile is seen at once
	m.waitMirror(t, "stays-a-1234567890", "its end", noPod)
	m.waitMirror(t, "stays-b-1234567890", "the mirror", shows(corev1.PodRunning))
}
