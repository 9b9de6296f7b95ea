package kubelet

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/hub/certificate"
	"stellarflow.io/stellarflow/pkg/wec"
)

const (
	logOfA  = "/containerLogs/argo/a/main"
	execInA = "/exec/argo/a/main?command=sh&output=1"
)

// says answers with a log.
func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

func TestWhoMay(t *testing.T) {
	var asked atomic.Int64
	e := start(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = io.WriteString(w, "a line\n")
	}))
	others := authorityOf(t, "others")
	of := func(name string, change ...func(*x509.Certificate)) *tls.Certificate {
		return person(t, e.clients, name, change...)
	}
	cases := map[string]struct {
		reason       string
		who          *tls.Certificate
		method, path string
		code         int
		says         string
	}{
		"APIServer":       {"it may do everything", of("apiserver"), "GET", logOfA, 200, "a line"},
		"Reader":          {"a right to this Node is enough", of("reader"), "GET", logOfA, 200, "a line"},
		"Nobody":          {"no certificate", nil, "GET", logOfA, 401, "no client certificate"},
		"NobodyElsewhere": {"nor anywhere else", nil, "GET", "/metrics", 401, "no client certificate"},
		"OtherCA":         {"a certificate of another CA with a known name", person(t, others, "apiserver"), "GET", logOfA, 401, "not accepted"},
		"OtherCAPath":     {"nor anywhere else", person(t, others, "apiserver"), "GET", "/", 401, "not accepted"},
		"Expired":         {"not any more", of("apiserver", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), "GET", logOfA, 401, "not accepted"},
		"ServerOnly":      {"a certificate for servers is none of a client", of("apiserver", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), "GET", logOfA, 401, "not accepted"},
		"Nameless":        {"a certificate without a name", of(""), "GET", logOfA, 401, "names nobody"},
		"NoRights":        {"a node of the hub", of("system:node:x"), "GET", logOfA, 403, `"system:node:x" may not get nodes/proxy`},
		"NoRightsPod":     {"it does not learn that there is no such pod", of("system:node:x"), "GET", "/containerLogs/argo/none/main", 403, `"system:node:x" may not get nodes/proxy`},
		"NoRightsPath":    {"nor which paths there are", of("system:node:x"), "GET", "/pods", 403, `"system:node:x" may not get nodes/proxy`},
		"ReaderExec":      {"reading is not acting", of("reader"), "POST", execInA, 403, `"reader" may not create nodes/proxy`},
		"ReaderExecGet":   {"nor with WebSocket, where a kubelet lets it", of("reader"), "GET", execInA, 403, `"reader" may not create nodes/proxy`},
		"ReaderPod":       {"a right to one Node says nothing of other pods", of("reader"), "GET", "/containerLogs/argo/none/main", 403, "may not"},
		"Unknown":         {"no record of such a pod", of("everywhere"), "GET", "/containerLogs/argo/none/main", 404, "pod argo/none is not known to run on another cluster"},
		"UnknownSpace":    {"in another namespace", of("everywhere"), "GET", "/containerLogs/other/a/main", 404, "pod other/a is not known"},
		"OtherUID":        {"another pod of that name", of("apiserver"), "POST", "/exec/argo/a/u-2/main?command=id", 404, "pod argo/a is not known"},
		"OtherPath":       {"a kubelet's, and none of ours", of("apiserver"), "GET", "/pods", 404, "only those of logs, exec"},
		"BadName":         {"no pod can have this name", of("apiserver"), "GET", "/containerLogs/argo/A_/main", 400, `names no pod: "A_"`},
		"Method":          {"a log is not written", of("apiserver"), "DELETE", logOfA, 405, "logs are read with GET"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			before := asked.Load()
			var headers []string
			if strings.HasPrefix(tc.path, "/exec") {
				headers = []string{"Connection", "Upgrade", "Upgrade", "SPDY/3.1"}
			}
			code, text := e.ask(e.as(tc.who), tc.method, tc.path, headers...)
			if code != tc.code || !strings.Contains(text, tc.says) {
				t.Errorf("%s: %d %q, want %d and %q", tc.reason, code, text, tc.code, tc.says)
			}
			if reached := asked.Load() > before; reached != (tc.code == 200) {
				t.Errorf("%s: it reached the cluster: %v", tc.reason, reached)
			}
		})
	}
	for _, review := range e.hub.reviews {
		if !slices.Equal(review.Groups, []string{"people", "system:authenticated"}) {
			t.Errorf("%s is asked for with groups %v", review.User, review.Groups)
		}
	}
}

