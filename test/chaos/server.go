package chaos

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	certutil "k8s.io/client-go/util/cert"
)

const (
	loopback  = "127.0.0.1"
	adminUser = "chaos-admin"
	// startWithin bounds the start of an etcd or API server.
	startWithin = 90 * time.Second
	// privateFile and privateDir are the modes of what a run writes.
	privateFile, privateDir = 0o600, 0o700
)

// server is one cluster's API server and etcd, as processes of their own that can be stopped, killed and set back.
type server struct {
	name     string // history.Hub or a cluster's
	dir      string
	assets   string
	etcdPort int
	apiPort  int
	token    string

	etcd, api *process

	config  *rest.Config // an administrator's, past every proxy
	dynamic dynamic.Interface
	core    kubernetes.Interface
}

// newServer prepares a cluster in a directory and starts it.
func newServer(ctx context.Context, assets, dir, name string) (*server, error) {
	s := &server{name: name, dir: filepath.Join(dir, name), assets: assets, token: rand.Text()}
	if err := os.MkdirAll(s.dir, privateDir); err != nil {
		return nil, err
	}
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	s.etcdPort, s.apiPort = ports[0], ports[1]
	ca, err := s.credentials()
	if err != nil {
		return nil, fmt.Errorf("make the credentials of %s: %w", name, err)
	}
	s.etcd = &process{name: name + " etcd", log: filepath.Join(s.dir, "etcd.log"), args: []string{
		filepath.Join(assets, "etcd"), "--data-dir", s.data(), "--listen-client-urls", s.etcdURL(), "--advertise-client-urls", s.etcdURL(),
		"--listen-peer-urls", fmt.Sprintf("http://%s:%d", loopback, ports[2]), "--unsafe-no-fsync", "--quota-backend-bytes", strconv.Itoa(8 << 30), "--log-level", "error",
	}}
	s.api = &process{name: name + " kube-apiserver", log: filepath.Join(s.dir, "kube-apiserver.log"), args: []string{
		filepath.Join(assets, "kube-apiserver"), "--etcd-servers", s.etcdURL(), "--bind-address", loopback, "--secure-port", strconv.Itoa(s.apiPort),
		"--tls-cert-file", s.file("tls.crt"), "--tls-private-key-file", s.file("tls.key"), "--cert-dir", s.dir,
		"--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", s.file("sa.key"), "--service-account-signing-key-file", s.file("sa.key"),
		"--service-cluster-ip-range", "10.0.0.0/24", "--token-auth-file", s.file("tokens.csv"), "--authorization-mode", "RBAC",
		"--disable-admission-plugins", "ServiceAccount", "--endpoint-reconciler-type", "none",
		"--etcd-compaction-interval", "0", // the recorder reads every revision, also those of an hour ago
		"--max-requests-inflight", "2000", "--max-mutating-requests-inflight", "1000", "--v", "0",
	}}
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	return s, s.clients(ca)
}

func (s *server) clients(ca []byte) error {
	s.config = &rest.Config{
		Host: fmt.Sprintf("https://%s:%d", loopback, s.apiPort), BearerToken: s.token, TLSClientConfig: rest.TLSClientConfig{CAData: ca}, QPS: -1,
		Timeout: 10 * time.Second,
	}
	var err error
	if s.dynamic, err = dynamic.NewForConfig(s.config); err != nil {
		return err
	}
	s.core, err = kubernetes.NewForConfig(s.config)
	return err
}

func (s *server) data() string            { return filepath.Join(s.dir, "data") }
func (s *server) file(name string) string { return filepath.Join(s.dir, name) }
func (s *server) etcdURL() string         { return fmt.Sprintf("http://%s:%d", loopback, s.etcdPort) }

// credentials writes the serving certificate, the key of ServiceAccount tokens and the administrator's token. It returns the CA.
func (s *server) credentials() ([]byte, error) {
	cert, key, err := certutil.GenerateSelfSignedCertKey(loopback, []net.IP{net.ParseIP(loopback)}, nil)
	if err != nil {
		return nil, err
	}
	signing, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	signingPEM := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(signing)})
	for name, content := range map[string][]byte{
		"tls.crt": cert, "tls.key": key, "sa.key": signingPEM, "tokens.csv": []byte(fmt.Sprintf("%s,%s,%s,system:masters\n", s.token, adminUser, adminUser)),
	} {
		if err := os.WriteFile(s.file(name), content, privateFile); err != nil {
			return nil, err
		}
	}
	return cert, nil
}

// start starts what is not running, etcd first, and waits until the API server is ready.
func (s *server) start(ctx context.Context) error {
	if err := s.startEtcd(ctx); err != nil {
		return err
	}
	if err := s.api.start(); err != nil {
		return err
	}
	return s.ready(ctx)
}

func (s *server) startEtcd(ctx context.Context) error {
	if err := s.etcd.start(); err != nil {
		return err
	}
	return answers(ctx, http.DefaultClient, s.etcdURL()+"/health", s.etcd)
}

// ready waits until the API server is.
func (s *server) ready(ctx context.Context) error {
	config := &rest.Config{Host: fmt.Sprintf("https://%s:%d", loopback, s.apiPort), BearerToken: s.token, TLSClientConfig: rest.TLSClientConfig{CAFile: s.file("tls.crt")}}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	client.Timeout = 5 * time.Second
	return answers(ctx, client, config.Host+"/readyz", s.api)
}

// answers waits until a URL answers 200.
func answers(ctx context.Context, client *http.Client, url string, p *process) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(response.Status)
		}
		if pause(ctx, 50*time.Millisecond) != nil {
			return fmt.Errorf("%s does not get ready, see %s: %w", p.name, p.log, err)
		}
		if !p.running() {
			return fmt.Errorf("%s ended, see %s", p.name, p.log)
		}
	}
}

// kill ends both processes at once.
func (s *server) kill() {
	s.api.kill()
	s.etcd.kill()
}

// snapshot copies the etcd's data, for which it stops for a moment; the API server goes on as far as it can without it.
func (s *server) snapshot(ctx context.Context) (string, error) {
	s.etcd.kill()
	copied, err := os.MkdirTemp(s.dir, "snapshot-")
	if err == nil {
		err = os.CopyFS(filepath.Join(copied, "data"), os.DirFS(s.data()))
	}
	if err != nil {
		return "", fmt.Errorf("copy the etcd of %s: %w", s.name, err)
	}
	return filepath.Join(copied, "data"), s.startEtcd(ctx)
}

// restore puts a snapshot in the place of the data. drained is called when nothing more is written to the old data, while its etcd
// still answers; replaced when the new etcd answers and nothing was written to it yet.
func (s *server) restore(ctx context.Context, snapshot string, drained, replaced func() error) error {
	s.api.kill()
	if err := drained(); err != nil {
		return err
	}
	s.etcd.kill()
	if err := os.RemoveAll(s.data()); err != nil {
		return err
	}
	if err := os.CopyFS(s.data(), os.DirFS(snapshot)); err != nil {
		return fmt.Errorf("restore the etcd of %s: %w", s.name, err)
	}
	if err := s.startEtcd(ctx); err != nil {
		return err
	}
	if err := replaced(); err != nil {
		return err
	}
	return s.start(ctx)
}

func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		listener, err := net.Listen("tcp", loopback+":0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = listener.Close() }()
		address, ok := listener.Addr().(*net.TCPAddr)
		if !ok {
			return nil, fmt.Errorf("%s is no TCP address", listener.Addr())
		}
		ports = append(ports, address.Port)
	}
	return ports, nil
}

// pause waits; the error is that of ctx.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
