package integration

import (
	"context"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/wec"
)

// between is an HTTPS proxy in front of a WEC, as companies have them, with faults that a test chooses.
type between struct {
	server *httptest.Server
	// manager is the hub manager that setUpBetween has started.
	manager *manager

	mu      sync.Mutex
	target  *server
	token   string // replaces the hub's for the target, if not empty
	fault   func(http.ResponseWriter, *http.Request) bool
	streams map[*http.Request]context.CancelFunc
	thawed  chan struct{} // closed unless it is frozen
}

// newBetween starts a proxy in front of a WEC.
func newBetween(t *testing.T, target *server) *between {
	t.Helper()
	b := &between{target: target, streams: map[*http.Request]context.CancelFunc{}, thawed: make(chan struct{})}
	close(b.thawed)
	b.server = httptest.NewUnstartedServer(b)
	b.server.Listener = frozenListener{b.server.Listener, b}
	b.server.EnableHTTP2 = true
	b.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	b.server.StartTLS()
	t.Cleanup(func() {
		b.thaw()
		b.server.CloseClientConnections()
		b.server.Close()
	})
	return b
}

// kubeconfig leads through the proxy.
func (b *between) kubeconfig(t *testing.T, token string) []byte {
	t.Helper()
	return kubeconfigFor(t, b.server.URL, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b.server.Certificate().Raw}), token)
}

func kubeconfigFor(t *testing.T, address string, ca []byte, token string) []byte {
	t.Helper()
	raw, err := wec.MinimalKubeconfig(address, ca, token)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// ServeHTTP passes a request on, unless the fault has answered it.
func (b *between) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	target, token, fault := b.target, b.token, b.fault
	b.mu.Unlock()
	if fault != nil && fault(w, r) {
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	r = r.WithContext(ctx)
	if r.URL.Query().Get("watch") != "" {
		b.mu.Lock()
		b.streams[r] = cancel
		b.mu.Unlock()
	}
	defer func() {
		b.mu.Lock()
		delete(b.streams, r)
		b.mu.Unlock()
	}()
	transport, address, err := target.plain()
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer transport.CloseIdleConnections()
	(&httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(address)
			if token != "" {
				p.Out.Header.Set("Authorization", "Bearer "+token)
			}
		},
		Transport: transport, FlushInterval: -1, ErrorLog: log.New(io.Discard, "", 0),
	}).ServeHTTP(w, r)
}

// plain is a transport to an API server without a credential.
func (s *server) plain() (*http.Transport, *url.URL, error) {
	address, err := url.Parse(s.config.Host)
	if err != nil {
		return nil, nil, err
	}
	config, err := rest.TLSConfigFor(&rest.Config{TLSClientConfig: rest.TLSClientConfig{CAData: s.config.CAData}})
	return &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}, address, err
}

// inject makes the proxy answer itself where fault returns true, nil for nowhere.
func (b *between) inject(fault func(http.ResponseWriter, *http.Request) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fault = fault
}

// leads makes the proxy lead to a cluster that knows the hub by another token.
func (b *between) leads(target *server, token string) {
	b.mu.Lock()
	b.target, b.token = target, token
	b.mu.Unlock()
	b.cut()
}

// cut ends every watch in the middle of the answer.
func (b *between) cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, end := range b.streams {
		end()
	}
}

// freeze takes connections and bytes and passes nothing on, until thaw.
func (b *between) freeze() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.thawed = make(chan struct{})
}

func (b *between) thaw() {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.thawed:
	default:
		close(b.thawed)
	}
}

func (b *between) wait() {
	b.mu.Lock()
	thawed := b.thawed
	b.mu.Unlock()
	<-thawed
}

type frozenListener struct {
	net.Listener
	b *between
}

// Accept takes a connection, frozen or not.
func (l frozenListener) Accept() (net.Conn, error) {
	connection, err := l.Listener.Accept()
	return frozenConn{connection, l.b}, err
}

type frozenConn struct {
	net.Conn
	b *between
}

// Read holds back what it has read while the proxy is frozen.
func (c frozenConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.b.wait()
	return n, err
}

// Write holds back what it is to write.
func (c frozenConn) Write(p []byte) (int, error) {
	c.b.wait()
	return c.Conn.Write(p)
}

// rotate replaces the credential of a cluster.
func (c *clusters) rotate(t *testing.T, cluster string, kubeconfig []byte) {
	t.Helper()
	var secret corev1.Secret
	key := types.NamespacedName{Namespace: stellarflow.SystemNamespace, Name: stellarflow.CredentialName(stellarflow.ClusterName(cluster))}
	if err := c.hub.client.Get(t.Context(), key, &secret); err != nil {
		t.Fatal(err)
	}
	secret.Data = map[string][]byte{stellarflow.SecretKeyKubeconfig: kubeconfig}
	if err := c.hub.client.Update(t.Context(), &secret); err != nil {
		t.Fatal(err)
	}
}