// TestAnswersAreRemembered: a thousand streams of one caller are not a thousand questions, and a right that is taken away ends soon.
func TestAnswersAreRemembered(t *testing.T) {
	var at atomic.Int64
	e := start(t, says("x"), func(s *Server, _ placed) {
		begin := time.Now()
		s.Now = func() time.Time { return begin.Add(time.Duration(at.Load())) }
	})
	client := e.apiServer()
	for range 5 {
		e.ask(client, "GET", logOfA)
	}
	if n := len(e.hub.reviews); n != 1 {
		t.Errorf("it was asked %d times", n)
	}
	at.Store(int64(rememberAccess + time.Second))
	e.ask(client, "GET", logOfA)
	if n := len(e.hub.reviews); n != 2 {
		t.Errorf("after %s it was asked %d times in all", rememberAccess, n)
	}
}

// TestClientCAs: another CA counts after a minute, and one that cannot be read leaves those of before.
func TestClientCAs(t *testing.T) {
	var at atomic.Int64
	e := start(t, says("x"), func(s *Server, _ placed) {
		begin := time.Now()
		s.Now = func() time.Time { return begin.Add(time.Duration(at.Load())) }
	})
	old, next := e.apiServer(), authorityOf(t, "next")
	expect := func(what string, client *http.Client, want int) {
		t.Helper()
		if code, text := e.ask(client, "GET", logOfA); code != want {
			t.Errorf("%s: %d %s, want %d", what, code, text, want)
		}
	}
	expect("at first", old, 200)
	e.hub.set(func(h *fakeHub) { h.clientCA = []byte("no certificate") })
	at.Add(int64(2 * time.Second))
	expect("nothing is read again so soon", old, 200)
	at.Add(int64(rereadClientCAs - time.Second))
	expect("what is there is none", old, 200)
	e.hub.set(func(h *fakeHub) { h.clientCA = certificate.Encode(next.Certificate) })
	at.Add(int64(11 * time.Second))
	expect("another CA", old, 401)
	expect("another CA", e.as(person(t, next, "apiserver")), 200)
	e.hub.set(func(h *fakeHub) { h.down = true })
	at.Add(int64(5 * time.Second))
	expect("the hub's API server is away, and the answer is remembered", e.as(person(t, next, "apiserver")), 200)
	at.Add(int64(rememberAccess))
	expect("and not any more", e.as(person(t, next, "apiserver")), 503)
}

