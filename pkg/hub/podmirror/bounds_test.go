package podmirror

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

func TestPace(t *testing.T) {
	const day = 24 * time.Hour
	for name, tc := range map[string]struct {
		reason string
		tries  []time.Duration // each is written if it need not wait
		waits  []time.Duration
	}{
		"Short":  {"a pod that lives for a moment", []time.Duration{0, 0, 10, 10, 20}, []time.Duration{0, 0, 0, 0, 0}},
		"Steady": {"one that changes each second", []time.Duration{0, 1 * time.Second, 2 * time.Second, 3 * time.Second, 4 * time.Second, 5 * time.Second, 6 * time.Second}, make([]time.Duration, 7)},
		"Fast":   {"one that changes all the time", []time.Duration{0, 0, 0, 0, 0, 0, 500 * time.Millisecond, time.Second, time.Second}, []time.Duration{0, 0, 0, 0, 0, time.Second, 500 * time.Millisecond, 0, time.Second}},
		"Again":  {"and rests for long", []time.Duration{0, 0, 0, 0, 0, 0, day, day, day, day, day, day}, []time.Duration{0, 0, 0, 0, 0, time.Second, 0, 0, 0, 0, 0, time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			p, key := &pods{read: map[types.NamespacedName]seen{}}, types.NamespacedName{Name: "hello"}
			var waits []time.Duration
			for _, at := range tc.tries {
				wait := p.wait(key, ended.Add(at))
				if waits = append(waits, wait); wait == 0 {
					p.wrote(key, ended.Add(at))
				}
			}
			if diff := cmp.Diff(tc.waits, waits); diff != "" {
				t.Errorf("%s: -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}

// TestForget: a pod that is gone is forgotten, and how often its name was written about as soon as that counts no more.
func TestForget(t *testing.T) {
	p, key := &pods{read: map[types.NamespacedName]seen{}, deleted: map[types.NamespacedName]Deletion{}}, types.NamespacedName{Name: "hello"}
	for range atOnce {
		p.wrote(key, ended)
	}
	p.remember(key, View{Now: ended}, running())
	p.forget(key, ended)
	if known := p.read[key]; known.version != (Version{}) || p.wait(key, ended) == 0 {
		t.Errorf("it is known as %+v", known)
	}
	p.forget(key, ended.Add(atOnce*pause))
	if len(p.read) > 0 {
		t.Errorf("%+v", p.read)
	}
}

// TestPutOff: that a pod was refused is remembered until it is read again or is gone, and is not held against another one of its name.
func TestPutOff(t *testing.T) {
	key, view := types.NamespacedName{Namespace: "argo", Name: "hello"}, View{Real: running(), Now: ended}
	another := running()
	another.UID = "another"
	for name, tc := range map[string]struct {
		reason string
		then   func(*pods)
		pod    metav1.Object
		want   Refusal
	}{
		"Refused":     {"it waits", func(*pods) {}, running(), Refusal{UID: "real", Until: ended.Add(lastBackoff)}},
		"Another":     {"another one does not", func(*pods) {}, another, Refusal{}},
		"Written":     {"what is written of it does not change that", func(p *pods) { p.wrote(key, ended) }, running(), Refusal{UID: "real", Until: ended.Add(lastBackoff)}},
		"Read":        {"it is tried again", func(p *pods) { p.remember(key, view, running()) }, running(), Refusal{}},
		"Gone":        {"it is gone", func(p *pods) { p.forget(key, ended) }, running(), Refusal{}},
		"WrittenGone": {"and how often it was written about counts still", func(p *pods) { p.wrote(key, ended); p.forget(key, ended) }, running(), Refusal{}},
	} {
		t.Run(name, func(t *testing.T) {
			p := &pods{read: map[types.NamespacedName]seen{}, deleted: map[types.NamespacedName]Deletion{}}
			if wait := p.putOff(nil, key, view, ""); wait != lastBackoff {
				t.Errorf("it waits %s", wait)
			}
			tc.then(p)
			if diff := cmp.Diff(tc.want, p.read[key].refused.of(tc.pod)); diff != "" {
				t.Errorf("%s: -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestSince(t *testing.T) {
	now := ended.Add(time.Hour)
	behind, ahead := finished(0), finished(0)
	ahead.Status.ContainerStatuses[1].State.Terminated.FinishedAt = metav1.NewTime(now.Add(time.Hour))
	for name, tc := range map[string]struct {
		reason string
		view   View
		pod    *corev1.Pod
		want   time.Time
	}{
		"Seen":        {"this manager has seen it run", View{Read: Version{"real", "6"}}, behind, now},
		"SeenAhead":   {"whatever the cluster's clock says", View{Read: Version{"real", "6"}}, ahead, now},
		"SeenBefore":  {"and has seen its end", View{Read: Version{"real", "6"}, Archived: now.Add(-time.Second)}, behind, now.Add(-time.Second)},
		"Shown":       {"a manager before has shown it run", View{Mirror: mirror(t)}, behind, now},
		"ShownEnded":  {"or has shown its end", View{Mirror: mirrorOf(t, finished(0))}, behind, ended},
		"NotSeen":     {"it ended before this manager began", View{}, behind, ended},
		"NotSeenYet":  {"or so it says", View{}, ahead, now},
		"SeenAnother": {"another pod of that name was seen", View{Read: Version{"old", "6"}, Archived: now.Add(-time.Second)}, behind, ended},
	} {
		t.Run(name, func(t *testing.T) {
			tc.view.Now = now
			if got := Since(tc.view, tc.pod); !got.Equal(tc.want) {
				t.Errorf("%s: got %s, want %s", tc.reason, got, tc.want)
			}
		})
	}
}

// TestStrip: what is left of a mirror is what is looked at.
func TestStrip(t *testing.T) {
	whole := mirrorOf(t, finished(0), asked(ended), going(ended), evicted(corev1.ConditionFalse))
	whole.UID, whole.ResourceVersion, whole.Finalizers, whole.Status.QOSClass = "mirror", "5", []string{"example.com/held"}, corev1.PodQOSBestEffort
	whole.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "hub"}}
	object, err := Strip(whole.DeepCopy())
	stripped, ok := object.(*corev1.Pod)
	if err != nil || !ok {
		t.Fatal(object, err)
	}
	want := whole.DeepCopy()
	want.ManagedFields, want.Spec = nil, corev1.PodSpec{NodeName: whole.Spec.NodeName}
	want.Status = corev1.PodStatus{Phase: corev1.PodSucceeded, QOSClass: corev1.PodQOSBestEffort, ContainerStatuses: whole.Status.ContainerStatuses[:1]}
	if diff := cmp.Diff(want, stripped); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if saved(stripped) != saved(whole) || Asked(stripped) != Asked(whole) || !saved(whole) || !Asked(whole) {
		t.Error("it says something else")
	}
	gone := mirror(t, evicted(corev1.ConditionTrue), asked(ended), going(ended))
	if object, err = Strip(gone.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	if stripped, ok = object.(*corev1.Pod); !ok || Asked(stripped) || len(stripped.Status.Conditions) != 1 {
		t.Errorf("an eviction is asked for, with conditions %v", stripped.Status.Conditions)
	}
	most := running()
	most.Spec.Containers, most.Status.ContainerStatuses = nil, nil
	for i := range maxContainers - len(most.Spec.InitContainers) {
		name := "c" + strconv.Itoa(i)
		most.Spec.Containers = append(most.Spec.Containers, corev1.Container{Name: name})
		most.Status.ContainerStatuses = append(most.Status.ContainerStatuses, corev1.ContainerStatus{Name: name, Image: strings.Repeat("i", maxText)})
	}
	if object, err = Strip(mirrorOf(t, most)); err != nil {
		t.Fatal(err)
	}
	if stripped, ok = object.(*corev1.Pod); !ok || stripped.Size() > 1024 {
		t.Errorf("%d bytes are kept of a large mirror", stripped.Size())
	}
	other := &corev1.Node{}
	if object, err := Strip(other); object != other || err != nil || stripped.Labels[stellarflow.LabelMirrorOf] == "" {
		t.Error(object, err)
	}
}
