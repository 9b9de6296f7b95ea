package guard

import (
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"k8s.io/client-go/util/cert"

	"stellarflow.io/stellarflow/pkg/hub/certificate"
)

// leafLasts is how long the webhook's certificate holds. It is renewed when a third of that is left, and so is the CA.
const leafLasts = 365 * 24 * time.Hour

// Keys of the Secret. The names are those of a TLS Secret, as cert-manager writes them too.
const (
	keyCA        = "ca.crt"
	keyCAKey     = "ca.key"
	keyLeaf      = "tls.crt"
	keyLeafKey   = "tls.key"
	commonNameCA = "stellarflow-webhook-ca"
)

// renew returns the data of the Secret as it should be at a time, the same if it is good. trusted are the certificates, PEM, that the API
// server trusts by now: a new CA signs only after it is among them, so that at no time a certificate is served that it does not trust.
func renew(data map[string][]byte, host string, trusted []byte, now time.Time) (map[string][]byte, error) {
	data, ca, err := renewCA(data, now)
	if err != nil {
		return nil, err
	}
	leaf, err := certificate.Parse(data[keyLeaf], data[keyLeafKey])
	if err == nil && leaf.Fresh(now) && leaf.Certificate.VerifyHostname(host) == nil && leaf.Certificate.CheckSignatureFrom(ca.Certificate) == nil {
		return data, nil
	}
	if err == nil && leaf.TrustedBy(data[keyCA], host, now) && !holds(trusted, ca.Certificate) {
		return data, nil
	}
	made, err := ca.Serving(host, leafLasts, now)
	if err != nil {
		return nil, fmt.Errorf("the webhook's certificate: %w", err)
	}
	raw, key, err := made.Encode()
	if err != nil {
		return nil, fmt.Errorf("the webhook's certificate: %w", err)
	}
	return map[string][]byte{keyCA: data[keyCA], keyCAKey: data[keyCAKey], keyLeaf: raw, keyLeafKey: key}, nil
}

// renewCA returns the data with a CA that is good, and that CA.
func renewCA(data map[string][]byte, now time.Time) (map[string][]byte, certificate.Pair, error) {
	ca, err := certificate.Parse(data[keyCA], data[keyCAKey])
	if err == nil && ca.Fresh(now) {
		return data, ca, nil
	}
	made, err := certificate.NewAuthority(commonNameCA, now)
	if err != nil {
		return nil, certificate.Pair{}, fmt.Errorf("the webhook's certificate: %w", err)
	}
	bundle, key, err := made.Encode()
	if err != nil {
		return nil, certificate.Pair{}, fmt.Errorf("the webhook's certificate: %w", err)
	}
	if ca.Certificate != nil && now.Before(ca.Certificate.NotAfter) { // what it has signed is served until the new one is trusted
		bundle = append(slices.Clone(bundle), certificate.Encode(ca.Certificate)...)
	}
	return map[string][]byte{keyCA: bundle, keyCAKey: key, keyLeaf: data[keyLeaf], keyLeafKey: data[keyLeafKey]}, made, nil
}

// holds reports whether a certificate is among others, PEM.
func holds(bundle []byte, certificate *x509.Certificate) bool {
	all, err := cert.ParseCertsPEM(bundle)
	return err == nil && slices.ContainsFunc(all, certificate.Equal)
}
