package integration

import (
	"context"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/pkg/hub/podmirror"
)

// reads are the names of the pods that a manager reads of WECs, as it does.
type reads struct {
	mu   sync.Mutex
	pods []string
}

func (r *reads) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		if dir, name := path.Split(request.URL.Path); request.Method == http.MethodGet && strings.HasSuffix(dir, "/pods/") {
			r.mu.Lock()
			r.pods = append(r.pods, name)
			r.mu.Unlock()
		}
		return next.RoundTrip(request)
	})
}

func (r *reads) so() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.pods)
}

// TestMirroredPodsAfterARestart: what began while no manager ran is read before the many that finished long ago, and what is shown already not
// at all.
func TestMirroredPodsAfterARestart(t *testing.T) {
	m, manager := mirrorPods(t)
	m.begin(t, "hello-runs-1234567890")
	m.waitMirror(t, "hello-runs-1234567890", "the mirror", shows(corev1.PodRunning))
	manager.stop()
	const many = 100
	for i := range many {
		name := fmt.Sprintf("hello-ended-12345%d", i)
		m.begin(t, name)
		m.report(t, name, corev1.PodSucceeded, corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{FinishedAt: metav1.NewTime(metav1.Now().Add(-podmirror.Lingers))}})
	}
	last := m.real(t, fmt.Sprintf("hello-ended-12345%d", many-1)).CreationTimestamp
	for i := range 3 { // in a later second, which is as exactly as clusters say it
		eventually(t, "another second", func(context.Context) (bool, string) { return time.Now().After(last.Add(time.Second)), "" })
		m.begin(t, fmt.Sprintf("hello-new-12345%d", i))
	}
	var read reads
	later := shifted(time.Hour) // by when all of them are old
	dates := later.wecTransport
	later.hubTransport, later.wecTransport = dates, func(next http.RoundTripper) http.RoundTripper { return dates(read.wrap(next)) }
	later.kubelet = freeAddress(t)
	startManager(t, m.clusters, later)
	for i := range 3 {
		name := fmt.Sprintf("hello-new-12345%d", i)
		m.waitMirror(t, name, "the mirror", shows(corev1.PodRunning))
		if before := slices.Index(read.so(), name); before > many/4 {
			t.Errorf("%d pods were read before %s", before, name)
		}
	}
	eventually(t, "all others to be read", func(context.Context) (bool, string) {
		so := read.so()
		return len(so) >= many+3, fmt.Sprint(len(so))
	})
	if so := read.so(); slices.Contains(so, "hello-runs-1234567890") {
		t.Errorf("what is shown as it is was read: %v", so)
	}
	m.waitMirror(t, "hello-runs-1234567890", "its mirror still", shows(corev1.PodRunning))
}

// TestRefusedMirroredPods: a pod that the hub refuses is not tried again before a minute has gone by, however often it changes. Then it is.
func TestRefusedMirroredPods(t *testing.T) {
	var ahead atomic.Int64 // of everybody's clocks: nobody waits for them
	var read reads
	dates := dates(func() time.Duration { return time.Duration(ahead.Load()) })
	c, _, ns := setUp(t, managerOptions{
		kubelet: freeAddress(t), hubTransport: dates, wecTransport: func(next http.RoundTripper) http.RoundTripper { return dates(read.wrap(next)) },
		now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
	})
	m := mirroring{clusters: c, ns: ns}.run(t, "hello")
	const name, wait = "hello-refused-1234567890", time.Minute // docs/spec/pod.md
	times := func(name string) (n int) {
		for _, one := range read.so() {
			if one == name {
				n++
			}
		}
		return n
	}
	changes := func() {
		m.report(t, name, corev1.PodRunning, corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(time.Now().Add(time.Duration(ahead.Load())))}})
	}
	least := m.leastCPU(t)
	m.begin(t, name)
	m.hub.waitFor(t, ns, "hello", "the condition", saysUnseen("pod "+name+" is"))
	for i := range 3 {
		changes()
		after := fmt.Sprintf("hello-after-12345%d", i)
		m.begin(t, after)
		eventually(t, "one that came later to be read", func(context.Context) (bool, string) { return times(after) > 0, fmt.Sprint(read.so()) })
	}
	if n := times(name); n != 1 {
		t.Errorf("it was read %d times", n)
	}
	ahead.Add(int64(wait))
	eventually(t, "it to be read again", func(context.Context) (bool, string) {
		changes()
		return times(name) > 1, fmt.Sprint(read.so())
	})
	if err := c.hub.client.Delete(t.Context(), least); err != nil {
		t.Fatal(err)
	}
	ahead.Add(int64(wait))
	eventually(t, "the mirror", func(ctx context.Context) (bool, string) {
		changes()
		_, err := c.hub.core.CoreV1().Pods(ns).Get(ctx, name, metav1.GetOptions{})
		return err == nil, fmt.Sprint(err)
	})
}
