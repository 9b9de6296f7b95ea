package podmirror

import (
	"cmp"
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
		"SlowWebhook": {mirror(t, asked(ended), going(ended.Add(4*time.Second))), true},
		"Later":       {mirror(t, asked(ended), going(ended.Add(5*time.Second))), false},
		"Ahead":       {mirror(t, asked(ended), going(ended.Add(-2*time.Second))), true},
		"Before":      {mirror(t, asked(ended), going(ended.Add(-3*time.Second))), false},
		"SameGrace":   {mirror(t, asked(ended, 30), going(ended)), true},
		"OtherGrace":  {mirror(t, asked(ended, 0), going(ended)), false},
		"Finished":    {mirrorOf(t, finished(0), asked(ended, 30), once(ended)), true},
		"Forced":      {mirror(t, asked(ended, 30), once(ended)), false},
		"Shortened":   {mirror(t, shortened(ended.Add(time.Minute), 30, 0), once(ended.Add(time.Minute))), true},
		"ToBeShorter": {mirror(t, shortened(ended.Add(time.Minute), 30, 0), going(ended)), true},
		"ToTheLeast":  {mirror(t, shortened(ended.Add(time.Minute), 30, 5), going(ended), func(p *corev1.Pod) { p.DeletionGracePeriodSeconds = ptr.To[int64](1) }), true},
		"ByOther":     {mirror(t, shortened(ended.Add(time.Minute), 30, 10), once(ended.Add(time.Minute))), false},
		"Evicted":     {mirror(t, asked(ended), going(ended), evicted(corev1.ConditionTrue)), false},
		"NotEvicted":  {mirror(t, asked(ended), going(ended), evicted(corev1.ConditionFalse)), true},
		"OnTheWEC":    {mirrorOf(t, of(evicted(corev1.ConditionTrue)), asked(ended), going(ended)), true},
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
		mirror   *corev1.Pod
		grace    int64
		want     bool
		shortens int64
	}{
		"Deleted":      {mirror(t), 30, true, 0},
		"Negative":     {mirror(t), -1, true, 0},
		"AskedAgain":   {mirror(t, asked(ended.Add(-4*time.Second), 30)), 30, false, 0},
		"AskedAlready": {mirror(t, asked(ended.Add(time.Second), 30)), 30, false, 0},
		"AskedAhead":   {mirror(t, asked(ended.Add(4*time.Second), 30)), 30, true, 0},
		"AskedBefore":  {mirror(t, asked(ended.Add(-5*time.Second), 30)), 30, true, 0},
		"AskedLongAgo": {mirror(t, asked(ended.Add(-time.Minute), 30)), 30, true, 0},
		"AskedOther":   {mirror(t, asked(ended, 30)), 0, true, 0},
		"AskedByOther": {mirror(t, func(p *corev1.Pod) {
			p.Annotations[stellarflow.AnnotationDeletion] = Ask{By: "joe", Time: ended, Grace: ptr.To[int64](30)}.String()
		}), 30, true, 0},
		"Shortened":     {mirror(t, asked(ended.Add(-time.Minute), 30), going(ended.Add(-time.Minute))), 0, true, 30},
		"ShortenedNow":  {mirror(t, shortened(ended, 30, 0), going(ended.Add(-time.Minute))), 0, false, 0},
		"ShortenedMore": {mirror(t, shortened(ended.Add(-time.Second), 60, 30), going(ended.Add(-time.Minute))), 0, true, 30},
		"EvictedBefore": {mirror(t, going(ended.Add(-time.Minute))), 0, true, 0},
		"EvictedSince":  {mirror(t, asked(ended.Add(-time.Minute), 30), going(ended.Add(-time.Minute)), evicted(corev1.ConditionTrue)), 0, true, 0},
		"NotMirrored":   {mirror(t, func(p *corev1.Pod) { p.Labels = nil }), 30, false, 0},
		"NoAnnotations": {mirror(t, func(p *corev1.Pod) { p.Annotations = nil }), 30, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			ask, got := note(tc.mirror, Ask{By: "jane", Time: ended, Grace: ptr.To(tc.grace)})
			if got != tc.want || got && (ask.By != "jane" || !ask.Time.Equal(ended) || *ask.Grace != max(tc.grace, -tc.grace) || ptr.Deref(ask.Shortens, -1) != cmp.Or(tc.shortens, -1)) {
				t.Errorf("got %v, %s", got, ask)
			}
		})
	}
}

// TestNoteWithoutGrace: who says nothing of the grace period means that of the pod, and no other.
func TestNoteWithoutGrace(t *testing.T) {
	of := mirror(t, func(p *corev1.Pod) { p.Spec.TerminationGracePeriodSeconds = ptr.To[int64](600) })
	if ask, noted := note(of, Ask{By: "jane", Time: ended}); !noted || ptr.Deref(ask.Grace, -1) != 600 {
		t.Errorf("got %v, %s", noted, ask)
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
