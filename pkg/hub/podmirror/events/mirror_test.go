package events

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// side is the Events of a WEC, which answers page after page, or of the hub, which refuses those about one pod.
type side struct {
	corev1client.EventInterface
	pages   [][]corev1.Event
	endless bool
	err     error
	refuses string

	asked []metav1.ListOptions
	made  []string
}

func (s *side) Events(string) corev1client.EventInterface { return s }

func (s *side) List(_ context.Context, options metav1.ListOptions) (*corev1.EventList, error) {
	s.asked = append(s.asked, options)
	if s.err != nil {
		return nil, s.err
	}
	n := 0
	if options.Continue != "" {
		_, _ = fmt.Sscan(options.Continue, &n)
	}
	list := &corev1.EventList{Items: s.pages[min(n, len(s.pages)-1)]}
	if s.endless || n+1 < len(s.pages) {
		list.Continue = fmt.Sprint(n + 1)
	}
	return list, nil
}

func (s *side) Create(_ context.Context, event *corev1.Event, _ metav1.CreateOptions) (*corev1.Event, error) {
	if event.InvolvedObject.Name == s.refuses {
		return nil, errors.New("refused")
	}
	s.made = append(s.made, event.InvolvedObject.Name+" "+event.Message)
	return event, nil
}

// between returns a Mirror between two sides that knows the mirrors of the pods w-1 to w-9.
func between(wec, hub *side) *Mirror {
	return New(Options{Cluster: "cluster1", WEC: wec, Hub: hub, Log: logr.Discard(), Shown: func(pod types.NamespacedName) *corev1.Pod {
		if pod.Name > "w-9" {
			return nil
		}
		return mirrorPod(func(mirror *corev1.Pod) {
			mirror.Name, mirror.UID, mirror.Labels[stellarflow.LabelMirrorOf] = pod.Name, types.UID("mirror-of-"+pod.Name), "real-"+pod.Name
		})
	}})
}

func said(pod, message string) corev1.Event {
	return podEvent(func(e *corev1.Event) {
		e.UID, e.InvolvedObject.Name, e.InvolvedObject.UID, e.Message = types.UID(message), pod, types.UID("real-"+pod), message
	})
}

func look(t *testing.T, m *Mirror, pods ...string) {
	t.Helper()
	for _, pod := range pods {
		m.Look(types.NamespacedName{Namespace: "argo", Name: pod})
	}
	m.look(t.Context(), "argo")
}

// TestLookReadsANamespaceOnce: a WEC reads all Events of a namespace for each list, whichever it is asked for.
func TestLookReadsANamespaceOnce(t *testing.T) {
	wec := &side{pages: [][]corev1.Event{{said("w-1", "a"), said("w-3", "of one that does not wait")}, {said("w-2", "b"), said("w-1", "c")}}}
	hub := &side{}
	m := between(wec, hub)
	look(t, m, "w-1", "w-2", "w-unknown")
	if diff := cmp.Diff([]string{"w-1 a", "w-2 b", "w-1 c"}, hub.made); diff != "" {
		t.Errorf("what was written (-want +got):\n%s", diff)
	}
	want := []metav1.ListOptions{{FieldSelector: "involvedObject.kind=Pod", Limit: page}, {FieldSelector: "involvedObject.kind=Pod", Limit: page, Continue: "1"}}
	if diff := cmp.Diff(want, wec.asked); diff != "" {
		t.Errorf("what was asked (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]map[string]int{"argo": {"w-unknown": 1}}, m.waiting); diff != "" {
		t.Errorf("what waits (-want +got):\n%s", diff)
	}
	for range tries {
		look(t, m)
	}
	if len(wec.asked) != 2 || len(m.waiting) > 0 {
		t.Errorf("for a pod that has no mirror it asked %d times in all, and waits for %v", len(wec.asked), m.waiting)
	}
	look(t, m, "w-1", "w-2")
	if len(hub.made) != 3 {
		t.Errorf("what was written is written again: %v", hub.made)
	}
}

// TestLookFails: what fails is tried again so many times, and for the pods for which it failed.
func TestLookFails(t *testing.T) {
	down := &side{err: errors.New("down")}
	m := between(down, &side{})
	look(t, m, "w-1", "w-2")
	if diff := cmp.Diff(map[string]map[string]int{"argo": {"w-1": 1, "w-2": 1}}, m.waiting); diff != "" || m.queue.NumRequeues("argo") != 1 {
		t.Errorf("after %d tries waits (-want +got):\n%s", m.queue.NumRequeues("argo"), diff)
	}
	look(t, m, "w-3")
	if diff := cmp.Diff(map[string]map[string]int{"argo": {"w-1": 2, "w-2": 2, "w-3": 1}}, m.waiting); diff != "" || m.queue.NumRequeues("argo") != 2 {
		t.Errorf("after %d tries waits (-want +got):\n%s", m.queue.NumRequeues("argo"), diff)
	}
	for range tries {
		look(t, m)
	}
	if len(m.waiting) > 0 || m.queue.NumRequeues("argo") != 0 || len(down.asked) != tries+1 {
		t.Errorf("it asked %d times, and waits for %v", len(down.asked), m.waiting)
	}

	hub := &side{refuses: "w-1"}
	m = between(&side{pages: [][]corev1.Event{{said("w-1", "a"), said("w-1", "b"), said("w-2", "c")}}}, hub)
	look(t, m, "w-1", "w-2")
	if diff := cmp.Diff(map[string]map[string]int{"argo": {"w-1": 1}}, m.waiting) + cmp.Diff([]string{"w-2 c"}, hub.made); diff != "" {
		t.Errorf("one that the hub refuses holds up another (-want +got):\n%s", diff)
	}
}

// TestHostile: a WEC that says ever more costs neither memory nor time without end.
func TestHostile(t *testing.T) {
	endless := &side{pages: [][]corev1.Event{slices.Repeat([]corev1.Event{said("w-1", "a")}, page+1)}, endless: true}
	hub := &side{}
	m := between(endless, hub)
	look(t, m, "w-1")
	if len(endless.asked) != pages || len(hub.made) != 1 || len(m.waiting) > 0 {
		t.Errorf("it asked %d times, wrote %v and waits for %v", len(endless.asked), hub.made, m.waiting)
	}

	m = between(endless, hub)
	event := func(n int) key { return key{byte(n), byte(n >> 8)} }
	for n := range maxWritten {
		m.remember(types.UID(fmt.Sprint(n/maxEvents)), event(n), Written{})
	}
	m.remember("0", event(0), Written{count: 2})
	if _, known, full := m.before("0", event(0)); !known || !full || m.entries != maxWritten {
		t.Errorf("known %t, full %t, of %d events", known, full, m.entries)
	}
	m.Forget("0")
	m.Forget("unknown")
	if _, known, full := m.before("0", event(0)); known || full || m.entries != maxWritten-maxEvents {
		t.Errorf("after it was forgotten: known %t, full %t, of %d events", known, full, m.entries)
	}
	for n := range maxEvents + 1 {
		m.remember("new", event(n), Written{})
	}
	if m.entries != 1 || len(m.written) != 1 {
		t.Errorf("%d events of %d mirrors are remembered", m.entries, len(m.written))
	}
}
