package integration

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/kubelet"
	"stellarflow.io/stellarflow/pkg/wec"
)

// kubeletRights is the test of the rights that the endpoint for logs needs, on the hub and on a WEC.
const kubeletRights = "TestKubeletRights"

// endpoint is the endpoint for logs, with the rights of config/rbac on a real hub, and a pod on a real WEC whose kubelet is ours.
type endpoint struct {
	*clusters
	t                    *testing.T
	address, ns, pod     string
	authorities          *x509.CertPool
	hubDenied, wecDenied denials
}

// onePod is a record of one pod.
type onePod struct {
	key    types.NamespacedName
	target kubelet.Target
}

func (p onePod) Find(_ context.Context, key types.NamespacedName) (kubelet.Target, bool) {
	if key != p.key {
		return kubelet.Target{}, false
	}
	return p.target, true
}

// serveKubelet starts it.
func serveKubelet(t *testing.T) *endpoint {
	t.Helper()
	e := &endpoint{}
	e.serve(t)
	return e
}

// serve starts it, and returns when it has a certificate.
func (e *endpoint) serve(t *testing.T) {
	t.Helper()
	e.t, e.address = t, freeAddress(t)
	if e.clusters == nil {
		e.clusters = sharedClusters(t)
	}
	s := e.wecs["cluster1"]
	e.ns = e.namespace(t)
	if _, err := s.core.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: e.ns}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	e.pod = s.runningPod(t, e.ns)

	asHub := rest.CopyConfig(e.hub.config)
	asHub.Impersonate = rest.ImpersonationConfig{UserName: hubManager, Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + stellarflow.SystemNamespace, "system:authenticated"}}
	asHub.Wrap(e.hubDenied.wrap)
	core, err := kubernetes.NewForConfig(asHub)
	if err != nil {
		t.Fatal(err)
	}
	asWEC := &rest.Config{Host: s.config.Host, BearerToken: s.token(t, stellarflow.SystemNamespace, "stellarflow"), TLSClientConfig: rest.TLSClientConfig{CAData: s.config.CAData}}
	asWEC.Wrap(e.wecDenied.wrap)
	clients, err := wec.Dial(asWEC)
	if err != nil {
		t.Fatal(err)
	}
	server := &kubelet.Server{
		Address: e.address, Host: "127.0.0.1", Core: core, Now: time.Now, Log: logr.Discard(),
		Pods: onePod{types.NamespacedName{Namespace: e.ns, Name: e.pod}, kubelet.Target{Cluster: "cluster1", Node: "stellarflow-cluster1", Streams: clients.Streams()}},
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the endpoint ended: %v", err)
		}
		clients.Close()
	})
	e.trust()
}

// trust waits until what the endpoint serves is signed by the CA in its Secret.
func (e *endpoint) trust() {
	e.t.Helper()
	eventually(e.t, "a certificate that the CA in the Secret has signed", func(ctx context.Context) (bool, string) {
		secret, err := e.hub.core.CoreV1().Secrets(stellarflow.SystemNamespace).Get(ctx, kubelet.Secret, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		e.authorities = x509.NewCertPool()
		e.authorities.AppendCertsFromPEM(secret.Data[corev1.TLSCertKey])
		connection, err := (&tls.Dialer{Config: &tls.Config{RootCAs: e.authorities}}).DialContext(ctx, "tcp", e.address)
		if err == nil {
			_ = connection.Close()
		}
		return err == nil, fmt.Sprint(err)
	})
}

// runningPod makes a pod that runs on a Node whose kubelet repeats what it is asked.
func (s *server) runningPod(t *testing.T, ns string) string {
	t.Helper()
	node := s.node(t, "")
	pod, err := s.core.CoreV1().Pods(ns).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "pod-"}, Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "main", Image: "busybox"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return pod.Name
}

// node makes a Node whose kubelet repeats what it is asked, after a word of its own: a log is the address of the request, and exec, attach and
// port-forward switch to a protocol in which it says it.
func (s *server) node(t *testing.T, word string) string {
	t.Helper()
	return s.nodeOf(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			_, _ = fmt.Fprintf(w, "%s%s\n", word, r.URL)
			return
		}
		if connection := switched(w, r); connection != nil {
			_, _ = fmt.Fprintf(connection, "%s%s\n", word, r.URL)
			_ = connection.Close()
		}
	})
}

// switched is a connection that has switched to the protocol that the request wants, nil if it could not.
func switched(w http.ResponseWriter, r *http.Request) net.Conn {
	connection, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil
	}
	_, _ = fmt.Fprintf(connection, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n", r.Header.Get("Upgrade"))
	return connection
}

