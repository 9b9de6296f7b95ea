package events

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

var (
	first = metav1.NewTime(time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC))
	last  = metav1.NewTime(first.Add(time.Minute))
)

func mirrorPod(change ...func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "argo", Name: "w-main-1", UID: "mirror-1", Labels: map[string]string{stellarflow.LabelMirrorOf: "real-1", stellarflow.LabelCluster: "cluster1"},
	}}
	for _, f := range change {
		f(pod)
	}
	return pod
}

func podEvent(change ...func(*corev1.Event)) corev1.Event {
	event := corev1.Event{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "argo", Name: "w-main-1.17abc", UID: "event-1", ResourceVersion: "77", CreationTimestamp: first,
			Labels: map[string]string{"theirs": "x"}, Annotations: map[string]string{"theirs": "x"}, Finalizers: []string{"theirs/x"},
		},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: "v1", Kind: "Pod", Namespace: "argo", Name: "w-main-1", UID: "real-1", ResourceVersion: "70", FieldPath: "spec.containers{main}",
		},
		Reason: "Pulled", Message: "image is there", Type: "Normal", Source: corev1.EventSource{Component: "kubelet", Host: "node-1"},
		FirstTimestamp: first, LastTimestamp: last, Count: 3, Related: &corev1.ObjectReference{Kind: "Secret", Name: "theirs"},
	}
	for _, f := range change {
		f(&event)
	}
	return event
}

func TestRender(t *testing.T) {
	long := strings.Repeat("ä", 2000)
	cases := map[string]struct {
		reason string
		event  corev1.Event
		change func(*corev1.Event)
	}{
		"Normal":   {"what people read of it, about the mirror", podEvent(), func(*corev1.Event) {}},
		"Warning":  {"so is its type", podEvent(func(e *corev1.Event) { e.Type = "Warning" }), func(e *corev1.Event) { e.Type = "Warning" }},
		"Type":     {"which is one of two", podEvent(func(e *corev1.Event) { e.Type = "Fatal\x1b" }), func(*corev1.Event) {}},
		"NoType":   {"also where none is said", podEvent(func(e *corev1.Event) { e.Type = "" }), func(*corev1.Event) {}},
		"Controls": {"terminals obey them", podEvent(func(e *corev1.Event) { e.Message, e.Reason = "a\x1b[31mb\nc", "R\u202e\x00" }), func(e *corev1.Event) { e.Message, e.Reason = "a\ufffd[31mb c", "R\ufffd\ufffd" }},
		"NoUTF8":   {"it must be stored", podEvent(func(e *corev1.Event) { e.Message = "a\xffb" }), func(e *corev1.Event) { e.Message = "a\ufffdb" }},
		"Long": {"whatever its size", podEvent(func(e *corev1.Event) { e.Message, e.Reason, e.InvolvedObject.FieldPath = long, long, long }), func(e *corev1.Event) {
			e.Message, e.Reason, e.InvolvedObject.FieldPath = stellarflow.OneLine(long, 1024), stellarflow.OneLine(long, 128), stellarflow.OneLine(long, 256)
		}},
		"Count": {"it happened at least once", podEvent(func(e *corev1.Event) { e.Count = -5 }), func(e *corev1.Event) { e.Count = 1 }},
		"Series": {"one of the newer kind", podEvent(func(e *corev1.Event) {
			e.Count, e.FirstTimestamp, e.LastTimestamp, e.EventTime = 0, metav1.Time{}, metav1.Time{}, metav1.NewMicroTime(first.Time)
			e.Series = &corev1.EventSeries{Count: 9, LastObservedTime: metav1.NewMicroTime(last.Time)}
		}), func(e *corev1.Event) { e.Count = 9 }},
		"Single": {"of that kind, once", podEvent(func(e *corev1.Event) {
			e.Count, e.FirstTimestamp, e.LastTimestamp, e.EventTime = 0, metav1.Time{}, metav1.Time{}, metav1.NewMicroTime(first.Time)
		}), func(e *corev1.Event) { e.Count, e.LastTimestamp = 1, first }},
		"NoTimes": {"it has a creation at least", podEvent(func(e *corev1.Event) {
			e.FirstTimestamp, e.LastTimestamp = metav1.Time{}, metav1.Time{}
		}), func(e *corev1.Event) { e.LastTimestamp = first }},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			mirror := mirrorPod()
			want := &corev1.Event{
				ObjectMeta:     metav1.ObjectMeta{Namespace: "argo", Labels: map[string]string{stellarflow.LabelCluster: "cluster1"}},
				InvolvedObject: corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: "argo", Name: "w-main-1", UID: "mirror-1", FieldPath: "spec.containers{main}"},
				Reason:         "Pulled", Message: "image is there", Type: "Normal", Source: corev1.EventSource{Component: "stellarflow", Host: "cluster1"},
				FirstTimestamp: first, LastTimestamp: last, Count: 3,
			}
			tc.change(want)
			want.Name = "w-main-1." + hashOf(Render(podEvent(), mirror, "cluster1"))
			before := *tc.event.DeepCopy()
			got := Render(tc.event, mirror, "cluster1")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(before, tc.event) + cmp.Diff(mirrorPod(), mirror); diff != "" {
				t.Errorf("its input was changed:\n%s", diff)
			}
		})
	}
}

