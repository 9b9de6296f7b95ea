package kubelet

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/certificate"
)

// Secret of the system namespace holds the CA that signs what this endpoint serves: tls.crt and tls.key. An administrator may put another
// there, also one that a further CA has signed, with the chain behind it in tls.crt.
const Secret = "stellarflow-kubelet-ca" //nolint:gosec // a name, no credential

// commonNameCA is the name of the CA that we make.
const commonNameCA = "stellarflow-kubelet-ca"

const (
	// leafLasts is how long a certificate of the endpoint holds; it is renewed when a third of that is left. Its key is in memory only.
	leafLasts = 7 * 24 * time.Hour
	// lookEvery is how often the Secret is looked at: it may be replaced.
	lookEvery = time.Minute
)

// authority signs what is served.
type authority struct {
	core kubernetes.Interface
	host string
	now  func() time.Time

	signedBy []byte // tls.crt that the certificate was signed with
	leaf     certificate.Pair
	serving  atomic.Pointer[tls.Certificate]
}

// renew makes the CA if there is none, and a certificate if there is none that is good.
func (a *authority) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	secret, err := a.ensure(ctx)
	if err != nil {
		return err
	}
	signer := secret.Data[corev1.TLSCertKey]
	if a.leaf.Certificate != nil && a.leaf.Fresh(a.now()) && bytes.Equal(a.signedBy, signer) {
		return nil
	}
	ca, err := certificate.Parse(signer, secret.Data[corev1.TLSPrivateKeyKey])
	if err == nil {
		err = mayServe(ca.Certificate, a.now())
	}
	if err != nil {
		return fmt.Errorf("secret %s/%s: %w: put a CA with its key there (tls.crt, tls.key), or delete it and one is made", stellarflow.SystemNamespace, Secret, err)
	}
	leaf, err := ca.Serving(a.host, leafLasts, a.now())
	if err != nil {
		return err
	}
	chain := [][]byte{leaf.Certificate.Raw}
	for block, rest := pem.Decode(signer); block != nil; block, rest = pem.Decode(rest) {
		chain = append(chain, block.Bytes)
	}
	a.leaf, a.signedBy = leaf, signer
	a.serving.Store(&tls.Certificate{Certificate: chain, PrivateKey: leaf.Key, Leaf: leaf.Certificate})
	return nil
}

// mayServe says why a CA signs nothing that an API server takes.
func mayServe(ca *x509.Certificate, now time.Time) error {
	switch {
	case !ca.IsCA:
		return errors.New("its certificate is no CA")
	case ca.KeyUsage != 0 && ca.KeyUsage&x509.KeyUsageCertSign == 0:
		return errors.New("its CA may not sign certificates")
	case now.Before(ca.NotBefore) || now.After(ca.NotAfter):
		return fmt.Errorf("its CA holds from %s to %s", ca.NotBefore.Format(time.RFC3339), ca.NotAfter.Format(time.RFC3339))
	}
	return nil
}

// ensure returns the Secret, and makes it if there is none. Of several managers that do the API server lets one win.
func (a *authority) ensure(ctx context.Context) (*corev1.Secret, error) {
	secrets := a.core.CoreV1().Secrets(stellarflow.SystemNamespace)
	secret, err := secrets.Get(ctx, Secret, metav1.GetOptions{})
	if err == nil {
		return secret, nil
	}
	if !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("read secret %s/%s: %w", stellarflow.SystemNamespace, Secret, err)
	}
	made, err := certificate.NewAuthority(commonNameCA, a.now())
	if err != nil {
		return nil, err
	}
	raw, key, err := made.Encode()
	if err != nil {
		return nil, err
	}
	secret, err = secrets.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: stellarflow.SystemNamespace, Name: Secret, Labels: map[string]string{"app.kubernetes.io/part-of": "stellarflow"}},
		Type:       corev1.SecretTypeTLS, Data: map[string][]byte{corev1.TLSCertKey: raw, corev1.TLSPrivateKeyKey: key},
	}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		secret, err = secrets.Get(ctx, Secret, metav1.GetOptions{})
	}
	if err != nil {
		return nil, fmt.Errorf("make secret %s/%s: %w", stellarflow.SystemNamespace, Secret, err)
	}
	return secret, nil
}

// serve is a tls.Config's GetCertificate.
func (a *authority) serve(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	serving := a.serving.Load()
	if serving == nil {
		return nil, errors.New("there is no certificate yet")
	}
	return serving, nil
}