// TestWhatReachesTheCluster: the request is the hub's, and the answer only a stream.
func TestWhatReachesTheCluster(t *testing.T) {
	got := make(chan *http.Request, 1)
	e := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r
		w.Header().Set("Link", "</x>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		for _, name := range []string{"Set-Cookie", "Location", "Www-Authenticate", "Server", "Trailer:X-A", "X-Frame-Options"} {
			w.Header().Set(name, "evil")
		}
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<script>")
		w.Header().Set(http.TrailerPrefix+"X-Evil", "evil")
	}))
	response := e.do(t.Context(), e.apiServer(), "GET", logOfA+"?follow=true", "Authorization", "Bearer mine", "Cookie", "mine", "X-Remote-User", "admin", "Impersonate-User", "admin",
		"X-Forwarded-For", "1.2.3.4", "Accept", "*/*", "User-Agent", "kubectl", "Upgrade", "SPDY/3.1", "Connection", "Upgrade")
	body, err := io.ReadAll(response.Body)
	if err != nil || string(body) != "<script>" {
		t.Errorf("the log is %q, %v", body, err)
	}
	e.eventually("a request to the cluster", func() bool { return len(got) > 0 })
	sent := <-got
	if sent.URL.String() != "/api/v1/namespaces/argo/pods/a/log?container=main&follow=true" || sent.Proto != "HTTP/1.1" {
		t.Errorf("%s is asked for with %s", sent.URL, sent.Proto)
	}
	if diff := cmp.Diff(http.Header{"Authorization": {"Bearer the-hubs"}, "Accept": {"*/*"}, "User-Agent": {"kubectl"}}, sent.Header); diff != "" {
		t.Errorf("the headers of the request, -want +got:\n%s", diff)
	}
	response.Header.Del("Date")
	if diff := cmp.Diff(http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "X-Content-Type-Options": {"nosniff"}}, response.Header); diff != "" {
		t.Errorf("the headers of the answer, -want +got:\n%s", diff)
	}
	if len(response.Trailer) > 0 {
		t.Errorf("the trailers %v", response.Trailer)
	}
}

func TestRefusalsOfTheCluster(t *testing.T) {
	cases := map[string]struct {
		reason string
		code   int
		body   string
		want   int
		says   string
	}{
		"NoContainer":  {"its text is for the caller", 400, `{"kind":"Status","message":"container main is waiting to start"}`, 400, "cluster cluster1: container main is waiting to start"},
		"Gone":         {"the pod is not there any more", 404, `{"kind":"Status","message":"pods \"a\" not found"}`, 404, "cluster cluster1: pods \"a\" not found"},
		"Forbidden":    {"an administrator took the right away", 403, `{"kind":"Status","message":"no"}`, 403, "cluster cluster1 does not let the hub do this: no: its ClusterRole stellarflow-wec-streams says what the hub may"},
		"Unauthorized": {"the hub's credential is not the caller's", 401, `{"kind":"Status","message":"Unauthorized"}`, 502, "cluster cluster1 rejects the hub's credential: join it again with `stellarflow join cluster1`"},
		"Redirect":     {"not followed, not passed on", 302, "", 502, "cluster cluster1 answers with status 302, which is not followed: check what answers at its address"},
		"Created":      {"no log has this status", 201, "x", 502, "cluster cluster1 answers with status 201, which is not followed: check what answers at its address"},
		"Busy":         {"as it says it", 429, "too\tmany\x1b[2J", 429, "cluster cluster1: too many\ufffd[2J"},
		"Long":         {"cut", 500, strings.Repeat("a", 100_000), 500, "cluster cluster1: " + strings.Repeat("a", 1021) + "..."},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			e := start(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "https://evil")
				w.WriteHeader(tc.code)
				_, _ = io.WriteString(w, tc.body)
			}))
			response := e.do(t.Context(), e.apiServer(), "GET", logOfA)
			raw, _ := io.ReadAll(response.Body)
			if response.StatusCode != tc.want || string(raw) != tc.says || response.Header.Get("Location") != "" {
				t.Errorf("%s: %d %q, want %d %q", tc.reason, response.StatusCode, raw, tc.want, tc.says)
			}
		})
	}
}