// nodeOf makes a Node with a kubelet.
func (s *server) nodeOf(t *testing.T, kubelet http.HandlerFunc) string {
	t.Helper()
	node := httptest.NewTLSServer(kubelet)
	t.Cleanup(node.Close)
	host, port, err := net.SplitHostPort(node.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.ParseInt(port, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	made, err := s.core.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{GenerateName: "node-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.core.CoreV1().Nodes().Delete(context.Background(), made.Name, metav1.DeleteOptions{})
	})
	made.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: host}}
	made.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(number)
	if _, err := s.core.CoreV1().Nodes().UpdateStatus(t.Context(), made, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	return made.Name
}

// certificate is a client certificate that the hub's API server accepts.
func (e *endpoint) certificate(name string, groups ...string) *tls.Certificate {
	e.t.Helper()
	user, err := e.hub.env.AddUser(envtest.User{Name: name, Groups: groups}, nil)
	if err != nil {
		e.t.Fatal(err)
	}
	made, err := tls.X509KeyPair(user.Config().CertData, user.Config().KeyData)
	if err != nil {
		e.t.Fatal(err)
	}
	return &made
}

// ask asks for something of the pod: /exec/main?query is /exec/NAMESPACE/POD/main?query. It returns the status and what is said.
func (e *endpoint) ask(ctx context.Context, who *tls.Certificate, method, what string) (int, string) {
	e.t.Helper()
	connection, read, response := e.request(ctx, who, method, what)
	defer func() { _, _ = connection.Close(), response.Body.Close() }()
	if response.StatusCode == http.StatusSwitchingProtocols {
		line, _ := read.ReadString('\n')
		return response.StatusCode, line
	}
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	return response.StatusCode, string(raw)
}

// request asks for something as ask does. It returns what an answer that switches protocols is read from, too.
func (e *endpoint) request(ctx context.Context, who *tls.Certificate, method, what string) (net.Conn, *bufio.Reader, *http.Response) {
	e.t.Helper()
	config := &tls.Config{RootCAs: e.authorities}
	if who != nil {
		config.Certificates = []tls.Certificate{*who}
	}
	connection, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", e.address)
	if err != nil {
		e.t.Fatal(err)
	}
	_ = connection.SetDeadline(time.Now().Add(20 * time.Second))
	what, query, _ := strings.Cut(what, "?")
	parts := strings.SplitN(what, "/", 3)
	path := "/" + parts[1] + "/" + e.ns + "/" + e.pod
	if len(parts) > 2 {
		path += "/" + parts[2]
	}
	upgrade := ""
	switch {
	case strings.HasPrefix(what, "/containerLogs"):
	case method == http.MethodGet:
		upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: v4.channel.k8s.io\r\n"
	default:
		upgrade = "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n"
	}
	if _, err := fmt.Fprintf(connection, "%s %s?%s HTTP/1.1\r\nHost: x\r\n%s\r\n", method, path, query, upgrade); err != nil {
		e.t.Fatal(err)
	}
	read := bufio.NewReader(connection)
	response, err := http.ReadResponse(read, nil)
	if err != nil {
		e.t.Fatal(err)
	}
	return connection, read, response
}

