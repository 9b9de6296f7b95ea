package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// The container main of the Workflows here waits for gateFile, and writes then a line a second with its number and its time: as many as it is told,
// or until endFile is there.
const (
	endFile    = "/tmp/end"
	gatedTicks = `
import itertools, os, time
print("waits", flush=True)
while not os.path.exists("` + gateFile + `"): time.sleep(0.1)
print("begins", flush=True)
for i in itertools.count(1):
    print("line", i, "at", "%.3f" % time.time(), flush=True)
    if i == LINES or os.path.exists("` + endFile + `"): break
    time.sleep(1)
`
)

// ticks are the lines that count. They may be wrapped in what a client writes around them.
var ticks = regexp.MustCompile(`line (\d+) at (\d+\.\d+)`)

// tick is a line of a follower's.
type tick struct {
	number int
	lag    time.Duration // since it was printed
}

// line is what a follower got, and when.
type line struct {
	text string
	came time.Time
}

// follower reads a log while it is written.
type follower struct {
	name string
	end  context.CancelFunc
	done chan struct{}

	mu    sync.Mutex
	first bool // something has come
	ticks []tick
	text  []string // what has come before and beside the ticks
	all   []line   // both
	err   error    // why it ended, nil for an end that the other side made
}

// opener begins a stream that ends with the context.
type opener func(context.Context) (io.ReadCloser, error)

// follow begins to read a log.
func follow(t *testing.T, name string, open opener) *follower {
	t.Helper()
	ctx, end := context.WithTimeout(t.Context(), patience)
	l := &follower{name: name, end: end, done: make(chan struct{})}
	go func() {
		defer close(l.done)
		defer end()
		stream, err := open(ctx)
		if err == nil {
			err = errors.Join(l.read(stream), stream.Close())
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.err = err
	}()
	t.Cleanup(func() { end(); <-l.done })
	return l
}

func (l *follower) read(stream io.Reader) error {
	lines := bufio.NewScanner(stream)
	for lines.Scan() {
		now := time.Now()
		l.mu.Lock()
		l.first, l.all = true, append(l.all, line{lines.Text(), now})
		if found := ticks.FindStringSubmatch(lines.Text()); found != nil {
			number, _ := strconv.Atoi(found[1])
			printed, _ := strconv.ParseFloat(found[2], 64)
			l.ticks = append(l.ticks, tick{number, now.Sub(time.UnixMilli(int64(printed * 1000)))})
		} else {
			l.text = append(l.text, lines.Text())
		}
		l.mu.Unlock()
	}
	return lines.Err()
}

// last is the number of the last line.
func (l *follower) last() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ticks) == 0 {
		return 0
	}
	return l.ticks[len(l.ticks)-1].number
}

// awaitFirst waits until every follower has something.
func awaitFirst(t *testing.T, followers []*follower) {
	t.Helper()
	eventually(t, moment, "everybody who follows the log sees its beginning", func(context.Context) error {
		for _, l := range followers {
			l.mu.Lock()
			first, err := l.first, l.err
			l.mu.Unlock()
			if err != nil {
				return finalError{fmt.Errorf("%s: %w", l.name, err)}
			}
			if !first {
				return fmt.Errorf("%s has nothing", l.name)
			}
		}
		return nil
	})
}

// awaitLine waits until a follower has a line.
func (l *follower) awaitLine(t *testing.T, number int) {
	t.Helper()
	eventually(t, moment, fmt.Sprintf("%s has line %d", l.name, number), func(context.Context) error {
		if last := l.last(); last < number {
			return fmt.Errorf("the last one is %d", last)
		}
		return nil
	})
}

// ended waits for a follower's end.
func (l *follower) ended(t *testing.T) {
	t.Helper()
	<-l.done // within patience
}

// wantAll checks that every line came once and in order, and returns the greatest lag.
func (l *follower) wantAll(t *testing.T, count int) time.Duration {
	t.Helper()
	l.ended(t)
	if l.err != nil {
		t.Errorf("%s: %v", l.name, l.err)
	}
	if len(l.ticks) != count {
		t.Errorf("%s has %d lines, wanted %d", l.name, len(l.ticks), count)
	}
	var worst time.Duration
	for i, tick := range l.ticks {
		if tick.number != i+1 {
			t.Errorf("%s: line %d came where line %d was to come", l.name, tick.number, i+1)
			break
		}
		worst = max(worst, tick.lag)
	}
	return worst
}

// logged opens a container's log with client-go.
func (c *cluster) logged(namespace, pod string, options *corev1.PodLogOptions) opener {
	return func(ctx context.Context) (io.ReadCloser, error) {
		return c.core.CoreV1().Pods(namespace).GetLogs(pod, options).Stream(ctx)
	}
}

// served opens the log that the hub's Argo server streams, main's if the query names no other: as the UI asks for it if it is for events, else one
// JSON object a line.
func (f *fleet) served(namespace, workflow, accept string, query url.Values) opener {
	if !query.Has("logOptions.container") {
		query.Set("logOptions.container", "main")
	}
	query.Set("logOptions.follow", "true")
	return func(ctx context.Context) (io.ReadCloser, error) {
		path := fmt.Sprintf("%s/api/v1/workflows/%s/%s/log?%s", f.setting("ARGO_URL"), namespace, workflow, query.Encode())
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, path, http.NoBody)
		if err != nil {
			return nil, err
		}
		request.Header.Set("Accept", accept)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return nil, err
		}
		if response.StatusCode != http.StatusOK {
			return nil, errors.Join(fmt.Errorf("GET %s: %s", path, response.Status), response.Body.Close())
		}
		return response.Body, nil
	}
}

// written opens what a command writes. It ends with an error if the command does.
func (f *fleet) written(env []string, program string, args ...string) opener {
	return func(ctx context.Context) (io.ReadCloser, error) {
		command := exec.CommandContext(ctx, f.bin(program), args...)
		command.Env = append(command.Environ(), env...)
		command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
		var said strings.Builder
		command.Stderr = &said
		stdout, err := command.StdoutPipe()
		if err != nil {
			return nil, err
		}
		if err := command.Start(); err != nil {
			return nil, err
		}
		return output{stdout, command, &said}, nil
	}
}

// output is that of a command.
type output struct {
	io.Reader
	command *exec.Cmd
	said    *strings.Builder
}

// Close waits for the command's end.
func (o output) Close() error {
	if err := o.command.Wait(); err != nil {
		return fmt.Errorf("%s: %w: %s", o.command, err, strings.TrimSpace(o.said.String()))
	}
	return nil
}

// mirror waits until the hub shows the one pod of a Workflow as it runs.
func (f *fleet) mirror(t *testing.T, namespace, workflow string) *corev1.Pod {
	t.Helper()
	var found *corev1.Pod
	eventually(t, patience, "the hub shows the pod of "+workflow, func(ctx context.Context) error {
		list, err := f.hub.core.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{
			LabelSelector: stellarflow.LabelMirrorOf + "," + stellarflow.ArgoLabelWorkflow + "=" + workflow,
		})
		if err != nil {
			return err
		}
		if len(list.Items) != 1 || list.Items[0].Status.Phase == corev1.PodPending || list.Items[0].DeletionTimestamp != nil {
			return fmt.Errorf("%d pods are shown, and it does not run yet", len(list.Items))
		}
		found = &list.Items[0]
		return nil
	})
	return found
}