func hashOf(event *corev1.Event) string { return event.Name[strings.LastIndex(event.Name, ".")+1:] }

// TestName checks that each Event of a WEC about each mirror has one name, which an object can have.
func TestName(t *testing.T) {
	name := func(mirror *corev1.Pod, change ...func(*corev1.Event)) string {
		return Render(podEvent(change...), mirror, "cluster1").Name
	}
	one := name(mirrorPod())
	if again := name(mirrorPod(), func(e *corev1.Event) { e.Count, e.Message, e.LastTimestamp = 4, "other", metav1.Now() }); again != one {
		t.Errorf("it happened again, and is another Event: %s and %s", one, again)
	}
	long := func(pod *corev1.Pod) { pod.Name = strings.Repeat("a.", 126) + "a" }
	names := map[string]bool{one: true}
	for _, other := range []string{
		name(mirrorPod(), func(e *corev1.Event) { e.UID = "event-2" }), name(mirrorPod(func(pod *corev1.Pod) { pod.UID = "mirror-2" })),
		name(mirrorPod(long)), name(mirrorPod(), func(e *corev1.Event) { e.UID = "../\x00" }), name(mirrorPod(), func(e *corev1.Event) { e.UID = "" }),
	} {
		if names[other] {
			t.Errorf("two have the name %s", other)
		}
		names[other] = true
		if errs := validation.IsDNS1123Subdomain(other); len(errs) > 0 {
			t.Errorf("%s: %v", other, errs)
		}
	}
}

func TestNewer(t *testing.T) {
	cases := map[string]struct {
		reason string
		change func(*corev1.Event)
		want   bool
	}{
		"Same":         {"nothing has happened", func(*corev1.Event) {}, false},
		"Again":        {"it happened again", func(e *corev1.Event) { e.Count, e.LastTimestamp = 4, metav1.NewTime(last.Add(time.Second)) }, true},
		"SameSecond":   {"in the same second", func(e *corev1.Event) { e.Count = 4 }, true},
		"Later":        {"one that is not counted", func(e *corev1.Event) { e.LastTimestamp = metav1.NewTime(last.Add(time.Second)) }, true},
		"Older":        {"an answer that was under way", func(e *corev1.Event) { e.Count, e.LastTimestamp = 2, first }, false},
		"OlderCounted": {"whatever it counts", func(e *corev1.Event) { e.Count, e.LastTimestamp = 9, first }, false},
		"Fewer":        {"or fewer times", func(e *corev1.Event) { e.Count = 2 }, false},
		"Words":        {"other words alone", func(e *corev1.Event) { e.Message = "other" }, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			written, event := podEvent(), podEvent(tc.change)
			if got := Newer(Remember(&written), &event); got != tc.want {
				t.Errorf("%s: Newer() = %t", tc.reason, got)
			}
		})
	}
}

func TestAbout(t *testing.T) {
	cases := map[string]struct {
		reason string
		event  corev1.Event
		mirror *corev1.Pod
		want   bool
	}{
		"Pod":       {"of the pod that it shows", podEvent(), mirrorPod(), true},
		"OtherPod":  {"one of the same name, before or after", podEvent(func(e *corev1.Event) { e.InvolvedObject.UID = "real-0" }), mirrorPod(), false},
		"NoUID":     {"which pod is not said", podEvent(func(e *corev1.Event) { e.InvolvedObject.UID = "" }), mirrorPod(func(pod *corev1.Pod) { delete(pod.Labels, stellarflow.LabelMirrorOf) }), false},
		"Kind":      {"it is about something else", podEvent(func(e *corev1.Event) { e.InvolvedObject.Kind = "Node" }), mirrorPod(), false},
		"Namespace": {"it is said elsewhere", podEvent(func(e *corev1.Event) { e.Namespace = "other" }), mirrorPod(), false},
		"Involved":  {"it is about a pod elsewhere", podEvent(func(e *corev1.Event) { e.InvolvedObject.Namespace = "other" }), mirrorPod(), false},
		"Name":      {"it is about a pod of another name", podEvent(func(e *corev1.Event) { e.InvolvedObject.Name = "other" }), mirrorPod(), false},
		"Hubs":      {"a pod of the hub's own", podEvent(), mirrorPod(func(pod *corev1.Pod) { pod.Labels = nil }), false},
		"Cluster":   {"a WEC says something of the pod of another one", podEvent(), mirrorPod(func(pod *corev1.Pod) { pod.Labels[stellarflow.LabelCluster] = "cluster2" }), false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := About(&tc.event, tc.mirror, "cluster1"); got != tc.want {
				t.Errorf("%s: About() = %t", tc.reason, got)
			}
		})
	}
}
