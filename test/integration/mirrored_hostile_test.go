package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/upsync"
	"stellarflow.io/stellarflow/pkg/wec"
)

// lies are what a cluster answers who reads a pod that it has, by the pod's name, and how often it did.
type lies struct {
	tell map[string]func(*corev1.Pod)
	mu   sync.Mutex
	told map[string]int
}

func (l *lies) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		dir, name := path.Split(r.URL.Path)
		lie := l.tell[name]
		if lie == nil || r.Method != http.MethodGet || !strings.HasSuffix(dir, "/pods/") {
			return next.RoundTrip(r)
		}
		r = r.Clone(r.Context())
		r.Header.Set("Accept", "application/json")
		response, err := next.RoundTrip(r)
		if err != nil || response.StatusCode != http.StatusOK {
			return response, err
		}
		var pod corev1.Pod
		err = json.NewDecoder(response.Body).Decode(&pod)
		_ = response.Body.Close()
		if err != nil {
			return nil, err
		}
		lie(&pod)
		raw, err := json.Marshal(&pod)
		if err != nil {
			return nil, err
		}
		response.Body, response.ContentLength = io.NopCloser(bytes.NewReader(raw)), int64(len(raw))
		response.Header.Del("Content-Length")
		l.mu.Lock()
		defer l.mu.Unlock()
		l.told[name]++
		return response, nil
	})
}

func (l *lies) so() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.told)
}

// mirrors watches the mirrored pods of a namespace until the test ends.
func (m mirroring) mirrors(t *testing.T) <-chan watch.Event {
	t.Helper()
	stream, err := m.hub.core.CoreV1().Pods(m.ns).Watch(t.Context(), metav1.ListOptions{LabelSelector: stellarflow.LabelMirrorOf})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stream.Stop)
	return stream.ResultChan()
}

// until takes changes until one is as wanted, and returns them.
func until(t *testing.T, changes <-chan watch.Event, what string, last func(watch.EventType, *corev1.Pod) bool) (pods []*corev1.Pod) {
	t.Helper()
	timeout := time.After(30 * time.Second)
	for {
		select {
		case change := <-changes:
			pod, ok := change.Object.(*corev1.Pod)
			if !ok {
				t.Fatalf("the watch ended: %+v", change)
			}
			if pods = append(pods, pod); last(change.Type, pod) {
				return pods
			}
		case <-timeout:
			t.Fatalf("%s did not happen in 30 s", what)
		}
	}
}

// TestMirroredPodsOfALyingCluster: what a cluster says of a pod when it is read is shown only if it is of just the pod that was asked for, and
// never under a name that Argo does not form for its Workflow, or forms for another one.
func TestMirroredPodsOfALyingCluster(t *testing.T) {
	const uid, owner, name, lags, huge = "hello-uid-1234567890", "hello-owner-1234567890", "hello-name-1234567890", "hello-lags-1234567890", "hello-huge-1234567890"
	lying := lies{told: map[string]int{}, tell: map[string]func(*corev1.Pod){
		uid:   func(p *corev1.Pod) { p.UID = "another" },
		owner: func(p *corev1.Pod) { p.OwnerReferences[0].UID = "another" },
		name:  func(p *corev1.Pod) { p.Name = "hello-other-1234567890" },
		lags: func(p *corev1.Pod) { // as one that has changed since its watch said something
			p.ResourceVersion += "0"
			p.Status.Phase = corev1.PodSucceeded
			p.CreationTimestamp = metav1.NewTime(time.Now().Add(-time.Hour))
			ended := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{FinishedAt: p.CreationTimestamp}}
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "wait", State: ended}, {Name: "main", State: ended}}
		},
		huge: func(p *corev1.Pod) { p.Status.Message = strings.Repeat("x", wec.MaxObject) },
	}}
	c, _, ns := setUp(t, managerOptions{kubelet: freeAddress(t), wecTransport: lying.wrap})
	m := mirroring{clusters: c, ns: ns}.run(t, "hello")
	c.submit(t, ns, "hello-2", "nowhere")
	changes := m.mirrors(t)
	for pod := range lying.tell {
		m.begin(t, pod)
	}
	for _, pod := range []string{"hello-0", "hello-main", "hello-2", "hello-2-1234567890", "hello-2-main-1234567890"} {
		m.begin(t, pod)
	}
	honest := []string{"hello", "hello-1234567890", "hello-main-1234567890", "hello-1340600742-agent"}
	for _, pod := range honest {
		m.begin(t, pod)
		m.waitMirror(t, pod, "the mirror", shows(corev1.PodRunning))
	}
	eventually(t, "each lie to be told again", func(context.Context) (bool, string) {
		told := lying.so()
		return told[uid] > 2 && told[owner] > 2 && told[name] > 2 && told[lags] > 0, fmt.Sprint(told)
	})
	if told := lying.so(); told[lags] > 5 {
		t.Errorf("a pod of which the watch lags was read %d times", told[lags])
	}
	m.hub.waitFor(t, ns, "hello", "the condition", saysUnseen("it cannot be read on cluster cluster1: the answer of cluster cluster1 to GET"))
	m.begin(t, "hello-last-1234567890")
	for _, pod := range until(t, changes, "a last one", func(_ watch.EventType, p *corev1.Pod) bool { return p.Name == "hello-last-1234567890" }) {
		if pod.Name != "hello-last-1234567890" && !slices.Contains(honest, pod.Name) {
			t.Errorf("pod %s is shown, of pod %s", pod.Name, pod.Labels[stellarflow.LabelMirrorOf])
		}
	}
}

