package wec

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// onSocket does something with the socket under a connection of TLS.
func onSocket(t *testing.T, connection net.Conn, do func(fd int) error) {
	t.Helper()
	secured, ok := connection.(*tls.Conn)
	if !ok {
		t.Fatalf("a connection is a %T", connection)
	}
	plain, ok := secured.NetConn().(*net.TCPConn)
	if !ok {
		t.Fatalf("a connection is over a %T", secured.NetConn())
	}
	raw, err := plain.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if controlErr := raw.Control(func(fd uintptr) { err = do(int(fd)) }); controlErr != nil || err != nil {
		t.Fatal(controlErr, err)
	}
}

// TestStreamsAreProbed: the kernel is told of the times that docs/operations.md gives.
func TestStreamsAreProbed(t *testing.T) {
	clients, _ := dial(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	var used net.Conn
	traced := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { used = info.Conn }})
	if _, err := stream(traced, t, clients, http.MethodGet, "/log"); err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	onSocket(t, used, func(fd int) error {
		for name, at := range map[string][2]int{
			"on": {unix.SOL_SOCKET, unix.SO_KEEPALIVE}, "idle": {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE}, "every": {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL}, "count": {unix.IPPROTO_TCP, unix.TCP_KEEPCNT},
		} {
			value, err := unix.GetsockoptInt(fd, at[0], at[1])
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			got[name] = value
		}
		return nil
	})
	if diff := cmp.Diff(map[string]int{"on": 1, "idle": 15, "every": 15, "count": 4}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// connectionKey is under what a request's context has its connection.
type connectionKey struct{}

// TestStreamsOfAPeerThatIsGone: of two logs to which nothing is added, that of a peer whose machine takes no packet any more ends with an error, and
// the other, whose peer only says nothing, goes on after that.
func TestStreamsOfAPeerThatIsGone(t *testing.T) {
	begun, over := make(chan net.Conn, 1), make(chan struct{})
	_, server := dial(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "first\n")
		w.(http.Flusher).Flush()
		if r.URL.Path == "/gone" {
			begun <- r.Context().Value(connectionKey{}).(net.Conn)
		}
		<-over
		_, _ = io.WriteString(w, "last\n")
	}), func(config *http.Server) {
		config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connectionKey{}, c)
		}
	})
	plain, ok := server.Client().Transport.(*http.Transport)
	if !ok {
		t.Fatalf("the transport is a %T", server.Client().Transport)
	}
	transport := streaming(plain, net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 2})
	t.Cleanup(transport.CloseIdleConnections)
	open := func(path string) io.Reader {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		response, err := transport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = response.Body.Close() })
		first := make([]byte, len("first\n"))
		if _, err := io.ReadFull(response.Body, first); err != nil {
			t.Fatal(err)
		}
		return response.Body
	}
	silent, gone := open("/silent"), open("/gone")
	peer := <-begun
	for deadline, left := time.Now().Add(20*time.Second), -1; left != 0; { // what is not acknowledged would be sent again, and show life
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes are not acknowledged", left)
		}
		onSocket(t, peer, func(fd int) (err error) { left, err = unix.IoctlGetInt(fd, unix.TIOCOUTQ); return err })
	}
	onSocket(t, peer, func(fd int) error { // takes nothing: of every packet it keeps 0 bytes
		nothing := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(nothing)), Filter: &nothing[0]})
	})
	ended := make(chan error, 1)
	go func() {
		_, err := io.ReadAll(gone)
		ended <- err
	}()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the log of a peer that is gone seems to be whole")
		}
	case <-time.After(20 * time.Second):
		t.Error("the log of a peer that is gone does not end")
	}
	close(over)
	if rest, err := io.ReadAll(silent); err != nil || string(rest) != "last\n" {
		t.Errorf("of the peer that said nothing there is %q, %v", rest, err)
	}
}
