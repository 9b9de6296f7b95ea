package serve

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func await(t *testing.T, addr string) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if conn, err := net.Dial("tcp", addr); err == nil {
			_ = conn.Close()
			return
		}
	}
	t.Fatalf("%s does not answer", addr)
}

func TestRegistry(t *testing.T) {
	addr, dir := freeAddr(t), filepath.Join(t.TempDir(), "blobs")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Registry(ctx, addr, dir) }()
	await(t, addr)
	image, err := random.Image(1000, 2)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(addr+"/docker/whalesay:latest", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image); err != nil {
		t.Fatal(err)
	}
	got, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := image.Digest()
	b, _ := got.Digest()
	if a != b {
		t.Errorf("pushed %s, pulled %s", a, b)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("told to end: %v", err)
	}
}

func TestRegistryAddressInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	err = Registry(t.Context(), l.Addr().String(), t.TempDir())
	if err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("got %v, want an error that names the address", err)
	}
}

func TestForward(t *testing.T) {
	target := freeAddr(t)
	server := &http.Server{Addr: target, ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "got %s", body)
	})}
	go func() { _ = server.ListenAndServe() }()
	defer func() { _ = server.Close() }()
	await(t, target)
	listen := freeAddr(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Forward(ctx, []string{listen + "=" + target}) }()
	await(t, listen)
	resp, err := http.Post("http://"+listen, "text/plain", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if body, _ := io.ReadAll(resp.Body); string(body) != "got hello" {
		t.Errorf("answer: %q", body)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("told to end: %v", err)
	}
}

func TestForwardRefuses(t *testing.T) {
	if err := Forward(t.Context(), []string{"127.0.0.1:1"}); err == nil || !strings.Contains(err.Error(), "LISTEN=TARGET") {
		t.Errorf("a pair without =: got %v", err)
	}
}
