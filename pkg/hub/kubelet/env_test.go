package kubelet

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"stellarflow.io/stellarflow/pkg/hub/certificate"
	"stellarflow.io/stellarflow/pkg/wec"
)

// env is a running endpoint with a hub and a cluster1 of which the test decides the answers.
type env struct {
	t       *testing.T
	address string
	// clients are the hub's CA of client certificates, serving the one that has signed the endpoint's.
	clients certificate.Pair
	serving *x509.CertPool
	hub     *fakeHub
	stop    func() // ends the endpoint and waits for it
}

// fakeHub answers what the endpoint asks of the hub's API server.
type fakeHub struct {
	mu       sync.Mutex
	clientCA []byte
	secret   *corev1.Secret
	reviews  []authorizationv1.SubjectAccessReviewSpec
	// down refuses everything.
	down bool
}

func (h *fakeHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var answer any
	code := http.StatusOK
	const secrets = "/api/v1/namespaces/stellarflow-system/secrets"
	switch what := r.Method + " " + r.URL.Path; {
	case h.down:
		code, answer = http.StatusInternalServerError, metav1.Status{Status: "Failure", Code: 500, Message: "down"}
	case what == "GET /api/v1/namespaces/kube-system/configmaps/"+clientCAs:
		answer = &corev1.ConfigMap{Data: map[string]string{keyClientCA: string(h.clientCA)}}
	case what == "GET "+secrets+"/"+Secret && h.secret == nil:
		code, answer = http.StatusNotFound, metav1.Status{Status: "Failure", Code: 404, Reason: metav1.StatusReasonNotFound}
	case what == "GET "+secrets+"/"+Secret:
		answer = h.secret
	case what == "POST "+secrets && h.secret != nil:
		code, answer = http.StatusConflict, metav1.Status{Status: "Failure", Code: 409, Reason: metav1.StatusReasonAlreadyExists}
	case what == "POST "+secrets:
		h.secret = &corev1.Secret{}
		_ = json.NewDecoder(r.Body).Decode(h.secret)
		answer = h.secret
	case what == "POST /apis/authorization.k8s.io/v1/subjectaccessreviews":
		var review authorizationv1.SubjectAccessReview
		_ = json.NewDecoder(r.Body).Decode(&review)
		h.reviews = append(h.reviews, review.Spec)
		review.Status.Allowed = may(review.Spec)
		answer = review
	default:
		code, answer = http.StatusTeapot, metav1.Status{Status: "Failure", Code: 418, Message: what}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(answer)
}

// may is what the hub's RBAC says: the API server may do everything, reader read on Node cluster1, everywhere read on all.
func may(spec authorizationv1.SubjectAccessReviewSpec) bool {
	a := spec.ResourceAttributes
	if a.Resource != "nodes" || a.Subresource != "proxy" || a.Group != "" || a.Namespace != "" {
		return false
	}
	switch spec.User {
	case "apiserver":
		return true
	case "reader":
		return a.Verb == "get" && a.Name == "stellarflow-cluster1"
	case "everywhere":
		return a.Verb == "get"
	}
	return false
}

// set changes the hub.
func (h *fakeHub) set(change func(*fakeHub)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(h)
}

// client returns a client of the hub.
func (h *fakeHub) client(t *testing.T) kubernetes.Interface {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	core, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL, QPS: 1000, Burst: 1000, ContentConfig: rest.ContentConfig{ContentType: "application/json"}})
	if err != nil {
		t.Fatal(err)
	}
	return core
}

// placed are the pods that the hub's record knows.
type placed map[types.NamespacedName]Target

func (p placed) Find(_ context.Context, pod types.NamespacedName) (Target, bool) {
	target, found := p[pod]
	return target, found
}

