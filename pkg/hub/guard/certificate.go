package guard

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"time"

	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// How long certificates hold. They are renewed when a third of that is left, and count from an hour ago: clocks differ.
const (
	caLasts   = 10 * 365 * 24 * time.Hour
	leafLasts = 365 * 24 * time.Hour
	backdated = time.Hour
)

// Keys of the Secret. The names are those of a TLS Secret, as cert-manager writes them too.
const (
	keyCA        = "ca.crt"
	keyCAKey     = "ca.key"
	keyLeaf      = "tls.crt"
	keyLeafKey   = "tls.key"
	blockCert    = "CERTIFICATE"
	commonNameCA = "stellarflow-webhook-ca"
)

// pair is a certificate with its key.
type pair struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

// renew returns the data of the Secret as it should be at a time, the same if it is good. trusted are the certificates, PEM, that the API
// server trusts by now: a new CA signs only after it is among them, so that at no time a certificate is served that it does not trust.
func renew(data map[string][]byte, host string, trusted []byte, now time.Time) (map[string][]byte, error) {
	data, ca, err := renewCA(data, now)
	if err != nil {
		return nil, err
	}
	leaf, err := parsePair(data[keyLeaf], data[keyLeafKey])
	if err == nil && fresh(leaf.certificate, now) && leaf.certificate.VerifyHostname(host) == nil && leaf.certificate.CheckSignatureFrom(ca.certificate) == nil {
		return data, nil
	}
	if err == nil && leaf.trustedBy(data[keyCA], host, now) && !holds(trusted, ca.certificate) {
		return data, nil
	}
	made, err := makeLeaf(ca, host, now)
	if err != nil {
		return nil, err
	}
	raw, err := made.encode()
	if err != nil {
		return nil, err
	}
	return map[string][]byte{keyCA: data[keyCA], keyCAKey: data[keyCAKey], keyLeaf: raw[keyLeaf], keyLeafKey: raw[keyLeafKey]}, nil
}

// renewCA returns the data with a CA that is good, and that CA.
func renewCA(data map[string][]byte, now time.Time) (map[string][]byte, pair, error) {
	ca, err := parsePair(data[keyCA], data[keyCAKey])
	if err == nil && fresh(ca.certificate, now) {
		return data, ca, nil
	}
	made, err := makeCA(now)
	if err != nil {
		return nil, pair{}, err
	}
	raw, err := made.encode()
	if err != nil {
		return nil, pair{}, err
	}
	bundle := raw[keyLeaf]
	if ca.certificate != nil && now.Before(ca.certificate.NotAfter) { // what it has signed is served until the new one is trusted
		bundle = append(slices.Clone(bundle), encodeCertificate(ca.certificate)...)
	}
	return map[string][]byte{keyCA: bundle, keyCAKey: raw[keyLeafKey], keyLeaf: data[keyLeaf], keyLeafKey: data[keyLeafKey]}, made, nil
}

// fresh reports whether more than a third of a certificate's life is left.
func fresh(certificate *x509.Certificate, now time.Time) bool {
	life := certificate.NotAfter.Sub(certificate.NotBefore)
	return !now.Before(certificate.NotBefore) && now.Before(certificate.NotAfter.Add(-life/3))
}

// trustedBy reports whether a client with these CAs takes the certificate.
func (p pair) trustedBy(bundle []byte, host string, now time.Time) bool {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle)
	_, err := p.certificate.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	return err == nil
}

// holds reports whether a certificate is among others, PEM.
func holds(bundle []byte, certificate *x509.Certificate) bool {
	all, err := cert.ParseCertsPEM(bundle)
	return err == nil && slices.ContainsFunc(all, certificate.Equal)
}

func makeCA(now time.Time) (pair, error) {
	return sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: commonNameCA}, NotBefore: now.Add(-backdated), NotAfter: now.Add(caLasts),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, BasicConstraintsValid: true, IsCA: true,
	}, nil)
}

func makeLeaf(ca pair, host string, now time.Time) (pair, error) {
	names, addresses := []string{host}, []net.IP(nil)
	if address := net.ParseIP(host); address != nil {
		names, addresses = nil, []net.IP{address}
	}
	return sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: host}, DNSNames: names, IPAddresses: addresses, NotBefore: now.Add(-backdated), NotAfter: now.Add(leafLasts),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}, &ca)
}

// sign makes a key and a certificate for it, signed by a CA or without one by itself.
func sign(template *x509.Certificate, ca *pair) (pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, fmt.Errorf("make a key for the webhook: %w", err)
	}
	const serialBits = 127
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits)); err != nil {
		return pair{}, fmt.Errorf("make a certificate for the webhook: %w", err)
	}
	signer := pair{template, key}
	if ca != nil {
		signer = *ca
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, signer.certificate, key.Public(), signer.key)
	if err != nil {
		return pair{}, fmt.Errorf("make a certificate for the webhook: %w", err)
	}
	made, err := x509.ParseCertificate(raw)
	if err != nil {
		return pair{}, fmt.Errorf("make a certificate for the webhook: %w", err)
	}
	return pair{made, key}, nil
}

// encode returns the pair as PEM.
func (p pair) encode() (map[string][]byte, error) {
	key, err := keyutil.MarshalPrivateKeyToPEM(p.key)
	if err != nil {
		return nil, fmt.Errorf("write a key of the webhook: %w", err)
	}
	return map[string][]byte{keyLeaf: encodeCertificate(p.certificate), keyLeafKey: key}, nil
}

func encodeCertificate(certificate *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: blockCert, Bytes: certificate.Raw})
}

// parsePair reads a certificate, the first of several, and its key.
func parsePair(certificate, key []byte) (pair, error) {
	read, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return pair{}, fmt.Errorf("read a certificate of the webhook: %w", err)
	}
	signer, ok := read.PrivateKey.(crypto.Signer)
	if !ok {
		return pair{}, errors.New("read a certificate of the webhook: its key cannot sign")
	}
	return pair{read.Leaf, signer}, nil
}
