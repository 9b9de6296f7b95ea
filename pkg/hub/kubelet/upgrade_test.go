package kubelet

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

func clusterName(name string) stellarflow.ClusterName { return stellarflow.ClusterName(name) }

// echo is a cluster that switches to a protocol in which it repeats what it is told, until it is told to end.
func echo(asked chan<- string, ended chan<- struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		connection, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer close(ended)
		defer func() { _ = connection.Close() }()
		asked <- r.Method + " " + r.URL.String()
		_, _ = fmt.Fprintf(connection, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\nSet-Cookie: evil\r\n\r\n", r.Header.Get("Upgrade"))
		for {
			line, err := buffered.ReadString('\n')
			if err != nil || line == "end\n" {
				return
			}
			if _, err := io.WriteString(connection, line); err != nil {
				return
			}
		}
	}
}

// upgrade asks for another protocol and returns the connection.
func (e *env) upgrade(method, path, protocol string) (*http.Response, net.Conn, *bufio.Reader) {
	e.t.Helper()
	who := person(e.t, e.clients, "apiserver")
	connection, err := (&tls.Dialer{Config: &tls.Config{RootCAs: e.serving, Certificates: []tls.Certificate{*who}}}).DialContext(e.t.Context(), "tcp", e.address)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { _ = connection.Close() })
	if _, err := fmt.Fprintf(connection, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: %s\r\nAuthorization: Bearer mine\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n", method, path, protocol); err != nil {
		e.t.Fatal(err)
	}
	read := bufio.NewReader(connection)
	response, err := http.ReadResponse(read, nil)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { _ = response.Body.Close() })
	return response, connection, read
}

func TestUpgrade(t *testing.T) {
	for name, tc := range map[string]struct{ method, path, protocol, asks string }{
		"Exec":          {"POST", "/exec/argo/a/main?input=1&output=1&command=sh", "SPDY/3.1", "POST /api/v1/namespaces/argo/pods/a/exec?command=sh&container=main&stdin=true&stdout=true"},
		"ExecWebSocket": {"GET", "/exec/argo/a/u-1/main?output=1&command=sh", "websocket", "GET /api/v1/namespaces/argo/pods/a/exec?command=sh&container=main&stdout=true"},
		"Attach":        {"POST", "/attach/argo/a/main?output=1", "SPDY/3.1", "POST /api/v1/namespaces/argo/pods/a/attach?container=main&stdout=true"},
		"PortForward":   {"POST", "/portForward/argo/a?port=80", "SPDY/3.1", "POST /api/v1/namespaces/argo/pods/a/portforward?ports=80"},
	} {
		t.Run(name, func(t *testing.T) {
			asked, ended := make(chan string, 1), make(chan struct{})
			e := start(t, echo(asked, ended))
			response, connection, read := e.upgrade(tc.method, tc.path, tc.protocol)
			if response.StatusCode != http.StatusSwitchingProtocols || response.Header.Get("Upgrade") != tc.protocol || response.Header.Get("X-Stream-Protocol-Version") != "v4.channel.k8s.io" || response.Header.Get("Set-Cookie") != "" {
				t.Fatalf("the answer is %s %v", response.Status, response.Header)
			}
			if got := response.Header.Values("Connection"); len(got) != 1 || got[0] != "Upgrade" || response.Header.Get("Content-Length") != "" {
				t.Errorf("an API server takes this for no upgrade: %v", response.Header)
			}
			if got := <-asked; got != tc.asks {
				t.Errorf("the cluster is asked for %s, want %s", got, tc.asks)
			}
			for i := range 3 {
				told := fmt.Sprintf("%d%s\n", i, strings.Repeat("\x00\xff", 50_000))
				go func() { _, _ = io.WriteString(connection, told) }()
				if line, err := read.ReadString('\n'); err != nil || line != told {
					t.Fatalf("it repeats %d bytes, %v", len(line), err)
				}
			}
			_, _ = io.WriteString(connection, "end\n")
			if _, err := read.ReadByte(); !errors.Is(err, io.EOF) {
				t.Errorf("it ends with %v", err)
			}
			e.within("the end on the cluster", ended)
		})
	}
}

// TestUpgradeEnds: the end of either side, and of the manager, is the end of both.
func TestUpgradeEnds(t *testing.T) {
	t.Run("Caller", func(t *testing.T) {
		asked, ended := make(chan string, 1), make(chan struct{})
		e := start(t, echo(asked, ended))
		_, connection, _ := e.upgrade("POST", execInA, "SPDY/3.1")
		_ = connection.Close()
		e.within("the end on the cluster", ended)
	})
	t.Run("Manager", func(t *testing.T) {
		asked, ended := make(chan string, 1), make(chan struct{})
		e := start(t, echo(asked, ended))
		_, _, read := e.upgrade("POST", execInA, "SPDY/3.1")
		e.stop()
		e.within("the end on the cluster", ended)
		if _, err := read.ReadByte(); err == nil {
			t.Error("the caller's connection is left")
		}
	})
	t.Run("Deaf", func(t *testing.T) { // a cluster that says nothing and never ends
		held := make(chan struct{})
		e := start(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			connection, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			_, _ = io.WriteString(connection, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n")
			<-held
			_ = connection.Close()
		}), func(s *Server, _ placed) { s.Limits = Limits{All: 1, Cluster: 1, Namespace: 1} })
		defer close(held)
		_, connection, _ := e.upgrade("POST", execInA, "SPDY/3.1")
		_ = connection.Close()
		e.eventually("a free place", func() bool {
			response, next, _ := e.upgrade("POST", execInA, "SPDY/3.1")
			_ = next.Close()
			return response.StatusCode == http.StatusSwitchingProtocols
		})
	})
}

// TestUpgradeRefused: what a cluster says instead, and what it does unasked.
func TestUpgradeRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		method, path string
		cluster      http.HandlerFunc
		code         int
		says         string
	}{
		"Forbidden": {"POST", execInA, func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, `{"kind":"Status","message":"pods \"a\" is forbidden"}`, http.StatusForbidden)
		}, 403, "cluster cluster1 does not let the hub do this: pods \"a\" is forbidden"},
		"NoUpgrade": {"POST", execInA, says("hello"), 502, "status 200"},
		"OtherProtocol": {"POST", execInA, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set("Upgrade", "evil")
			w.WriteHeader(http.StatusSwitchingProtocols)
		}, 502, "status 101"},
		"LogSwitches": {"GET", logOfA, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set("Upgrade", "SPDY/3.1")
			w.WriteHeader(http.StatusSwitchingProtocols)
		}, 502, "status 101"},
		"LogSwitchesToNothing": {"GET", logOfA, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusSwitchingProtocols)
		}, 502, "status 101"},
	} {
		t.Run(name, func(t *testing.T) {
			e := start(t, tc.cluster)
			response, _, _ := e.upgrade(tc.method, tc.path, "SPDY/3.1")
			raw, _ := io.ReadAll(response.Body)
			if response.StatusCode != tc.code || !strings.Contains(string(raw), tc.says) {
				t.Errorf("%d %q, want %d %q", response.StatusCode, raw, tc.code, tc.says)
			}
			if response.Header.Get("Content-Type") != contentType || response.Header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("what the cluster says may be taken for something else: %v", response.Header)
			}
		})
	}
}
