package wec

import (
	"bufio"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// stream asks for something past every bound of the other clients.
func stream(ctx context.Context, t *testing.T, clients *Clients, method, path string, headers ...string) (*http.Response, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, method, "https://anything"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := clients.Streams().RoundTrip(request)
	if err == nil {
		t.Cleanup(func() { _ = response.Body.Close() })
	}
	return response, err
}

// TestStreamsHaveAConnectionEach: one that nobody reads holds up no other, and what is larger than an object comes through.
func TestStreamsHaveAConnectionEach(t *testing.T) {
	ports := make(chan string, 3)
	clients, _ := dial(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ports <- r.RemoteAddr + " " + r.Proto + " " + r.Header.Get("Authorization") + " " + r.Header.Get("Accept-Encoding")
		block := strings.Repeat("x", 1<<20)
		for i := 0; r.URL.Path == "/endless" || i < 2*MaxObject>>20; i++ {
			if _, err := io.WriteString(w, block); err != nil {
				return
			}
		}
	}))
	for range 2 {
		if _, err := stream(t.Context(), t, clients, http.MethodGet, "/endless"); err != nil {
			t.Fatal(err)
		}
	}
	response, err := stream(t.Context(), t, clients, http.MethodGet, "/log")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, response.Body); err != nil || n != 2*MaxObject {
		t.Errorf("%d bytes came, %v", n, err)
	}
	seen := map[string]bool{}
	for range 3 {
		from := <-ports
		seen[strings.Fields(from)[0]] = true
		if !strings.HasSuffix(from, " HTTP/1.1 Bearer secret-token ") {
			t.Errorf("it is asked by %q", from)
		}
	}
	if len(seen) != 3 {
		t.Errorf("3 streams have %d connections", len(seen))
	}
}

// TestStreamsAreAdopted: a stream that is under way ends as it began, the next one goes to the new address with the new credential.
func TestStreamsAreAdopted(t *testing.T) {
	over := make(chan struct{})
	clients := func(name, below string) *Clients {
		server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprintln(w, name, r.URL, r.Header.Get("Authorization"))
			w.(http.Flusher).Flush()
			if r.URL.Path == "/follow" {
				<-over
				_, _ = fmt.Fprintln(w, name, "ends")
			}
		}))
		t.Cleanup(server.Close)
		ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
		made, err := Dial(&rest.Config{Host: server.URL + below, BearerToken: "of-" + name, TLSClientConfig: rest.TLSClientConfig{CAData: ca}})
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	used := clients("first", "")
	under, err := stream(t.Context(), t, used, http.MethodGet, "/follow")
	if err != nil {
		t.Fatal(err)
	}
	read := bufio.NewReader(under.Body)
	line, _ := read.ReadString('\n')
	used.Adopt(clients("second", "/clusters/c-1"))
	next, err := stream(t.Context(), t, used, http.MethodGet, "/log?a=b")
	if err != nil {
		t.Fatal(err)
	}
	after, _ := io.ReadAll(next.Body)
	close(over)
	rest, err := io.ReadAll(read)
	if got, want := line+string(after)+string(rest), "first /follow Bearer of-first\nsecond /clusters/c-1/log?a=b Bearer of-second\nfirst ends\n"; got != want || err != nil {
		t.Errorf("it says %q, %v, want %q", got, err, want)
	}
}

// TestStreamsAndTheLease: a log is read without it, and nothing is run.
func TestStreamsAndTheLease(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Header().Set("Location", "https://elsewhere")
		w.WriteHeader(http.StatusFound)
	}))
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	hold := NewHold(time.Now, time.Minute)
	clients, err := DialHeld("cluster1", &rest.Config{Host: server.URL, TLSClientConfig: rest.TLSClientConfig{CAData: ca}}, hold)
	if err != nil {
		t.Fatal(err)
	}
	const exec = "/api/v1/namespaces/argo/pods/a/exec"
	for _, held := range []bool{false, true} {
		if held {
			hold.keep(time.Now())
		}
		for name, tc := range map[string]struct {
			method, path string
			headers      []string
			acts         bool
		}{
			"Log":       {http.MethodGet, "/api/v1/namespaces/argo/pods/a/log", nil, false},
			"SPDY":      {http.MethodPost, exec, []string{"Upgrade", "SPDY/3.1"}, true},
			"WebSocket": {http.MethodGet, exec, []string{"Connection", "Upgrade", "Upgrade", "websocket"}, true},
		} {
			before := asked.Load()
			response, err := stream(t.Context(), t, clients, tc.method, tc.path, tc.headers...)
			refused := tc.acts && !held
			if errors.Is(err, ErrNotHeld) != refused || refused != (asked.Load() == before) {
				t.Errorf("held %v, %s: %v, asked %d times", held, name, err, asked.Load()-before)
			}
			if err == nil && response.StatusCode != http.StatusFound {
				t.Errorf("%s: a redirect was followed: %d", name, response.StatusCode)
			}
		}
	}
}

// TestStreamEnds: the end of the context is the end of the request, and a WEC that says too much before its stream is refused.
func TestStreamEnds(t *testing.T) {
	ended := make(chan struct{})
	clients, _ := dial(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/large" {
			w.Header().Set("X-Large", strings.Repeat("x", 2*maxStreamHeader))
			return
		}
		_, _ = io.WriteString(w, "line\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		close(ended)
	}))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if _, err := stream(ctx, t, clients, http.MethodGet, "/log"); err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the WEC still sends")
	}
	if _, err := stream(t.Context(), t, clients, http.MethodGet, "/large"); err == nil {
		t.Error("headers of any size are read")
	}
}
