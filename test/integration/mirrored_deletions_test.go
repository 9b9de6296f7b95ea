package integration

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// refuseByPolicy lets the hub refuse a user's deletions of one Pod by a policy.
func (m mirroring) refuseByPolicy(t *testing.T, user, pod string) {
	t.Helper()
	meta := metav1.ObjectMeta{Name: "test-" + pod}
	m.create(t, &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: meta, Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
		MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: deletionsOfPods}}},
		MatchConditions:  []admissionregistrationv1.MatchCondition{{Name: "by-the-user", Expression: m.deletes(user, pod)}},
		Validations:      []admissionregistrationv1.Validation{{Expression: "false", Reason: ptr.To(metav1.StatusReasonForbidden)}},
	}})
	m.create(t, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: meta, Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
		PolicyName: meta.Name, ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
	}})
}

// refuseByWebhook lets another webhook refuse them, one that is down.
func (m mirroring) refuseByWebhook(t *testing.T, user, pod string) {
	t.Helper()
	m.create(t, &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "test-" + pod},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "down.example.com", SideEffects: ptr.To(admissionregistrationv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
			ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: ptr.To("https://127.0.0.1:1")}, Rules: []admissionregistrationv1.RuleWithOperations{deletionsOfPods},
			MatchConditions: []admissionregistrationv1.MatchCondition{{Name: "by-the-user", Expression: m.deletes(user, pod)}},
		}},
	})
}

var deletionsOfPods = admissionregistrationv1.RuleWithOperations{
	Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Delete},
	Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
}

// deletes is true of a user's request about one Pod, as an expression of admission.
func (m mirroring) deletes(user, pod string) string {
	return fmt.Sprintf("request.userInfo.username == %q && request.name == %q && request.namespace == %q", user, pod, m.ns)
}

// refused shows a pod in a phase and lets jane be refused its deletion. It returns the mirror as it is then.
func (m mirroring) refused(t *testing.T, refuse func(t *testing.T, user, pod string), name string, phase corev1.PodPhase, options metav1.DeleteOptions) *corev1.Pod {
	t.Helper()
	m.begin(t, name)
	m.waitMirror(t, name, "the mirror", shows(corev1.PodRunning))
	switch phase {
	case corev1.PodPending:
		m.report(t, name, phase, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}})
	case corev1.PodFailed:
		m.report(t, name, phase, terminated(1))
	}
	m.waitMirror(t, name, "the mirror to be "+string(phase), shows(phase))
	refuse(t, "jane", name)
	pods := m.hub.coreAs(t, "jane").CoreV1().Pods(m.ns)
	eventually(t, "deletions to be refused", func(ctx context.Context) (bool, string) {
		err := pods.Delete(ctx, name, metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}})
		return err != nil, "they are not"
	})
	if err := pods.Delete(t.Context(), name, options); err == nil {
		t.Fatal("the deletion is not refused")
	}
	return m.waitMirror(t, name, "the mirror as it was", shows(phase))
}

// untouched waits until a mirror is made again, and finds the real pod as it was.
func (m mirroring) untouched(t *testing.T, name string, before *corev1.Pod) {
	t.Helper()
	m.waitMirror(t, name, "the mirror made again", another(before))
	if there := m.real(t, name); there.DeletionTimestamp != nil {
		t.Error("the real pod is deleted")
	}
}

// notDeleted waits for what is said of a pod that is there although a person has asked to delete it.
func (m mirroring) notDeleted(t *testing.T, name, why string) {
	t.Helper()
	eventually(t, "an event", func(ctx context.Context) (bool, string) {
		said := m.eventsOf(ctx, "hello")
		return strings.Contains(said, "pod "+name+" on cluster cluster1 is not deleted although it was here: "+why), said
	})
}

