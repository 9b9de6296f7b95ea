package podmirror

import (
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

func TestAsked(t *testing.T) {
	for name, tc := range map[string]struct {
		mirror *corev1.Pod
		want   bool
	}{
		"Asked":       {mirror(t, asked(ended), going(ended)), true},
		"SameSecond":  {mirror(t, asked(ended.Add(900*time.Millisecond)), going(ended)), true},
		"SlowWebhook": {mirror(t, asked(ended), going(ended.Add(29*time.Second))), true},
		"Later":       {mirror(t, asked(ended), going(ended.Add(30*time.Second))), false},
		"Before":      {mirror(t, asked(ended), going(ended.Add(-3*time.Second))), false},
		"NotGoing":    {mirror(t, asked(ended)), false},
		"Nobody":      {mirror(t, going(ended)), false},
		"Unreadable":  {mirror(t, going(ended), func(p *corev1.Pod) { p.Annotations[stellarflow.AnnotationDeletion] = "{" }), false},
		"Timeless":    {mirror(t, going(ended), func(p *corev1.Pod) { p.Annotations[stellarflow.AnnotationDeletion] = `{"by":"x"}` }), false},
		"AtOnce": {mirror(t, asked(ended), func(p *corev1.Pod) {
			p.DeletionTimestamp = ptr.To(metav1.NewTime(ended.Add(time.Second)))
		}), true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Asked(tc.mirror); got != tc.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestNote(t *testing.T) {
	for name, tc := range map[string]struct {
		mirror *corev1.Pod
		want   bool
	}{
		"Deleted":      {mirror(t), true},
		"AskedAgain":   {mirror(t, asked(ended.Add(-10*time.Second))), false},
		"AskedLongAgo": {mirror(t, asked(ended.Add(-time.Minute))), true},
		"AskedByOther": {mirror(t, func(p *corev1.Pod) {
			p.Annotations[stellarflow.AnnotationDeletion] = Ask{By: "joe", Time: ended}.String()
		}), true},
		"GoingAlready":  {mirror(t, going(ended)), false},
		"NotMirrored":   {mirror(t, func(p *corev1.Pod) { p.Labels = nil }), false},
		"NoAnnotations": {mirror(t, func(p *corev1.Pod) { p.Annotations = nil }), true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := note(tc.mirror, Ask{By: "jane", Time: ended}); got != tc.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestUnseen(t *testing.T) {
	var u unseen
	hello := whose{uid: "hub-copy", key: types.NamespacedName{Namespace: "argo", Name: "hello"}}
	pod := func(name string) there { return there{"cluster1", types.NamespacedName{Namespace: "argo", Name: name}} }
	if !u.set(hello, pod("a"), "first") || u.set(hello, pod("b"), "second") || u.set(hello, pod("a"), "third") {
		t.Error("what is said of a Workflow is what was said first")
	}
	if got := u.why("hub-copy") + u.why("another"); got != "first" {
		t.Errorf("it says %q", got)
	}
	if got := len(u.of("cluster1")) + len(u.of("cluster2")); got != 2 {
		t.Errorf("%d pods are not shown", got)
	}
	for _, other := range []there{pod("c"), {"cluster2", pod("a").pod}} {
		if _, last, _ := u.clear(other); last {
			t.Errorf("%v is the last one", other)
		}
	}
	if key, last, _ := u.clear(pod("a")); last || key != hello.key {
		t.Errorf("%s, %v: another pod is left", key, last)
	}
	if key, last, _ := u.clear(pod("b")); !last || key != hello.key || u.why("hub-copy") != "" {
		t.Errorf("%s, %v, %q: none is left", key, last, u.why("hub-copy"))
	}
	for i := range maxUnseen + 5 {
		u.set(hello, pod(strconv.Itoa(i)), "many")
	}
	if got := len(u.of("cluster1")); got != maxUnseen {
		t.Errorf("%d are remembered", got)
	}
}
