package integration

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/podmirror"
	"stellarflow.io/stellarflow/pkg/hub/upsync"
)

// waitNode waits until a Node of the hub is as wanted.
func (c *clusters) waitNode(t *testing.T, name, what string, ok func(*corev1.Node) bool) *corev1.Node {
	t.Helper()
	var node *corev1.Node
	eventually(t, what, func(ctx context.Context) (bool, string) {
		var err error
		node, err = c.hub.core.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		return err == nil && ok(node), fmt.Sprintf("%v %+v", err, node)
	})
	return node
}

// connected reports whether a virtual Node says that its cluster is, with what message.
func connected(status corev1.ConditionStatus, part string) func(*corev1.Node) bool {
	return func(node *corev1.Node) bool {
		for _, condition := range node.Status.Conditions {
			if condition.Type == podmirror.ConditionConnected {
				return condition.Status == status && strings.Contains(condition.Message, part)
			}
		}
		return false
	}
}

// TestMirroredPodsWithoutCredential: a cluster whose credential is gone keeps its Node and the mirrors of its pods, but for those that are to go
// whatever runs there. No real pod is touched.
func TestMirroredPodsWithoutCredential(t *testing.T) {
	c := sharedClusters(t)
	options := managerOptions{kubelet: freeAddress(t), webhook: c.serveWebhook(t)}
	c, manager, ns := setUp(t, options)
	c.forgetsRestores(t)
	given := mirroring{clusters: c, ns: ns}.run(t, "given")
	given.begin(t, "given-a-1234567890")
	m := mirroring{clusters: c, ns: ns}.run(t, "hello")
	c.trusted(t, ns, "hello")
	for _, name := range []string{"hello-stays-1234567890", "hello-person-1234567890", "hello-gc-1234567890"} {
		m.begin(t, name)
	}
	for _, name := range []string{"given-a-1234567890", "hello-stays-1234567890", "hello-person-1234567890", "hello-gc-1234567890"} {
		m.waitMirror(t, name, "the mirror of "+name, shows(corev1.PodRunning))
	}
	node := c.waitNode(t, "stellarflow-cluster1", "a connected node", connected(corev1.ConditionTrue, ""))
	leases := c.hub.core.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	secrets := c.hub.core.CoreV1().Secrets(stellarflow.SystemNamespace)
	credential, err := secrets.Get(t.Context(), stellarflow.CredentialName("cluster1"), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := secrets.Delete(t.Context(), credential.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.waitNode(t, node.Name, "its condition", connected(corev1.ConditionFalse, "there is no credential for it"))
	before, err := leases.Get(t.Context(), node.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}

	remove := func(by, name string) {
		t.Helper()
		if err := c.hub.coreAs(t, by).CoreV1().Pods(ns).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	remove("jane", "hello-person-1234567890")
	remove(garbageCollector, "hello-gc-1234567890")
	m.waitMirror(t, "hello-gc-1234567890", "its end", noPod)
	c.ask(t, ns, "given", stellarflow.RequestAbandon)
	m.waitMirror(t, "given-a-1234567890", "its end", noPod)
	m.waitMirror(t, "hello-person-1234567890", "that it waits for its cluster", func(p *corev1.Pod) bool { return p != nil && p.DeletionTimestamp != nil })
	eventually(t, "the lease to be renewed", func(ctx context.Context) (bool, string) {
		now, err := leases.Get(ctx, node.Name, metav1.GetOptions{})
		return err == nil && now.Spec.RenewTime.After(before.Spec.RenewTime.Time), fmt.Sprint(err, now)
	})

	manager.stop()
	later := shifted(10 * time.Minute)
	later.hubTransport = later.wecTransport // so late is it on the hub too
	later.kubelet, later.webhook = freeAddress(t), options.webhook
	startManager(t, c, later)
	m.waitMirror(t, "hello-person-1234567890", "its end", noPod)
	c.waitEvent(t, ns, "hello", "PodNotDeleted", "whether pod hello-person-1234567890 on cluster cluster1 is deleted, as it was here, is not known")
	m.waitMirror(t, "hello-stays-1234567890", "the other as it was", shows(corev1.PodRunning))
	if now := c.waitNode(t, node.Name, "the node", func(*corev1.Node) bool { return true }); now.UID != node.UID {
		t.Error("it is another node")
	}
	credential.ResourceVersion, credential.UID = "", ""
	if _, err := secrets.Create(t.Context(), credential, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"hello-stays-1234567890", "hello-person-1234567890", "hello-gc-1234567890"} {
		m.waitMirror(t, name, "the mirror of "+name+" when the cluster is back", shows(corev1.PodRunning))
		if there := m.real(t, name); there.DeletionTimestamp != nil {
			t.Errorf("the real pod of %s is deleted", name)
		}
	}
	if there := given.real(t, "given-a-1234567890"); there.DeletionTimestamp != nil {
		t.Error("the real pod of what was given up is deleted")
	}
}

// TestVirtualNodesAreRepaired: a Node gets back what somebody takes off, and stays the same one, cordoned if it is; one of somebody else's that has its
// name is left alone and said.
func TestVirtualNodesAreRepaired(t *testing.T) {
	c := sharedClusters(t)
	nodes, background := c.hub.core.CoreV1().Nodes(), context.Background()
	if err := nodes.Delete(background, "stellarflow-cluster2", metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	theirs, err := nodes.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "stellarflow-cluster2"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nodes.Delete(background, theirs.Name, metav1.DeleteOptions{}) })
	m, _ := mirrorPods(t)
	m.begin(t, "hello-a-1234567890")
	mirror := m.waitMirror(t, "hello-a-1234567890", "the mirror", shows(corev1.PodRunning))
	before := m.waitNode(t, "stellarflow-cluster1", "a connected node", connected(corev1.ConditionTrue, ""))
	t.Cleanup(func() {
		_, _ = nodes.Patch(background, before.Name, types.MergePatchType, []byte(`{"spec":{"unschedulable":null}}`), metav1.PatchOptions{})
	})
	for what, patch := range map[string]string{
		"taints": `{"spec":{"unschedulable":true,"taints":null}}`, "a label": `{"metadata":{"labels":{"type":null}}}`, "all labels": `{"metadata":{"labels":null}}`,
	} {
		t.Run(what, func(t *testing.T) {
			if _, err := nodes.Patch(t.Context(), before.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
				t.Fatal(err)
			}
			now := m.waitNode(t, before.Name, "what was taken off", func(node *corev1.Node) bool {
				return podmirror.Repaired(podmirror.Node("cluster1"), node) == nil
			})
			if now.UID != before.UID || strings.Contains(patch, "unschedulable") && !now.Spec.Unschedulable {
				t.Errorf("it is not the same: %+v", now)
			}
		})
	}
	if now := m.waitMirror(t, "hello-a-1234567890", "the mirror", shows(corev1.PodRunning)); now.UID != mirror.UID {
		t.Error("it is another mirror")
	}
	eventually(t, "an event", func(ctx context.Context) (bool, string) {
		said := m.eventsOf(ctx, "cluster2")
		return strings.Contains(said, "node stellarflow-cluster2 is there and is none of the hub manager's"), said
	})
	if now := m.waitNode(t, theirs.Name, "the other node", func(*corev1.Node) bool { return true }); now.UID != theirs.UID || len(now.Spec.Taints) != len(theirs.Spec.Taints) || len(now.Labels) > 0 {
		t.Errorf("it was touched: %+v", now)
	}
	if err := nodes.Delete(t.Context(), theirs.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	m.waitNode(t, theirs.Name, "the cluster's node", connected(corev1.ConditionTrue, ""))
}

// saysUnseen reports whether a hub copy has, or has not, a condition that says a part of why a pod is not shown.
func saysUnseen(part string) func(*unstructured.Unstructured) bool {
	return func(w *unstructured.Unstructured) bool {
		said := describe(w)
		if part == "" {
			return w != nil && !strings.Contains(said, upsync.ConditionLogsFromS3)
		}
		return strings.Contains(said, upsync.ConditionLogsFromS3) && strings.Contains(said, part)
	}
}

// leastCPU makes a LimitRange that no mirror is allowed by. The test removes it.
func (m mirroring) leastCPU(t *testing.T) *corev1.LimitRange {
	t.Helper()
	least := &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Namespace: m.ns, Name: "least"}, Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{
		Type: corev1.LimitTypeContainer, Min: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")},
	}}}}
	m.create(t, least)
	return least
}