// roundTripper is a connection to a cluster.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestClusterIsAway(t *testing.T) {
	cases := map[string]struct {
		streams http.RoundTripper
		code    int
		says    string
	}{
		"NotConnected": {nil, 502, "cluster cluster1 cannot be reached for pod argo/a: there is no connection: its logs are shown when it is back"},
		"Refused": {roundTripper(func(*http.Request) (*http.Response, error) {
			return nil, fmt.Errorf("dial tcp 10.0.0.1:6443: connect: connection refused")
		}), 502, "cluster cluster1 cannot be reached for pod argo/a: connection refused: its logs are shown when it is back"},
		"NotHeld": {roundTripper(func(*http.Request) (*http.Response, error) { return nil, wec.ErrNotHeld }), 503, "cluster cluster1: this hub manager does not hold its Lease on the cluster: nothing was sent: try again in some seconds"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			e := start(t, says("x"), func(_ *Server, pods placed) {
				target := pods[types.NamespacedName{Namespace: "argo", Name: "a"}]
				target.Streams = tc.streams
				pods[types.NamespacedName{Namespace: "argo", Name: "a"}] = target
			})
			if code, text := e.ask(e.apiServer(), "GET", logOfA); code != tc.code || text != tc.says {
				t.Errorf("%d %q", code, text)
			}
		})
	}
}

// lines is a cluster whose logs grow when the test says so.
type lines struct {
	add    chan string
	ended  chan struct{} // closed when a request ended before the log did
	broken bool          // the log breaks off
}

func (l *lines) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for {
		select {
		case line, more := <-l.add:
			if !more && l.broken {
				panic(http.ErrAbortHandler)
			}
			if !more {
				return
			}
			_, _ = io.WriteString(w, line+"\n")
			w.(http.Flusher).Flush()
		case <-r.Context().Done():
			close(l.ended)
			return
		}
	}
}

// TestFollow: each line comes before the next one is printed, and the end of either side is the end of both.
func TestFollow(t *testing.T) {
	follow := func(t *testing.T, broken bool) (*env, *lines, *http.Response, context.CancelFunc) {
		t.Helper()
		l := &lines{add: make(chan string), ended: make(chan struct{}), broken: broken}
		e := start(t, l)
		ctx, cancel := context.WithCancel(t.Context())
		t.Cleanup(cancel)
		go func() { l.add <- "line 0" }() // the answer begins with the first line, as a kubelet's does
		response := e.do(ctx, e.apiServer(), "GET", logOfA+"?follow=true")
		read := bufio.NewReader(response.Body)
		for i := range 20 {
			if i > 0 {
				l.add <- fmt.Sprintf("line %d", i)
			}
			if line, err := read.ReadString('\n'); err != nil || line != fmt.Sprintf("line %d\n", i) {
				t.Fatalf("line %d is %q, %v", i, line, err)
			}
		}
		return e, l, response, cancel
	}
	t.Run("LogEnds", func(t *testing.T) {
		_, l, response, _ := follow(t, false)
		close(l.add)
		if rest, err := io.ReadAll(response.Body); err != nil || len(rest) > 0 {
			t.Errorf("it ends with %q, %v", rest, err)
		}
	})
	t.Run("ClusterBreaksOff", func(t *testing.T) {
		_, l, response, _ := follow(t, true)
		close(l.add)
		if _, err := io.ReadAll(response.Body); err == nil {
			t.Error("a log that broke off looks as if it had ended")
		}
	})
	t.Run("CallerEnds", func(t *testing.T) {
		e, l, _, cancel := follow(t, false)
		cancel()
		e.within("the end of the request to the cluster", l.ended)
	})
	t.Run("ManagerEnds", func(t *testing.T) {
		e, l, response, _ := follow(t, false)
		e.stop()
		e.within("the end of the request to the cluster", l.ended)
		if _, err := io.ReadAll(response.Body); err == nil {
			t.Error("a log whose manager ended looks as if it had ended")
		}
	})
}

// TestCallerDoesNotRead: who does not read holds up its own stream, and neither the others nor the end of the manager.
func TestCallerDoesNotRead(t *testing.T) {
	var printed atomic.Int64
	e := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		block := strings.Repeat("x", 1<<20)
		for r.URL.Query().Get("follow") != "" && r.Context().Err() == nil {
			if _, err := io.WriteString(w, block); err != nil {
				return
			}
			printed.Add(1)
		}
		_, _ = io.WriteString(w, "another\n")
	}))
	e.do(t.Context(), e.apiServer(), "GET", logOfA+"?follow=true")
	last := int64(-1)
	e.eventually("a cluster that is held up", func() bool { // it prints no more between two looks at another log
		if code, text := e.ask(e.apiServer(), "GET", logOfA); code != 200 || text != "another\n" {
			t.Fatalf("another log is %d %q", code, text)
		}
		before := last
		last = printed.Load()
		return last > 0 && last == before
	})
	if last > 64 {
		t.Errorf("%d MiB went to a caller that reads nothing", last)
	}
	e.stop()
}

