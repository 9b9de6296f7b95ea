package integration

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/podmirror"
)

// TestMirroredPodsThatTwoClustersClaim has cluster2 say of a pod all that cluster1 says of the one that it runs: namespace, name, label, the Workflow
// that controls it with its UID. Only that of cluster1, where the hub's record places the Workflow, is shown, asked, and deleted.
func TestMirroredPodsThatTwoClustersClaim(t *testing.T) {
	address := freeAddress(t)
	c := sharedClusters(t)
	c, _, ns := setUp(t, managerOptions{kubelet: address, webhook: c.serveWebhook(t)})
	m := mirroring{clusters: c, ns: ns}.run(t, "hello")
	c.trusted(t, ns, "hello")
	liar := m
	liar.wec = c.wecs["cluster2"]
	honest := liar
	honest.workflow = "honest"
	c.submit(t, ns, honest.workflow, "cluster2")
	liar.wec.waitFor(t, ns, honest.workflow, "the WEC copy", exists)
	honest.owner.Name, honest.owner.UID = honest.workflow, liar.wec.argo(t, ns, honest.workflow, "Running").GetUID()
	theirs, lies := onNode(m.wec.node(t, "cluster1 says ")), onNode(liar.wec.node(t, "cluster2 says "))
	e, who := m.endpoint(t, address, "hello-a-1234567890")
	wantAnswers := func(t *testing.T, code int, says string) {
		t.Helper()
		e.wantAnswer(t, who, "/containerLogs/main?tailLines=3", code, says)
		e.wantAnswer(t, who, "/exec/main?command=ls&output=1", map[bool]int{true: http.StatusSwitchingProtocols, false: code}[code == http.StatusOK], says)
	}
	// seen waits until the hub has seen what cluster2 has by now: it shows a pod there of a Workflow that is placed there.
	seen := func(t *testing.T, name string) {
		t.Helper()
		honest.begin(t, name)
		m.waitMirror(t, name, "an honest pod of cluster2", shows(corev1.PodRunning))
	}

	liar.begin(t, "hello-a-1234567890", lies)
	seen(t, "honest-a-1234567890")
	m.waitMirror(t, "hello-a-1234567890", "no mirror of the lie alone", noPod)
	wantAnswers(t, http.StatusNotFound, "is not known to run on another cluster")

	there := m.begin(t, "hello-a-1234567890", theirs)
	ours := func(p *corev1.Pod) bool {
		return shows(corev1.PodRunning)(p) && p.Labels[stellarflow.LabelMirrorOf] == string(there.UID) && p.Spec.NodeName == podmirror.NodeName("cluster1")
	}
	mirror := m.waitMirror(t, "hello-a-1234567890", "the mirror of cluster1's", ours)
	wantAnswers(t, http.StatusOK, "cluster1 says /")

	liar.report(t, "hello-a-1234567890", corev1.PodFailed, terminated(1))
	seen(t, "honest-b-1234567890")
	liar.end("hello-a-1234567890")
	seen(t, "honest-c-1234567890")
	lie := liar.begin(t, "hello-a-1234567890", lies)
	seen(t, "honest-d-1234567890")
	if now := m.waitMirror(t, "hello-a-1234567890", "what cluster1 says", ours); now.UID != mirror.UID {
		t.Errorf("the mirror %s is another one, %s, by what cluster2 said", mirror.UID, now.UID)
	}
	wantAnswers(t, http.StatusOK, "cluster1 says /")

	t.Run("asked by a Pod of the hub that somebody has made", func(t *testing.T) {
		forged := mirror.DeepCopy()
		forged.ObjectMeta = metav1.ObjectMeta{
			Namespace: ns, Name: "hello-forged-1234567890", Labels: map[string]string{stellarflow.ArgoLabelWorkflow: "hello", stellarflow.LabelCluster: "cluster2"},
			OwnerReferences: mirror.OwnerReferences, Finalizers: []string{"example.com/held"},
		}
		forged.Spec.NodeName = podmirror.NodeName("cluster2")
		target := liar.begin(t, "hello-forged-1234567890", lies)
		forged.Labels[stellarflow.LabelMirrorOf] = string(target.UID)
		pods := m.hub.core.CoreV1().Pods(ns)
		if _, err := pods.Create(t.Context(), forged, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		m.waitMirror(t, "hello-forged-1234567890", "its end, which waits", func(p *corev1.Pod) bool { return p != nil && p.DeletionTimestamp != nil })
		e.pod = "hello-forged-1234567890"
		defer func() { e.pod = "hello-a-1234567890" }()
		e.wantAnswer(t, who, "/containerLogs/main", http.StatusNotFound, "is not known to run on another cluster")
		if _, err := pods.Patch(t.Context(), "hello-forged-1234567890", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		m.waitMirror(t, "hello-forged-1234567890", "its end", noPod)
		if now := liar.real(t, "hello-forged-1234567890"); now.DeletionTimestamp != nil {
			t.Error("the pod of cluster2 is deleted")
		}
	})

	if err := m.hub.coreAs(t, "jane").CoreV1().Pods(ns).Delete(t.Context(), "hello-a-1234567890", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](20)}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the real pod to be deleted", func(context.Context) (bool, string) {
		return m.real(t, "hello-a-1234567890").DeletionTimestamp != nil, ""
	})
	m.end("hello-a-1234567890")
	m.waitMirror(t, "hello-a-1234567890", "its end", noPod)
	seen(t, "honest-e-1234567890")
	m.waitMirror(t, "hello-a-1234567890", "no mirror of the lie alone", noPod)
	if now := liar.real(t, "hello-a-1234567890"); now.UID != lie.UID || now.DeletionTimestamp != nil {
		t.Errorf("pod %s of cluster2 is deleted with that of cluster1: %+v", lie.UID, now.ObjectMeta)
	}
	wantAnswers(t, http.StatusNotFound, "is not known to run on another cluster")
}

