package integration

import (
	"context"
	"net/http"
	"strings"
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
	on := func(node string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.NodeName = node } }
	theirs, lies := on(m.wec.node(t, "cluster1 says ")), on(liar.wec.node(t, "cluster2 says "))
	e := &endpoint{clusters: c, t: t, address: address, ns: ns, pod: "hello-a"}
	e.trust()
	who := e.certificate("kube-apiserver-kubelet-client", "system:masters")
	wantAnswers := func(t *testing.T, code int, says string) {
		t.Helper()
		for method, what := range map[string]string{http.MethodGet: "/containerLogs/main?tailLines=3", http.MethodPost: "/exec/main?command=ls&output=1"} {
			wanted := code
			if code == http.StatusOK && method == http.MethodPost {
				wanted = http.StatusSwitchingProtocols
			}
			if got, said := e.ask(t.Context(), who, method, what); got != wanted || !strings.Contains(said, says) {
				t.Errorf("%s: %d %q, want %d %q", what, got, said, wanted, says)
			}
		}
	}
	// seen waits until the hub has seen what cluster2 has by now: it shows a pod there of a Workflow that is placed there.
	seen := func(t *testing.T, name string) {
		t.Helper()
		honest.begin(t, name)
		m.waitMirror(t, name, "an honest pod of cluster2", shows(corev1.PodRunning))
	}

	liar.begin(t, "hello-a", lies)
	seen(t, "honest-a")
	m.waitMirror(t, "hello-a", "no mirror of the lie alone", noPod)
	wantAnswers(t, http.StatusNotFound, "is not known to run on another cluster")

	there := m.begin(t, "hello-a", theirs)
	ours := func(p *corev1.Pod) bool {
		return shows(corev1.PodRunning)(p) && p.Labels[stellarflow.LabelMirrorOf] == string(there.UID) && p.Spec.NodeName == podmirror.NodeName("cluster1")
	}
	mirror := m.waitMirror(t, "hello-a", "the mirror of cluster1's", ours)
	wantAnswers(t, http.StatusOK, "cluster1 says /")

	liar.report(t, "hello-a", corev1.PodFailed, terminated(1))
	seen(t, "honest-b")
	liar.end("hello-a")
	seen(t, "honest-c")
	lie := liar.begin(t, "hello-a", lies)
	seen(t, "honest-d")
	if now := m.waitMirror(t, "hello-a", "what cluster1 says", ours); now.UID != mirror.UID {
		t.Errorf("the mirror %s is another one, %s, by what cluster2 said", mirror.UID, now.UID)
	}
	wantAnswers(t, http.StatusOK, "cluster1 says /")

	t.Run("asked by a Pod of the hub that somebody has made", func(t *testing.T) {
		forged := mirror.DeepCopy()
		forged.ObjectMeta = metav1.ObjectMeta{
			Namespace: ns, Name: "hello-forged", Labels: map[string]string{stellarflow.ArgoLabelWorkflow: "hello", stellarflow.LabelCluster: "cluster2"},
			OwnerReferences: mirror.OwnerReferences, Finalizers: []string{"example.com/held"},
		}
		forged.Spec.NodeName = podmirror.NodeName("cluster2")
		target := liar.begin(t, "hello-forged", lies)
		forged.Labels[stellarflow.LabelMirrorOf] = string(target.UID)
		pods := m.hub.core.CoreV1().Pods(ns)
		if _, err := pods.Create(t.Context(), forged, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		m.waitMirror(t, "hello-forged", "its end, which waits", func(p *corev1.Pod) bool { return p != nil && p.DeletionTimestamp != nil })
		e.pod = "hello-forged"
		defer func() { e.pod = "hello-a" }()
		if code, said := e.ask(t.Context(), who, http.MethodGet, "/containerLogs/main"); code != http.StatusNotFound {
			t.Errorf("%d %q", code, said)
		}
		if _, err := pods.Patch(t.Context(), "hello-forged", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		m.waitMirror(t, "hello-forged", "its end", noPod)
		if now := liar.real(t, "hello-forged"); now.DeletionTimestamp != nil {
			t.Error("the pod of cluster2 is deleted")
		}
	})

	if err := m.hub.coreAs(t, "jane").CoreV1().Pods(ns).Delete(t.Context(), "hello-a", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](20)}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the real pod to be deleted", func(context.Context) (bool, string) { return m.real(t, "hello-a").DeletionTimestamp != nil, "" })
	m.end("hello-a")
	m.waitMirror(t, "hello-a", "its end", noPod)
	seen(t, "honest-e")
	m.waitMirror(t, "hello-a", "no mirror of the lie alone", noPod)
	if now := liar.real(t, "hello-a"); now.UID != lie.UID || now.DeletionTimestamp != nil {
		t.Errorf("pod %s of cluster2 is deleted with that of cluster1: %+v", lie.UID, now.ObjectMeta)
	}
	wantAnswers(t, http.StatusNotFound, "is not known to run on another cluster")
}
