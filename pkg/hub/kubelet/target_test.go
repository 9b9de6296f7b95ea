package kubelet

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// withTarget changes what is known of pod argo/a.
func withTarget(change func(*Target)) func(*Server, placed) {
	return func(_ *Server, pods placed) {
		a := types.NamespacedName{Namespace: "argo", Name: "a"}
		target := pods[a]
		change(&target)
		pods[a] = target
	}
}

// TestCheck: nothing acts in a pod that is not the one that is meant; a log is read all the same.
func TestCheck(t *testing.T) {
	const attach, forward = "/attach/argo/a/main?output=1", "/portForward/argo/a?port=80"
	missing := apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, "a")
	other := errors.New("another pod has this name")
	refused := &url.Error{Op: "Get", URL: "https://wec", Err: errors.New("dial tcp: connect: connection refused")}
	for name, tc := range map[string]struct {
		reason string
		path   string
		finds  error
		code   int
		says   string
	}{
		"Meant":        {"as it should be", execInA, nil, 101, ""},
		"Gone":         {"no such pod", execInA, missing, 404, `cluster cluster1: pod argo/a: pods "a" not found`},
		"GoneWrapped":  {"whatever is said with it", execInA, fmt.Errorf("get\x1bit: %w", missing), 404, "cluster cluster1: pod argo/a: get\ufffdit: pods \"a\" not found"},
		"Other":        {"another one", execInA, other, 409, "cluster cluster1: pod argo/a: another pod has this name"},
		"OtherAttach":  {"so with attach", attach, other, 409, "cluster cluster1: pod argo/a: another pod has this name"},
		"OtherForward": {"and with port-forward", forward, other, 409, "cluster cluster1: pod argo/a: another pod has this name"},
		"Unreachable":  {"nothing is known of the pod", execInA, refused, 502, "cluster cluster1 cannot be reached for pod argo/a: connection refused: try again when it is back"},
		"Log":          {"it changes nothing", logOfA, other, 200, "a line\n"},
	} {
		t.Run(name, func(t *testing.T) {
			asked, ended := make(chan string, 1), make(chan struct{})
			acts := echo(asked, ended)
			e := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/log") {
					says("a line\n")(w, r)
					return
				}
				acts(w, r)
			}), withTarget(func(target *Target) { target.Check = func(context.Context) error { return tc.finds } }), func(s *Server, _ placed) {
				s.Limits = Limits{All: 1, Cluster: 1, Namespace: 1}
			})
			if tc.path == logOfA {
				if code, text := e.ask(e.apiServer(), "GET", tc.path); code != tc.code || text != tc.says {
					t.Errorf("%s: %d %q, want %d %q", tc.reason, code, text, tc.code, tc.says)
				}
				return
			}
			for range 2 { // a refusal takes no place
				response, _, _ := e.upgrade("POST", tc.path, "SPDY/3.1")
				if response.StatusCode == http.StatusSwitchingProtocols && tc.code == response.StatusCode {
					return
				}
				raw, _ := io.ReadAll(response.Body)
				if response.StatusCode != tc.code || string(raw) != tc.says {
					t.Errorf("%s: %d %q, want %d %q", tc.reason, response.StatusCode, raw, tc.code, tc.says)
				}
			}
			if len(asked) > 0 {
				t.Errorf("%s: the cluster is asked for %s", tc.reason, <-asked)
			}
		})
	}
}

