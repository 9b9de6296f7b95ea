package integration

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/guard"
)

// TestStandbyAnswers lets the API server ask a replica that does not lead: what a person asks becomes an intent, and the leader does it.
func TestStandbyAnswers(t *testing.T) {
	c := sharedClusters(t)
	configure, address := elected(t, c, "0"), c.serveWebhook(t)
	c, _, ns := setUp(t, managerOptions{configure: configure, webhook: freeAddress(t)})
	eventually(t, "a leader", func(ctx context.Context) (bool, string) { return holder(ctx, t, c) != "", "none" })
	leader := holder(t.Context(), t, c)
	standby := startManager(t, c, managerOptions{configure: configure, webhook: address})
	a := acting{c, ns, address, c.hub.as(t, "alice")}
	a.asks(t, "asked")
	a.act(t, "asked", resume)
	a.wecs["cluster1"].waitFor(t, ns, "asked", "the resume", func(w *unstructured.Unstructured) bool { return nodePhase(w, "asked-1") == "Succeeded" })
	a.waitEvent(t, ns, "asked", "IntentDone", "resume asked by alice was done on cluster cluster1")
	if now := holder(t.Context(), t, c); now != leader {
		t.Errorf("%s leads, and %s did", now, leader)
	}
	standby.stop() // and nobody else was asked
	if _, err := argoServer(t.Context(), a.alice, ns, "asked", resume); !refusedWith(err, "failed calling webhook") {
		t.Errorf("without it: %v", err)
	}
}

// issuer is a CA, as cert-manager keeps one.
type issuer struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte
}

func newIssuer(t *testing.T) issuer {
	t.Helper()
	i := issuer{certificate: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "issuer"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}}
	i.key, i.pem, _ = i.sign(t, i.certificate)
	return i
}

// sign returns a key, a certificate for it, and both as text; an issuer without a key signs itself.
func (i issuer) sign(t *testing.T, template *x509.Certificate) (key *ecdsa.PrivateKey, certificate, keyText []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	by := i.key
	if by == nil {
		by = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, i.certificate, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw})
}

// issue is what cert-manager puts into the Secret of a Certificate. It ends so soon that the manager would renew one of its own.
func (i issuer) issue(t *testing.T, serial int64) map[string][]byte {
	t.Helper()
	_, certificate, key := i.sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-100 * time.Minute), NotAfter: time.Now().Add(50 * time.Minute),
		IPAddresses: []net.IP{net.ParseIP("127.0.0.1")}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	return map[string][]byte{corev1.TLSCertKey: certificate, corev1.TLSPrivateKeyKey: key, "ca.crt": i.pem}
}

// served is the serial number of the certificate that is served at an address to who trusts the issuer, 0 if none.
func (i issuer) served(ctx context.Context, address string) (int64, error) {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(i.pem)
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}}
	connection, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return 0, err
	}
	defer func() { _ = connection.Close() }()
	return connection.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.Int64(), nil
}

// TestCertManager serves a certificate that cert-manager keeps, and what follows it when it renews that under another CA: it is served and
// trusted, and what cert-manager wrote stays.
func TestCertManager(t *testing.T) {
	c := sharedClusters(t)
	secrets := c.hub.core.CoreV1().Secrets(stellarflow.SystemNamespace)
	remove := func(ctx context.Context) {
		if err := secrets.Delete(ctx, guard.Secret, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	}
	remove(t.Context()) // the manager's own of another test
	t.Cleanup(func() { remove(context.Background()) })
	first := newIssuer(t)
	kept, err := secrets.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: guard.Secret, Annotations: map[string]string{
			"cert-manager.io/certificate-name": guard.Secret, "cert-manager.io/issuer-name": "issuer", "cert-manager.io/issuer-kind": "Issuer",
		}},
		Type: corev1.SecretTypeTLS, Data: first.issue(t, 11),
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	a, _ := setUpActing(t, managerOptions{})
	check := func(name string, by issuer, serial int64) {
		t.Helper()
		eventually(t, "the certificate to be served and trusted", func(ctx context.Context) (bool, string) {
			got, err := by.served(ctx, a.address)
			if err != nil || got != serial {
				return false, fmt.Sprintf("certificate %d: %v", got, err)
			}
			trusted, err := c.hub.trust(ctx)
			if err != nil {
				return false, err.Error()
			}
			for i := range trusted {
				if !bytes.Equal(trusted[i], by.pem) {
					return false, "the API server trusts another CA"
				}
			}
			return true, ""
		})
		a.asks(t, name)
		a.act(t, name, resume)
		a.waitEvent(t, a.ns, name, "IntentDone", "resume asked by alice was done on cluster cluster1")
		now, err := secrets.Get(t.Context(), guard.Secret, metav1.GetOptions{})
		if err != nil || now.ResourceVersion != kept.ResourceVersion || !maps.EqualFunc(now.Data, kept.Data, bytes.Equal) {
			t.Errorf("what cert-manager wrote was changed, or is gone: %v", err)
		}
	}
	check("first", first, 11)
	second := newIssuer(t)
	kept.Data = second.issue(t, 12)
	if kept, err = secrets.Update(t.Context(), kept, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	check("second", second, 12)
}