// TestRefusedDeletionsOfMirroredPods: what a person was refused does not reach the real pod when something else deletes the mirror at once, with
// the grace period that the person asked for.
func TestRefusedDeletionsOfMirroredPods(t *testing.T) {
	m, _ := mirrorPods(t)
	pods := m.hub.core.CoreV1().Pods(m.ns)
	by := func(user string) func(t *testing.T, name string) error {
		return func(t *testing.T, name string) error {
			return m.hub.coreAs(t, user).CoreV1().Pods(m.ns).Delete(t.Context(), name, metav1.DeleteOptions{})
		}
	}
	eviction := func(t *testing.T, name string) error {
		return pods.EvictV1(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: m.ns, Name: name}})
	}
	// The scheduler says that it preempts a pod and deletes it then. What the pod does between the two is shown.
	preemption := func(t *testing.T, name string) error {
		patch := `{"status":{"conditions":[{"type":"DisruptionTarget","status":"True","reason":"PreemptionByScheduler"}]}}`
		if _, err := pods.Patch(t.Context(), name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
			return err
		}
		m.report(t, name, corev1.PodRunning, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}})
		m.waitMirror(t, name, "the mirror to be written", func(p *corev1.Pod) bool { return p != nil && p.Status.ContainerStatuses[0].State.Waiting != nil })
		return by("system:kube-scheduler")(t, name)
	}
	for name, tc := range map[string]struct {
		refuse func(t *testing.T, user, pod string)
		noted  bool
		phase  corev1.PodPhase
		delete func(t *testing.T, name string) error
	}{
		"policy-then-deleted":  {m.refuseByPolicy, false, corev1.PodRunning, by("system:serviceaccount:kube-system:namespace-controller")},
		"policy-then-evicted":  {m.refuseByPolicy, false, corev1.PodRunning, eviction},
		"webhook-then-evicted": {m.refuseByWebhook, true, corev1.PodRunning, eviction},
		"webhook-pending":      {m.refuseByWebhook, true, corev1.PodPending, eviction},
		"webhook-failed":       {m.refuseByWebhook, true, corev1.PodFailed, eviction},
		"webhook-preempted":    {m.refuseByWebhook, true, corev1.PodRunning, preemption},
	} {
		t.Run(name, func(t *testing.T) {
			pod := "hello-" + name + "-1234567890"
			before := m.refused(t, tc.refuse, pod, tc.phase, metav1.DeleteOptions{})
			if noted := before.Annotations[stellarflow.AnnotationDeletion] != ""; noted != tc.noted {
				t.Errorf("the request that was refused is noted: %v, want %v", noted, tc.noted)
			}
			if err := tc.delete(t, pod); err != nil {
				t.Fatal(err)
			}
			m.untouched(t, pod, before)
			if tc.noted && tc.phase != corev1.PodFailed { // that one is gone at once, and may be there again before its end is seen
				m.notDeleted(t, pod, "that was an eviction")
			}
		})
	}
}

// TestNotesOfRefusedDeletions: a note counts for nothing else, and comes off.
func TestNotesOfRefusedDeletions(t *testing.T) {
	m, _ := mirrorPods(t)
	remove := func(t *testing.T, name string, before *corev1.Pod) {
		t.Helper()
		if err := m.hub.coreAs(t, "system:serviceaccount:kube-system:namespace-controller").CoreV1().Pods(m.ns).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		m.untouched(t, name, before)
	}
	t.Run("the note comes off", func(t *testing.T) {
		const name = "hello-refused-1234567890"
		before := m.refused(t, m.refuseByWebhook, name, corev1.PodRunning, metav1.DeleteOptions{})
		m.waitMirror(t, name, "the note to go", func(p *corev1.Pod) bool {
			return p != nil && p.UID == before.UID && p.Annotations[stellarflow.AnnotationDeletion] == ""
		})
		remove(t, name, before)
	})
	t.Run("another grace period", func(t *testing.T) {
		const name = "hello-refused-once-1234567890"
		remove(t, name, m.refused(t, m.refuseByWebhook, name, corev1.PodRunning, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}))
		m.notDeleted(t, name, "that was an eviction, or began 5s or more after")
	})
}