// TestManyStreams: 200 logs of one namespace that are followed at once need no more memory after much has gone through them than before.
func TestManyStreams(t *testing.T) {
	const streams, rounds = 200, 50
	var mu sync.Mutex
	next := sync.NewCond(&mu)
	round := 0
	block := strings.Repeat(strings.Repeat("x", 1023)+"\n", 16)
	e := start(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for i := range rounds + 1 {
			mu.Lock()
			for round < i {
				next.Wait()
			}
			mu.Unlock()
			_, _ = io.WriteString(w, block)
			w.(http.Flusher).Flush()
		}
	}))
	client := e.apiServer()
	bodies := make([]io.Reader, streams)
	advance := func(to int) {
		mu.Lock()
		round = to
		mu.Unlock()
		next.Broadcast()
	}
	read := func() {
		var group sync.WaitGroup
		for _, body := range bodies {
			group.Go(func() {
				if n, err := io.CopyN(io.Discard, body, int64(len(block))); err != nil {
					t.Errorf("%d bytes, %v", n, err)
				}
			})
		}
		group.Wait()
	}
	idle := heap()
	for i := range bodies {
		bodies[i] = e.do(t.Context(), client, "GET", logOfA+"?follow=true").Body
	}
	read()
	begun := heap()
	for i := 1; i <= rounds; i++ {
		advance(i)
		read()
	}
	after := heap()
	t.Logf("%d KiB without a stream, %d with %d at their begin, %d after %d MiB", idle>>10, begun>>10, streams, after>>10, streams*rounds*len(block)>>20)
	if after > begun+begun/2 {
		t.Errorf("the memory grew from %d to %d KiB", begun>>10, after>>10)
	}
}

// heap is what is in use after a collection.
func heap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapInuse
}

// TestPortIsTaken: the manager goes on, says so once, and serves when the port is free.
func TestPortIsTaken(t *testing.T) {
	for name, freed := range map[string]bool{"Freed": true, "Never": false} {
		t.Run(name, func(t *testing.T) {
			taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = taken.Close() }()
			e := &env{t: t, address: taken.Addr().String(), hub: &fakeHub{}}
			said := make(chan string, 100)
			server := &Server{Address: e.address, Host: "127.0.0.1", Pods: placed{}, Core: e.hub.client(t), Now: time.Now, Log: funcr.New(func(_, args string) { said <- args }, funcr.Options{})}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan struct{})
			go func() {
				server.insist(ctx, time.Millisecond)
				close(done)
			}()
			e.eventually("a word about the port", func() bool { return len(said) > 0 })
			if text := <-said; !strings.Contains(text, "address already in use") || !strings.Contains(text, "--kubelet-bind-address") {
				t.Errorf("it says %s", text)
			}
			if freed {
				_ = taken.Close()
				e.eventually("an endpoint", func() bool {
					connection, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(ctx, "tcp", e.address)
					if err == nil {
						_ = connection.Close()
					}
					return err == nil
				})
			}
			cancel()
			e.within("the end", done)
			if len(said) > 0 {
				t.Errorf("it says %s too", <-said)
			}
		})
	}
}

// TestStartGoesOn: a port that is taken does not end the manager, which an error would.
func TestStartGoesOn(t *testing.T) {
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	server := &Server{Address: taken.Addr().String(), Log: funcr.New(func(_, _ string) { cancel() }, funcr.Options{})}
	if err := server.Start(ctx); err != nil {
		t.Errorf("it ends with %v", err)
	}
}