// TestMirroredPodsAreBounded: one pod of many words is shown with fewer, one of too many containers is not, which is said, and one that changes
// all the time is not written as often.
func TestMirroredPodsAreBounded(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{kubelet: freeAddress(t)})
	m := mirroring{clusters: c, ns: ns}.run(t, "hello")
	containers := func(n int) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			for i := len(p.Spec.Containers); i < n; i++ {
				p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: fmt.Sprintf("c%d", i), Image: "busybox"})
			}
		}
	}
	words := func(name string, n int, word string) {
		t.Helper()
		pod := m.real(t, name)
		pod.Status.ContainerStatuses = nil
		for _, container := range pod.Spec.Containers[:n] {
			pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{
				Name: container.Name, Image: word, ImageID: word, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: word, Message: word}},
			})
		}
		if _, err := m.wec.core.CoreV1().Pods(ns).UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	const large, tooLarge, busy = "hello-large-1234567890", "hello-toolarge-1234567890", "hello-busy-1234567890"
	m.begin(t, large, containers(32))
	words(large, 32, strings.Repeat("w", 2000))
	mirror := m.waitMirror(t, large, "a mirror with all containers", func(p *corev1.Pod) bool {
		return shows(corev1.PodRunning)(p) && len(p.Status.ContainerStatuses) == 32
	})
	if size := mirror.Size(); size > 100<<10 {
		t.Errorf("the mirror takes %d bytes", size)
	}
	m.begin(t, tooLarge, containers(33))
	c.hub.waitFor(t, ns, "hello", "a word of the one that is not shown", func(w *unstructured.Unstructured) bool {
		return strings.Contains(describe(w), upsync.ConditionLogsFromS3) && strings.Contains(describe(w), "33 containers, more than 32")
	})
	m.begin(t, busy)
	m.waitMirror(t, busy, "the mirror", shows(corev1.PodRunning))
	changes, begun := m.mirrors(t), time.Now()
	const n = 100
	for i := range n {
		words(busy, 1, fmt.Sprintf("change %d", i+1))
	}
	written := 0
	for _, pod := range until(t, changes, "the last change", func(_ watch.EventType, p *corev1.Pod) bool {
		return p.Name == busy && len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].Image == fmt.Sprintf("change %d", n)
	}) {
		if pod.Name == busy {
			written++
		}
	}
	if most := 7 + int(time.Since(begun)/time.Second); written > most {
		t.Errorf("%d changes of one pod made %d writes, want at most %d", n, written, most)
	}
}