// TestUnseenPodsAreSaid: the condition speaks of a pod that is not shown, whatever the API server answers, and goes when there is none, also if no
// manager ran when that came about.
func TestUnseenPodsAreSaid(t *testing.T) {
	m, manager := mirrorPods(t)
	start := func() { startManager(t, m.clusters, managerOptions{kubelet: freeAddress(t)}) }
	t.Run("of another pod when the first is gone", func(t *testing.T) {
		least := m.leastCPU(t)
		m.begin(t, "hello-first-1234567890")
		m.hub.waitFor(t, m.ns, "hello", "the condition", saysUnseen("pod hello-first-1234567890 is"))
		m.begin(t, "hello-second-1234567890")
		m.end("hello-first-1234567890")
		m.hub.waitFor(t, m.ns, "hello", "another sentence", saysUnseen("pod hello-second-1234567890 is"))
		manager.stop()
		if err := m.hub.client.Delete(t.Context(), least); err != nil {
			t.Fatal(err)
		}
		start()
		m.waitMirror(t, "hello-second-1234567890", "the mirror", shows(corev1.PodRunning))
		m.hub.waitFor(t, m.ns, "hello", "no condition", saysUnseen(""))
	})
	t.Run("of a webhook that is down", func(t *testing.T) {
		remove := m.webhook(t, admissionregistrationv1.WebhookClientConfig{URL: ptr.To("https://127.0.0.1:1")}, admissionregistrationv1.Create, "pods")
		eventually(t, "the webhook to be asked", func(ctx context.Context) (bool, string) {
			_, err := m.hub.core.CoreV1().Pods(m.ns).Create(ctx, probe(), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			return apierrors.IsInternalError(err), fmt.Sprint(err)
		})
		m.begin(t, "hello-hooked-1234567890")
		m.hub.waitFor(t, m.ns, "hello", "the condition", saysUnseen("failed calling webhook"))
		remove()
		m.change(t, "hello-hooked-1234567890")
		m.waitMirror(t, "hello-hooked-1234567890", "the mirror", shows(corev1.PodRunning))
		m.hub.waitFor(t, m.ns, "hello", "no condition", saysUnseen(""))
	})
	t.Run("of one whose answers look like a race", func(t *testing.T) {
		answers := httptest.NewTLSServer(http.HandlerFunc(answerByName))
		t.Cleanup(answers.Close)
		ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: answers.Certificate().Raw})
		remove := m.webhook(t, admissionregistrationv1.WebhookClientConfig{URL: ptr.To(answers.URL), CABundle: ca}, admissionregistrationv1.Update, "pods/status")
		pods := m.hub.core.CoreV1().Pods(m.ns)
		there, err := pods.Create(t.Context(), probe(), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "the webhook to be asked", func(ctx context.Context) (bool, string) {
			_, err := pods.UpdateStatus(ctx, there, metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}})
			return apierrors.IsConflict(err), fmt.Sprint(err)
		})
		names := map[string]bool{"hello-404-1234567890": true, "hello-409-1234567890": true, "hello-422-1234567890": true}
		for name := range names {
			m.begin(t, name)
		}
		for last := ""; len(names) > 0; delete(names, last) {
			m.hub.waitFor(t, m.ns, "hello", fmt.Sprintf("the condition, of one of %v", names), func(w *unstructured.Unstructured) bool {
				for last = range names {
					if saysUnseen("pod " + last + " is not mirrored here: admission webhook")(w) {
						return true
					}
				}
				return false
			})
			if len(names) > 1 {
				m.end(last)
				continue
			}
			remove()
			m.change(t, last)
			m.waitMirror(t, last, "the mirror", shows(corev1.PodRunning))
			m.hub.waitFor(t, m.ns, "hello", "no condition", saysUnseen(""))
		}
	})
}

