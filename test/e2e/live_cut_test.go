package e2e

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// cutLines is for how many lines, one a second, a cluster is cut off.
const cutLines = 10

// testStreams follows a log while its cluster is cut off for some seconds, which the stream outlives, and while the leader ends, which it does not: then
// a new request has everything.
func testStreams(t *testing.T, f *fleet) {
	namespace, wec := f.newNamespace(t, "streams"), f.wecs["cluster1"]
	f.create(t, namespace, suspended("streams", wec.name, fmt.Sprintf("- name: main\n  container: {image: \"python:alpine3.6\", command: [python3, -c], args: [%q]}", strings.ReplaceAll(gatedTicks, "LINES", "0"))))
	pod := f.mirror(t, namespace, "streams").Name
	logs := &corev1.PodLogOptions{Container: "main", Follow: true}
	ways := func() []*follower {
		return []*follower{
			follow(t, "argo logs -f", f.written(f.argoServer(), "argo", "logs", "-n", namespace, "streams", "-f", "-c", "main", "--no-color")),
			follow(t, "the Argo server's log API", f.served(namespace, "streams", "text/event-stream", url.Values{"podName": {pod}})),
			follow(t, "kubectl logs -f", f.written(nil, "kubectl", "--kubeconfig", f.hub.kubeconfig, "-n", namespace, "logs", "-f", pod, "-c", "main")),
		}
	}
	there, before := follow(t, "cluster1 itself", wec.logged(namespace, pod, logs)), ways()
	awaitFirst(t, append(before[:len(before):len(before)], there))
	f.openGate(t, wec, namespace, "streams")
	for _, l := range before {
		l.awaitLine(t, 3)
	}
	t.Cleanup(func() { f.mend(t) })
	f.do(t, "cut", wec.name)
	last := there.last()
	there.awaitLine(t, last+cutLines)
	for _, l := range before {
		if got := l.last(); got > last+2 {
			t.Errorf("%s has line %d of a cluster that is cut off since line %d", l.name, got, last)
		}
	}
	f.do(t, "heal", wec.name)
	for _, l := range before {
		l.awaitLine(t, there.last()+1)
	}

	f.endLeader(t, f.awaitManagers(t)[0].Name)
	kubectl := before[2]
	kubectl.ended(t)
	for _, l := range before {
		l.wantPart(t)
	}
	// A new request reaches the next leader as soon as the Node has its address.
	eventually(t, moment, "the log after a change of the leader", func(ctx context.Context) error {
		raw, err := f.hub.core.CoreV1().Pods(namespace).GetLogs(pod, &corev1.PodLogOptions{Container: "main", TailLines: ptr.To[int64](2)}).DoRaw(ctx)
		if lines := ticks.FindAllString(string(raw), -1); err == nil && len(lines) != 2 {
			err = finalError{fmt.Errorf("its last 2 lines are %q", raw)}
		}
		return err
	})
	after := ways()
	awaitFirst(t, after)
	for _, l := range after {
		l.awaitLine(t, there.last()+1)
	}
	f.kubectl(t, f.hub, "-n", namespace, "exec", pod, "-c", "main", "--", "touch", endFile)
	f.awaitRun(t, namespace, "streams", wec.name, 1)
	there.ended(t)
	for _, l := range append(after, there) {
		l.wantAll(t, there.last())
	}
}

// wantPart checks that what came of a log is its beginning, every line once and in order.
func (l *follower) wantPart(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, tick := range l.ticks {
		if tick.number != i+1 {
			t.Errorf("%s: line %d came where line %d was to come", l.name, tick.number, i+1)
			return
		}
	}
}
