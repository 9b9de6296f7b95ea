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

// refuseDeletions lets the hub refuse a user's deletions of one Pod, after all mutating admission has agreed.
func (m mirroring) refuseDeletions(t *testing.T, user, pod string) {
	t.Helper()
	meta := metav1.ObjectMeta{Name: "test-" + pod}
	m.create(t, &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: meta, Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
		MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: admissionregistrationv1.RuleWithOperations{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Delete},
			Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
		}}}},
		Validations: []admissionregistrationv1.Validation{{
			Expression: fmt.Sprintf("request.userInfo.username != %q || request.name != %q || request.namespace != %q", user, pod, m.ns), Reason: ptr.To(metav1.StatusReasonForbidden),
		}},
	}})
	m.create(t, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: meta, Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
		PolicyName: meta.Name, ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
	}})
	eventually(t, "deletions to be refused", func(ctx context.Context) (bool, string) {
		err := m.hub.coreAs(t, user).CoreV1().Pods(m.ns).Delete(ctx, pod, metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}})
		return apierrors.IsForbidden(err), fmt.Sprint(err)
	})
}

// TestRefusedDeletionsOfMirroredPods: what a person was refused does not reach the real pod when something else deletes the mirror.
func TestRefusedDeletionsOfMirroredPods(t *testing.T) {
	m, _ := mirrorPods(t)
	refused := func(t *testing.T, name string, options metav1.DeleteOptions) *corev1.Pod {
		t.Helper()
		m.begin(t, name)
		before := m.waitMirror(t, name, "the mirror", shows(corev1.PodRunning))
		m.refuseDeletions(t, "jane", name)
		if err := m.hub.coreAs(t, "jane").CoreV1().Pods(m.ns).Delete(t.Context(), name, options); !apierrors.IsForbidden(err) {
			t.Fatalf("the deletion is not refused: %v", err)
		}
		return before
	}
	evicted := func(t *testing.T, name string, before *corev1.Pod) {
		t.Helper()
		if err := m.hub.core.CoreV1().Pods(m.ns).EvictV1(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: m.ns, Name: name}}); err != nil {
			t.Fatal(err)
		}
		m.waitMirror(t, name, "the mirror made again", another(before))
		if there := m.real(t, name); there.DeletionTimestamp != nil {
			t.Error("the real pod is deleted")
		}
	}
	t.Run("the note comes off", func(t *testing.T) {
		before := refused(t, "hello-refused-1234567890", metav1.DeleteOptions{})
		m.waitMirror(t, "hello-refused-1234567890", "the note to go", func(p *corev1.Pod) bool {
			return p != nil && p.UID == before.UID && p.Annotations[stellarflow.AnnotationDeletion] == ""
		})
		evicted(t, "hello-refused-1234567890", before)
	})
	t.Run("an eviction has another grace period", func(t *testing.T) {
		evicted(t, "hello-refused-once-1234567890", refused(t, "hello-refused-once-1234567890", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}))
		eventually(t, "an event", func(ctx context.Context) (bool, string) {
			said := m.eventsOf(ctx, "hello")
			return strings.Contains(said, "pod hello-refused-once-1234567890 on cluster cluster1 is not deleted although it was here: that began 5s or more after"), said
		})
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
