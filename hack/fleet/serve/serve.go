package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

// dialTimeout bounds how long a forwarded connection waits for its target.
const dialTimeout = 10 * time.Second

// Registry serves images on addr until ctx ends. Layers are kept in dir; names
// and tags are not, fleet up pushes them again.
func Registry(ctx context.Context, addr, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	server := &http.Server{
		Addr: addr,
		Handler: registry.New(
			registry.Logger(log.New(io.Discard, "", 0)),
			registry.WithBlobHandler(registry.NewDiskBlobHandler(dir)),
		),
		ReadHeaderTimeout: time.Minute,
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("registry: %w", err)
	}
	return nil
}

// Forward passes connections on, for each "listen=target", until ctx ends.
func Forward(ctx context.Context, pairs []string) error {
	var wg sync.WaitGroup
	for _, pair := range pairs {
		listen, target, ok := strings.Cut(pair, "=")
		if !ok {
			return fmt.Errorf("forward %q: want LISTEN=TARGET", pair)
		}
		l, err := net.Listen("tcp", listen)
		if err != nil {
			return fmt.Errorf("forward: %w", err)
		}
		context.AfterFunc(ctx, func() { _ = l.Close() })
		wg.Add(1)
		go func() {
			defer wg.Done()
			accept(l, target)
		}()
	}
	wg.Wait()
	return nil
}

func accept(l net.Listener, target string) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go forward(conn, target)
	}
}

func forward(from net.Conn, target string) {
	defer func() { _ = from.Close() }()
	to, err := net.DialTimeout("tcp", target, dialTimeout)
	if err != nil {
		log.Printf("forward to %s: %v", target, err)
		return
	}
	defer func() { _ = to.Close() }()
	done := make(chan struct{}, 2)
	go pump(to, from, done)
	go pump(from, to, done)
	<-done
	<-done
}

// pump copies until the sender has no more, and says so to the receiver.
func pump(to, from net.Conn, done chan<- struct{}) {
	_, _ = io.Copy(to, from)
	if c, ok := to.(*net.TCPConn); ok {
		_ = c.CloseWrite()
	}
	done <- struct{}{}
}
