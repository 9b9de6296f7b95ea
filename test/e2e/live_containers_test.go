package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// earlyLines is how many lines, one a second, the first init container of ours writes.
const earlyLines = 5

// container is one beside main whose log is followed: first on its cluster itself, then in the ways that people of the hub have, kubectl's first.
type container struct {
	name      string
	followers []*follower
}

// followed follows a container of the pod. A line has when its cluster's container runtime got it.
func (l live) followed(t *testing.T, name string) container {
	t.Helper()
	query := url.Values{"podName": {l.pod}, "logOptions.container": {name}, "logOptions.timestamps": {"true"}}
	return container{name, []*follower{
		follow(t, name+" on cluster1 itself", l.wecs["cluster1"].logged(l.namespace, l.pod, &corev1.PodLogOptions{Container: name, Follow: true, Timestamps: true})),
		follow(t, name+" by kubectl logs -f", l.written(nil, "kubectl", "--kubeconfig", l.hub.kubeconfig, "-n", l.namespace, "logs", "-f", "--timestamps", l.pod, "-c", name)),
		follow(t, name+" by argo logs -f", l.written(l.argoServer(), "argo", "logs", "-n", l.namespace, "live", "-f", "--timestamps", "-c", name, "--no-color")),
		follow(t, name+" by the Argo server's log API", l.served(l.namespace, "live", "text/event-stream", query)),
	}}
}

// initializes finds the pod, follows the log of its init container early while that runs, and then lets it go on. It returns when the pod runs.
func (l live) initializes(t *testing.T) (live, container) {
	t.Helper()
	eventually(t, patience, "the hub shows the init container that runs", func(ctx context.Context) error {
		list, err := l.hub.core.CoreV1().Pods(l.namespace).List(ctx, metav1.ListOptions{LabelSelector: stellarflow.LabelMirrorOf + "," + stellarflow.ArgoLabelWorkflow + "=live"})
		if err != nil {
			return err
		}
		for i := range list.Items {
			if slices.ContainsFunc(list.Items[i].Status.InitContainerStatuses, func(s corev1.ContainerStatus) bool { return s.Name == "early" && s.State.Running != nil }) {
				l.pod = list.Items[i].Name
				return nil
			}
		}
		return fmt.Errorf("not in %d pods", len(list.Items))
	})
	early := l.followed(t, "early")
	// Argo's server opens the log of no pod that is Pending, and this one is until its init containers have ended (argo-workflows v3.7.18 util/logs,
	// ensureWeAreStreaming): its followers get these lines then, all at once.
	awaitFirst(t, early.followers[:2])
	l.kubectl(t, l.hub, "-n", l.namespace, "exec", l.pod, "-c", "early", "--", "touch", gateFile)
	l.mirror(t, l.namespace, "live")
	return l, early
}

// stamped is a line of a log with its time. Argo's CLI writes the pod's name before it.
var stamped = regexp.MustCompile(`(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z) .*`)

// whole is what a follower has: its lines from the time on, and how late the latest came. Those that were there before it are late by what comes
// after its first.
func (l *follower) whole() (lines []string, worst time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var first time.Time
	for _, one := range l.all {
		text := one.text
		if data, isEvent := strings.CutPrefix(text, "data: "); isEvent {
			var event struct{ Result struct{ Content string } }
			if err := json.Unmarshal([]byte(data), &event); err != nil {
				return nil, 0, fmt.Errorf("%q: %w", text, err)
			}
			text = event.Result.Content
		}
		if text == "" || text == ":" {
			continue // between events, and before the first
		}
		found := stamped.FindStringSubmatch(text)
		if found == nil {
			return nil, 0, fmt.Errorf("%q has no time", text)
		}
		printed, err := time.Parse(time.RFC3339Nano, found[1])
		if err != nil {
			return nil, 0, err
		}
		if first.IsZero() {
			first = one.came
		}
		if printed.Before(first) {
			printed = first
		}
		lines, worst = append(lines, found[0]), max(worst, one.came.Sub(printed))
	}
	return lines, worst, l.err
}