// TestKubelet: with a real API server's certificates, its CAs and its word on rights, and with another one that has the pod, logs and exec
// are relayed to who may have them, and to nobody else.
func TestKubelet(t *testing.T) {
	e := serveKubelet(t)
	e.create(t, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "kubelet-reader"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"nodes/proxy"}, Verbs: []string{"get"}, ResourceNames: []string{"stellarflow-cluster1"}},
	}})
	e.create(t, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "kubelet-reader"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "kubelet-reader"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: "log-readers"}},
	})
	apiServer := e.certificate("kube-apiserver-kubelet-client", "system:masters")
	other, err := e.wecs["cluster1"].env.AddUser(envtest.User{Name: "kube-apiserver-kubelet-client", Groups: []string{"system:masters"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ofWEC, err := tls.X509KeyPair(other.Config().CertData, other.Config().KeyData)
	if err != nil {
		t.Fatal(err)
	}
	node := e.certificate("system:node:x", "system:nodes")
	cases := map[string]struct {
		reason       string
		who          *tls.Certificate
		method, what string
		code         int
		says         string
	}{
		"Log":       {"the API server may", apiServer, "GET", "/containerLogs/main?follow=true&tailLines=3&stream=All", 200, "/containerLogs/" + e.ns + "/" + e.pod + "/main?follow=true&"},
		"LogTail":   {"with its options", apiServer, "GET", "/containerLogs/main?tailLines=3", 200, "tailLines=3"},
		"Container": {"there is no such container", apiServer, "GET", "/containerLogs/other", 400, "cluster cluster1: container other is not valid for pod " + e.pod},
		"Exec":      {"SPDY", apiServer, "POST", "/exec/main?command=ls&command=-l&output=1", 101, "/exec/" + e.ns + "/" + e.pod + "/main?command=ls&command=-l&output=1"},
		"Attach":    {"SPDY", apiServer, "POST", "/attach/main?output=1", 101, "/attach/" + e.ns + "/" + e.pod + "/main?output=1"},
		"Forward":   {"SPDY", apiServer, "POST", "/portForward", 101, "/portForward/" + e.ns + "/" + e.pod},
		"Nobody":    {"no certificate", nil, "GET", "/containerLogs/main", 401, "no client certificate"},
		"WEC":       {"the API server of a WEC has the same name and another CA", &ofWEC, "GET", "/containerLogs/main", 401, "not accepted"},
		"Node":      {"a node has no right to another's pods", node, "GET", "/containerLogs/main", 403, `"system:node:x" may not get nodes/proxy`},
		"NodeExec":  {"nor may it act in them", node, "POST", "/exec/main?command=ls", 403, `"system:node:x" may not create nodes/proxy`},
		"NodePath":  {"nor see what else is here", node, "GET", "/metrics", 403, `"system:node:x" may not get nodes/proxy`},
		"Path":      {"of a kubelet's paths not all are here", apiServer, "GET", "/metrics", 404, "only those of logs"},
		"Person":    {"a right to the Node is enough", e.certificate("ann", "log-readers"), "GET", "/containerLogs/main", 200, "/containerLogs/"},
		"PersonRun": {"for logs", e.certificate("ann", "log-readers"), "GET", "/exec/main?command=ls", 403, `"ann" may not create nodes/proxy`},
		"Stranger":  {"a person without it", e.certificate("bob", "people"), "GET", "/containerLogs/main", 403, `"bob" may not get nodes/proxy`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			code, said := e.ask(t.Context(), tc.who, tc.method, tc.what)
			if code != tc.code || !strings.Contains(said, tc.says) {
				t.Errorf("%s: %d %q, want %d %q", tc.reason, code, said, tc.code, tc.says)
			}
		})
	}
}

// TestKubeletRights takes each right of the endpoint away: it is asked for and refused, and the caller is told.
func TestKubeletRights(t *testing.T) {
	e := serveKubelet(t)
	who := e.certificate("kube-apiserver-kubelet-client", "system:masters")
	uses := map[string]struct{ method, what string }{
		"get pods/log":            {"GET", "/containerLogs/main"},
		"get pods/exec":           {"GET", "/exec/main?command=ls&output=1"},
		"create pods/exec":        {"POST", "/exec/main?command=ls&output=1"},
		"get pods/attach":         {"GET", "/attach/main?output=1"},
		"create pods/attach":      {"POST", "/attach/main?output=1"},
		"get pods/portforward":    {"GET", "/portForward?port=80"},
		"create pods/portforward": {"POST", "/portForward"},
	}
	n := 0
	for _, r := range granted(t, "rbac/cluster_role.yaml", "wec/cluster_role.yaml") {
		if elsewhere[r.String()] != kubeletRights {
			continue
		}
		n++
		t.Run(r.String(), func(t *testing.T) {
			api, denied := e.wecs["cluster1"], &e.wecDenied
			use, says := uses[r.verb+" "+r.resource], "cluster cluster1 does not let the hub do this"
			if r.resource == "subjectaccessreviews" {
				api, denied, says = e.hub, &e.hubDenied, "the hub's API server does not say whether you may do this"
				use = uses["get pods/log"]
				who = e.certificate("another", "system:masters") // nothing is remembered of it
			}
			restore := api.without(t, r)
			eventually(t, "a refusal and a word about it", func(ctx context.Context) (bool, string) {
				code, said := e.ask(ctx, who, use.method, use.what)
				return denied.has(r) && code >= 400 && strings.Contains(said, says), fmt.Sprint(code, " ", said)
			})
			restore()
			eventually(t, "an answer again", func(ctx context.Context) (bool, string) {
				code, said := e.ask(ctx, who, use.method, use.what)
				return code == 200 || code == 101 || code == 400 && use.method == http.MethodGet, fmt.Sprint(code, " ", said)
			})
		})
	}
	if n != len(uses)+1 {
		t.Errorf("%d rights are to be shown, and %d are granted", len(uses)+1, n)
	}
}

// TestKubeletAuthorityRights: a manager that may not read the Secret with the CA serves nothing until it may.
func TestKubeletAuthorityRights(t *testing.T) {
	c := sharedClusters(t)
	r := right{role: strings.TrimSuffix(ownRole, ": "), resource: "secrets", verb: "get"}
	restore := c.hub.without(t, r)
	e := &endpoint{}
	go func() {
		defer restore()
		for deadline := time.Now().Add(20 * time.Second); !e.hubDenied.has(r) && time.Now().Before(deadline); {
			time.Sleep(10 * time.Millisecond)
		}
	}()
	e.serve(t)
	if !e.hubDenied.has(r) {
		t.Error("the right is not needed")
	}
}
