package integration

import (
	"context"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
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