// wantWhole waits for the ends, and checks that every line came once, in order and in time.
func (c container) wantWhole(t *testing.T) {
	t.Helper()
	var wanted []string
	var slowest time.Duration
	for i, one := range c.followers {
		one.ended(t)
		lines, late, err := one.whole()
		if err != nil {
			t.Errorf("%s: %v", one.name, err)
		}
		if t.Logf("%s: %d lines, worst %.2f s", one.name, len(lines), late.Seconds()); i == 0 {
			wanted, slowest = lines, late
			continue
		}
		if diff := cmp.Diff(wanted, lines); diff != "" {
			t.Errorf("%s has other lines (-cluster1 +hub):\n%s", one.name, diff)
		}
		if late >= liveWithin+slowest {
			t.Errorf("%s: a line came %.2f s after it was printed, wanted less than %s; cluster1 itself took %.2f s at most", one.name, late.Seconds(), liveWithin, slowest.Seconds())
		}
	}
	if least := map[string]int{"early": earlyLines, "side": liveLines, "wait": 2}[c.name]; len(wanted) < least {
		t.Errorf("the log of %s has %d lines, wanted at least %d", c.name, len(wanted), least)
	}
}

// forwards has two connections at once to the sidecar, through one port of this machine: what goes over the one goes in the midst of what goes over
// the other, in both directions.
func (l live) forwards(t *testing.T) {
	const size = 4 << 20
	forward := follow(t, "kubectl port-forward", l.written(nil, "kubectl", "--kubeconfig", l.hub.kubeconfig, "-n", l.namespace, "port-forward", "--address=127.0.0.1", "pod/"+l.pod, ":8000"))
	awaitFirst(t, []*follower{forward})
	forward.mu.Lock()
	said := forward.text[0] // Forwarding from 127.0.0.1:12345 -> 8000
	forward.mu.Unlock()
	address, _, _ := strings.Cut(strings.TrimPrefix(said, "Forwarding from "), " ")
	a, b := visit(t, address), visit(t, address)
	a.says(t, fmt.Sprintf("GET /a%d HT", size))
	b.says(t, fmt.Sprintf("GET /b%d HTTP/1.0\r\n\r\n", size))
	if err := b.gets("b", 1); err != nil {
		t.Fatalf("the second connection while the first one's request is not whole: %v", err)
	}
	a.says(t, "TP/1.0\r\n\r\n")
	if err := a.gets("a", 1); err != nil {
		t.Fatalf("the first connection while the second one's answer has not been read: %v", err)
	}
	var both sync.WaitGroup
	for letter, one := range map[string]*visitor{"a": a, "b": b} {
		both.Go(func() {
			if err := one.gets(letter, size-1); err != nil {
				t.Errorf("connection %s: %v", letter, err)
			}
			if more, err := one.answer.Read(make([]byte, 1)); more > 0 || !errors.Is(err, io.EOF) {
				t.Errorf("connection %s has no end: %d, %v", letter, more, err)
			}
		})
	}
	both.Wait()
}

// visitor is a connection to the sidecar.
type visitor struct {
	connection net.Conn
	answer     io.Reader // nil before it has begun
}

func visit(t *testing.T, address string) *visitor {
	t.Helper()
	connection, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	if err := connection.SetDeadline(time.Now().Add(moment)); err != nil {
		t.Fatal(err)
	}
	return &visitor{connection: connection}
}

func (v *visitor) says(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(v.connection, text); err != nil {
		t.Fatal(err)
	}
}

// gets reads the next bytes of the answer, which has one letter only.
func (v *visitor) gets(letter string, count int) error {
	if v.answer == nil {
		response, err := http.ReadResponse(bufio.NewReader(v.connection), nil) //nolint:bodyclose // it ends with the connection
		if err != nil {
			return err
		}
		v.answer = response.Body
	}
	got := make([]byte, count)
	if n, err := io.ReadFull(v.answer, got); err != nil || string(got) != strings.Repeat(letter, count) {
		return fmt.Errorf("%d bytes came (%w), wanted %d times %s", n, err, count, letter)
	}
	return nil
}
