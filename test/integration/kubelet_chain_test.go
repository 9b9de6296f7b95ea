package integration

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/keyutil"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/certificate"
	"stellarflow.io/stellarflow/pkg/hub/kubelet"
)

// verifying makes an API server one that shows kubelets a certificate and takes only theirs that a CA has signed, as docs/operations.md
// has it for hubs. Its users are signed by the same CA as that certificate, as in clusters of kubeadm.
type verifying struct {
	clients, kubelets certificate.Pair
}

// Configure sets the flags.
func (v verifying) Configure(dir string, args *envtest.Arguments) error {
	shown, key, err := v.sign("kube-apiserver-kubelet-client", "system:masters")
	if err != nil {
		return err
	}
	for flag, content := range map[string][]byte{
		"client-ca-file": certificate.Encode(v.clients.Certificate), "kubelet-certificate-authority": certificate.Encode(v.kubelets.Certificate),
		"kubelet-client-certificate": shown, "kubelet-client-key": key,
	} {
		file := filepath.Join(dir, flag)
		if err := os.WriteFile(file, content, 0o600); err != nil {
			return err
		}
		args.Set(flag, file)
	}
	return nil
}

// Start has nothing to do.
func (v verifying) Start() error { return nil }

// Stop has nothing to do.
func (v verifying) Stop() error { return nil }

// AddUser returns a config of a user.
func (v verifying) AddUser(user envtest.User, base *rest.Config) (*rest.Config, error) {
	config := rest.CopyConfig(base)
	var err error
	config.CertData, config.KeyData, err = v.sign(user.Name, user.Groups...)
	return config, err
}

func (v verifying) sign(name string, groups ...string) (cert, key []byte, err error) {
	made, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	raw, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name, Organization: groups}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, v.clients.Certificate, made.Public(), v.clients.Key)
	if err != nil {
		return nil, nil, err
	}
	key, err = keyutil.MarshalPrivateKeyToPEM(made)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), key, err
}

// TestKubeletBehindAnAPIServer: a person's `kubectl logs` on a hub that verifies kubelets goes through its API server, our endpoint with
// the CA that an administrator has put there, and the cluster's API server, to the kubelet there.
func TestKubeletBehindAnAPIServer(t *testing.T) {
	var v verifying
	var err error
	for name, pair := range map[string]*certificate.Pair{"clients": &v.clients, "kubelets": &v.kubelets} {
		if *pair, err = certificate.NewAuthority(name, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	shared := sharedClusters(t)
	hub, err := newServer(t, func(env *envtest.Environment) { env.ControlPlane.GetAPIServer().Authn = v })
	if hub != nil {
		t.Cleanup(func() { _ = hub.env.Stop() })
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := hub.apply("rbac"); err != nil {
		t.Fatal(err)
	}
	raw, key, err := v.kubelets.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hub.core.CoreV1().Secrets(stellarflow.SystemNamespace).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: kubelet.Secret}, Type: corev1.SecretTypeTLS, Data: map[string][]byte{corev1.TLSCertKey: raw, corev1.TLSPrivateKeyKey: key},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	e := &endpoint{clusters: &clusters{hub: hub, wecs: shared.wecs}}
	e.serve(t)
	mirror(t, hub, e)

	read := func(container string) (string, error) {
		tail := int64(3)
		raw, err := hub.core.CoreV1().Pods(e.ns).GetLogs(e.pod, &corev1.PodLogOptions{Container: container, TailLines: &tail, Timestamps: true}).DoRaw(t.Context())
		return string(raw), err
	}
	eventually(t, "the log", func(context.Context) (bool, string) {
		said, err := read("main")
		return err == nil && strings.HasPrefix(said, "/containerLogs/"+e.ns+"/"+e.pod+"/main?") && strings.Contains(said, "tailLines=3&timestamps=true"), fmt.Sprint(said, err)
	})
	if said, err := read("sidecar"); err == nil || !strings.Contains(said, "cluster cluster1: container sidecar is not valid for pod") {
		t.Errorf("what the cluster says of a container that it does not have is %q, %v", said, err)
	}
}

// mirror makes the Node and the Pod on the hub, by which its API server comes to the endpoint. The pod has a container more than the real one.
func mirror(t *testing.T, hub *server, e *endpoint) {
	t.Helper()
	host, port, err := net.SplitHostPort(e.address)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.ParseInt(port, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	node, err := hub.core.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "stellarflow-cluster1"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: host}}
	node.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(number)
	if _, err := hub.core.CoreV1().Nodes().UpdateStatus(t.Context(), node, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	containers := []corev1.Container{{Name: "main", Image: "busybox"}, {Name: "sidecar", Image: "busybox"}}
	if _, err := hub.core.CoreV1().Pods(e.ns).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: e.pod}, Spec: corev1.PodSpec{NodeName: node.Name, Containers: containers},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}