// start runs the endpoint, with pod argo/a on cluster1, whose API server the handler is.
func start(t *testing.T, cluster http.Handler, change ...func(*Server, placed)) *env {
	t.Helper()
	clients := authorityOf(t, "hub-clients")
	serving := authorityOf(t, "serving")
	raw, key, err := serving.Encode()
	if err != nil {
		t.Fatal(err)
	}
	e := &env{t: t, clients: clients, serving: x509.NewCertPool(), hub: &fakeHub{
		clientCA: certificate.Encode(clients.Certificate),
		secret:   &corev1.Secret{Data: map[string][]byte{corev1.TLSCertKey: raw, corev1.TLSPrivateKeyKey: key}},
	}}
	e.serving.AddCert(serving.Certificate)
	pods := placed{{Namespace: "argo", Name: "a"}: {Cluster: "cluster1", Node: "stellarflow-cluster1", UID: "u-1", Streams: streamsTo(t, cluster)}}
	server := &Server{Host: "127.0.0.1", Pods: pods, Core: e.hub.client(t), Now: time.Now, Log: logr.Discard()}
	for _, f := range change {
		f(server, pods)
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e.address = listener.Addr().String()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.serve(ctx, listener) }()
	e.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the endpoint ended: %v", err)
		}
	})
	t.Cleanup(e.stop)
	e.eventually("a certificate", func() bool {
		connection, err := (&tls.Dialer{Config: &tls.Config{RootCAs: e.serving}}).DialContext(t.Context(), "tcp", e.address)
		if err == nil {
			_ = connection.Close()
		}
		return err == nil
	})
	return e
}

// streamsTo is a connection to a cluster.
func streamsTo(t *testing.T, cluster http.Handler) http.RoundTripper {
	t.Helper()
	server := httptest.NewTLSServer(cluster)
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	clients, err := wec.Dial(&rest.Config{Host: server.URL, BearerToken: "the-hubs", TLSClientConfig: rest.TLSClientConfig{CAData: ca}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(clients.Close)
	return clients.Streams()
}

func authorityOf(t *testing.T, name string) certificate.Pair {
	t.Helper()
	made, err := certificate.NewAuthority(name, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// person returns a client certificate.
func person(t *testing.T, ca certificate.Pair, name string, change ...func(*x509.Certificate)) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name, Organization: []string{"people"}}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, f := range change {
		f(template)
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, ca.Certificate, key.Public(), ca.Key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}
}

// as returns a client with a certificate, nil for none, that opens a connection for each request.
func (e *env) as(who *tls.Certificate) *http.Client {
	config := &tls.Config{RootCAs: e.serving}
	if who != nil {
		config.Certificates = []tls.Certificate{*who}
	}
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true, ForceAttemptHTTP2: true, DisableCompression: true}
	e.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// apiServer is a client as the hub's API server is one.
func (e *env) apiServer() *http.Client { return e.as(person(e.t, e.clients, "apiserver")) }

// do sends a request; the headers are NAME, VALUE and so on.
func (e *env) do(ctx context.Context, client *http.Client, method, path string, headers ...string) *http.Response {
	e.t.Helper()
	request, err := http.NewRequestWithContext(ctx, method, "https://"+e.address+path, nil)
	if err != nil {
		e.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Add(headers[i], headers[i+1])
	}
	response, err := client.Do(request)
	if err != nil {
		e.t.Fatalf("%s %s: %v", method, path, err)
	}
	e.t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

// ask sends a request and returns the whole answer.
func (e *env) ask(client *http.Client, method, path string, headers ...string) (int, string) {
	e.t.Helper()
	response := e.do(e.t.Context(), client, method, path, headers...)
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		e.t.Fatalf("%s %s: %v", method, path, err)
	}
	return response.StatusCode, string(raw)
}

// eventually waits for something that happens soon.
func (e *env) eventually(what string, is func() bool) {
	e.t.Helper()
	const limit = 20 * time.Second
	for deadline := time.Now().Add(limit); !is(); {
		if time.Now().After(deadline) {
			e.t.Fatalf("in %s there is not %s", limit, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// within waits for a channel.
func (e *env) within(what string, done <-chan struct{}) {
	e.t.Helper()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		e.t.Fatalf("in 20 s there is not %s", what)
	}
}