// TestShortenedDeletionsOfMirroredPods: who does not wait for the end of a pod says so once more.
func TestShortenedDeletionsOfMirroredPods(t *testing.T) {
	m, _ := mirrorPods(t)
	m.begin(t, "hello-slow-1234567890")
	m.waitMirror(t, "hello-slow-1234567890", "the mirror", shows(corev1.PodRunning))
	pods := m.hub.coreAs(t, "jane").CoreV1().Pods(m.ns)
	for _, tc := range []struct {
		grace *int64
		want  int64
	}{{nil, 30}, {ptr.To[int64](20), 20}} {
		if err := pods.Delete(t.Context(), "hello-slow-1234567890", metav1.DeleteOptions{GracePeriodSeconds: tc.grace}); err != nil {
			t.Fatal(err)
		}
		eventually(t, fmt.Sprintf("the real pod to have %d s", tc.want), func(context.Context) (bool, string) {
			there := m.real(t, "hello-slow-1234567890")
			return there.DeletionTimestamp != nil && *there.DeletionGracePeriodSeconds == tc.want, fmt.Sprint(there.DeletionTimestamp, ptr.Deref(there.DeletionGracePeriodSeconds, -1))
		})
	}
	if err := pods.Delete(t.Context(), "hello-slow-1234567890", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the real pod", func(ctx context.Context) (bool, string) {
		_, err := m.wec.core.CoreV1().Pods(m.ns).Get(ctx, "hello-slow-1234567890", metav1.GetOptions{})
		return apierrors.IsNotFound(err), fmt.Sprint(err)
	})
}

// TestDeletionsOfMirroredPodsThatAreNotPassedOn: it is said why, of a mirror too that is gone at once. The manager's clock is ahead of the hub's.
func TestDeletionsOfMirroredPodsThatAreNotPassedOn(t *testing.T) {
	var later, refusals atomic.Int64 // later: for how long everybody's clocks are said to be ahead
	c := sharedClusters(t)
	dates := dates(func() time.Duration { return time.Duration(later.Load()) })
	c, _, ns := setUp(t, managerOptions{
		kubelet: freeAddress(t), webhook: c.serveWebhook(t), hubTransport: dates,
		wecTransport: func(next http.RoundTripper) http.RoundTripper {
			return dates(roundTripper(func(r *http.Request) (*http.Response, error) {
				if r.Method == http.MethodDelete && strings.HasSuffix(r.URL.Path, "/hello-forbidden-1234567890") {
					refusals.Add(1)
					return answer(r, http.StatusForbidden, metav1.StatusReasonForbidden, `policy "keep" says no`), nil
				}
				return next.RoundTrip(r)
			}))
		},
		now: func() time.Time { return time.Now().Add(4*time.Second + time.Duration(later.Load())) },
	})
	m := mirroring{clusters: c, ns: ns}.run(t, "hello")
	c.trusted(t, ns, "hello")
	remove := func(name string, options metav1.DeleteOptions) *corev1.Pod {
		t.Helper()
		m.begin(t, name)
		mirror := m.waitMirror(t, name, "the mirror", shows(corev1.PodRunning))
		if err := m.hub.coreAs(t, "jane").CoreV1().Pods(ns).Delete(t.Context(), name, options); err != nil {
			t.Fatal(err)
		}
		return mirror
	}
	said := func(what string) {
		t.Helper()
		eventually(t, "an event", func(ctx context.Context) (bool, string) {
			said := m.eventsOf(ctx, "hello")
			return strings.Contains(said, what), said
		})
	}
	remove("hello-ahead-1234567890", metav1.DeleteOptions{})
	eventually(t, "the real pod to be deleted", func(context.Context) (bool, string) {
		return m.real(t, "hello-ahead-1234567890").DeletionTimestamp != nil, m.eventsOf(t.Context(), "hello")
	})

	before := remove("hello-forbidden-1234567890", metav1.DeleteOptions{})
	eventually(t, "a refusal of the cluster", func(context.Context) (bool, string) { return refusals.Load() > 0, "" })
	later.Store(int64(2 * time.Minute))
	m.waitMirror(t, "hello-forbidden-1234567890", "the mirror made again", another(before))
	said(`pod hello-forbidden-1234567890 on cluster cluster1 is not deleted although it was here: for a minute that could not be passed on: `)
	said(`policy "keep" says no: mend that, and delete it again`)

	nodes := m.hub.core.CoreV1().Nodes()
	cordon := func(yes bool) {
		if _, err := nodes.Patch(context.WithoutCancel(t.Context()), "stellarflow-cluster1", types.MergePatchType, fmt.Appendf(nil, `{"spec":{"unschedulable":%v}}`, yes), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	cordon(true)
	defer cordon(false)
	before = remove("hello-cordoned-1234567890", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)})
	m.waitMirror(t, "hello-cordoned-1234567890", "the mirror made again", another(before))
	said("pod hello-cordoned-1234567890 on cluster cluster1 is not deleted although it was here: node stellarflow-cluster1 is cordoned")
}