// change lets a pod that runs change, so that it is tried at once.
func (m mirroring) change(t *testing.T, pod string) {
	t.Helper()
	m.report(t, pod, corev1.PodRunning, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}})
}

// probe is a Pod that is nobody's. Its name gives the webhook's answer.
func probe() *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "probe-409"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "busybox"}}}}
}

// answerByName is a webhook that refuses with the code that is the second part of the object's name.
func answerByName(w http.ResponseWriter, r *http.Request) {
	var review admissionv1.AdmissionReview
	err := json.NewDecoder(r.Body).Decode(&review)
	if err != nil || review.Request == nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	code, _ := strconv.ParseInt(strings.Split(review.Request.Name, "-")[1], 10, 32)
	review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Result: &metav1.Status{Code: int32(code)}}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(review)
}

// webhook makes a webhook on Pods of the namespace. What it returns removes it.
func (m mirroring) webhook(t *testing.T, at admissionregistrationv1.WebhookClientConfig, operation admissionregistrationv1.OperationType, resource string) (remove func()) {
	t.Helper()
	hooks, none := m.hub.core.AdmissionregistrationV1().ValidatingWebhookConfigurations(), admissionregistrationv1.SideEffectClassNone
	hook, err := hooks.Create(t.Context(), &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "test.example.com", SideEffects: &none, AdmissionReviewVersions: []string{"v1"}, ClientConfig: at,
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: m.ns}},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{operation},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{resource}},
			}},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	remove = func() { _ = hooks.Delete(context.Background(), hook.Name, metav1.DeleteOptions{}) }
	t.Cleanup(remove)
	return remove
}