// endpoint is that of the manager which listens at an address, for a pod, and the API server by whose certificate it is asked.
func (m mirroring) endpoint(t *testing.T, address, pod string) (*endpoint, *tls.Certificate) {
	t.Helper()
	e := &endpoint{clusters: m.clusters, t: t, address: address, ns: m.ns, pod: pod}
	e.trust()
	return e, e.certificate("kube-apiserver-kubelet-client", "system:masters")
}

// wantAnswer asks for something, as SPDY if it acts in the pod.
func (e *endpoint) wantAnswer(t *testing.T, who *tls.Certificate, what string, code int, says string) {
	t.Helper()
	method := http.MethodPost
	if strings.HasPrefix(what, "/containerLogs") {
		method = http.MethodGet
	}
	if got, said := e.ask(t.Context(), who, method, what); got != code || !strings.Contains(said, says) {
		t.Errorf("%s: %d %q, want %d %q", what, got, said, code, says)
	}
}

func onNode(name string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.NodeName = name } }

// late lets what clusters say of their pods' changes reach the manager later: not while it is locked.
type late struct{ sync.RWMutex }

func (l *late) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		response, err := next.RoundTrip(r)
		if err == nil && r.URL.Path == "/api/v1/pods" && r.URL.Query().Has("watch") {
			response.Body = lateBody{response.Body, l}
		}
		return response, err
	})
}

type lateBody struct {
	io.ReadCloser
	late *late
}

// Read waits with what it has read.
func (b lateBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.late.RLock()
	defer b.late.RUnlock()
	return n, err
}

// TestMirroredPodsAreLookedAt asks to act in a pod of which the hub does not know yet that it is another one, or no Workflow's any more.
func TestMirroredPodsAreLookedAt(t *testing.T) {
	var changes late
	address := freeAddress(t)
	c, _, ns := setUp(t, managerOptions{kubelet: address, wecTransport: changes.wrap})
	m := mirroring{clusters: c, ns: ns}.run(t, "hello")
	there := onNode(m.wec.node(t, ""))
	first := m.begin(t, "hello-a-1234567890", there)
	m.waitMirror(t, "hello-a-1234567890", "the mirror", shows(corev1.PodRunning))
	e, who := m.endpoint(t, address, "hello-a-1234567890")
	const exec = "/exec/main?command=ls&output=1"
	e.wantAnswer(t, who, exec, http.StatusSwitchingProtocols, "/exec/")
	unseen := func(t *testing.T, says string, change func()) {
		t.Helper()
		changes.Lock()
		defer changes.Unlock()
		change()
		e.wantAnswer(t, who, exec, http.StatusConflict, says)
	}
	unseen(t, "is another one by now", func() {
		m.end("hello-a-1234567890")
		m.begin(t, "hello-a-1234567890", there)
	})
	m.waitMirror(t, "hello-a-1234567890", "the mirror of the next", func(p *corev1.Pod) bool {
		return shows(corev1.PodRunning)(p) && p.Labels[stellarflow.LabelMirrorOf] != string(first.UID)
	})
	e.wantAnswer(t, who, exec, http.StatusSwitchingProtocols, "/exec/")
	unseen(t, "is no Workflow's of this hub any more", func() {
		patch := []byte(`{"metadata":{"ownerReferences":null}}`)
		if _, err := m.wec.core.CoreV1().Pods(ns).Patch(t.Context(), "hello-a-1234567890", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Error(err)
		}
	})
	m.waitMirror(t, "hello-a-1234567890", "its end", noPod)
	e.wantAnswer(t, who, exec, http.StatusNotFound, "is not known to run on another cluster")
}