// TestDone: streams end when their pod is not to be seen any more, at whatever they are.
func TestDone(t *testing.T) {
	target := func(done chan struct{}) func(*Server, placed) {
		return withTarget(func(target *Target) { target.Done = done })
	}
	t.Run("Follow", func(t *testing.T) {
		l, done := &lines{add: make(chan string), ended: make(chan struct{})}, make(chan struct{})
		e := start(t, l, target(done))
		go func() { l.add <- "line" }()
		response := e.do(t.Context(), e.apiServer(), "GET", logOfA+"?follow=true")
		read := bufio.NewReader(response.Body)
		if line, err := read.ReadString('\n'); err != nil || line != "line\n" {
			t.Fatalf("the log is %q, %v", line, err)
		}
		close(done)
		e.within("the end of the request to the cluster", l.ended)
		if _, err := io.ReadAll(read); err == nil {
			t.Error("a log that was cut looks as if it had ended")
		}
	})
	t.Run("Exec", func(t *testing.T) {
		asked, ended, done := make(chan string, 1), make(chan struct{}), make(chan struct{})
		e := start(t, echo(asked, ended), target(done))
		_, connection, read := e.upgrade("POST", execInA, "SPDY/3.1")
		_, _ = io.WriteString(connection, "hello\n")
		if line, err := read.ReadString('\n'); err != nil || line != "hello\n" {
			t.Fatalf("it repeats %q, %v", line, err)
		}
		close(done)
		e.within("the end on the cluster", ended)
		if _, err := read.ReadByte(); err == nil {
			t.Error("the caller's connection is left")
		}
	})
	const gone = "cluster cluster1: pod argo/a: the pod is not to be seen any more: its Workflow has left the cluster or is gone, its policy shows no pods, or the cluster has left"
	t.Run("Unanswered", func(t *testing.T) {
		done := make(chan struct{})
		e := start(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			close(done)
			<-r.Context().Done()
			panic(http.ErrAbortHandler) // its answer could still come
		}), target(done))
		if code, text := e.ask(e.apiServer(), "GET", logOfA); code != 404 || text != gone {
			t.Errorf("%d %q", code, text)
		}
	})
	t.Run("InCheck", func(t *testing.T) {
		done := make(chan struct{})
		e := start(t, says("x"), withTarget(func(target *Target) {
			target.Done = done
			target.Check = func(ctx context.Context) error {
				close(done)
				<-ctx.Done()
				return ctx.Err()
			}
		}))
		response, _, _ := e.upgrade("POST", execInA, "SPDY/3.1")
		if raw, _ := io.ReadAll(response.Body); response.StatusCode != 404 || string(raw) != gone {
			t.Errorf("%d %q", response.StatusCode, raw)
		}
	})
	t.Run("CallerDoesNotRead", func(t *testing.T) {
		done, ended := make(chan struct{}), make(chan struct{})
		var printed atomic.Int64
		e := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("follow") == "" {
				says("b\n")(w, r)
				return
			}
			defer close(ended)
			for block := strings.Repeat("x", 1<<20); r.Context().Err() == nil; {
				if _, err := io.WriteString(w, block); err != nil {
					return
				}
				printed.Add(1)
			}
		}), target(done), func(s *Server, pods placed) {
			s.Limits = Limits{All: 1, Cluster: 1, Namespace: 1}
			b := pods[types.NamespacedName{Namespace: "argo", Name: "a"}]
			b.Done = nil
			pods[types.NamespacedName{Namespace: "argo", Name: "b"}] = b
		})
		e.do(t.Context(), e.apiServer(), "GET", logOfA+"?follow=true")
		last, still := int64(0), 0
		e.eventually("a cluster that is held up", func() bool {
			now := printed.Load()
			if still++; now != last {
				last, still = now, 0
			}
			return last > 0 && still > 20
		})
		close(done)
		e.within("the end on the cluster", ended)
		e.eventually("a free place", func() bool {
			code, _ := e.ask(e.apiServer(), "GET", "/containerLogs/argo/b/main")
			return code == 200
		})
	})
}

// TestManagerEndsBeforeTheAnswer: that is said; an empty answer would look like an empty log.
func TestManagerEndsBeforeTheAnswer(t *testing.T) {
	asked := make(chan struct{})
	e := start(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
		panic(http.ErrAbortHandler) // its answer could still come
	}))
	go func() {
		<-asked
		e.stop()
	}()
	if code, text := e.ask(e.apiServer(), "GET", logOfA); code != 503 || text != "cluster cluster1: pod argo/a: this hub manager ends: try again in some seconds" {
		t.Errorf("%d %q", code, text)
	}
}
