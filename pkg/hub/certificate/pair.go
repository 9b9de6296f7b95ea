package certificate

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
	"time"

	"k8s.io/client-go/util/keyutil"
)

const (
	// AuthorityLasts is how long a CA of ours holds.
	AuthorityLasts = 10 * 365 * 24 * time.Hour
	// backdated is how long ago certificates begin to hold: clocks differ.
	backdated = time.Hour
)

// Pair is a certificate with its key.
type Pair struct {
	Certificate *x509.Certificate
	Key         crypto.Signer
}

// NewAuthority makes a CA that has signed itself.
func NewAuthority(name string, now time.Time) (Pair, error) {
	return sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-backdated), NotAfter: now.Add(AuthorityLasts),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, BasicConstraintsValid: true, IsCA: true,
	}, nil)
}

// Serving makes a certificate for a server with a name or an address, signed by the CA. It holds no longer than the CA does.
func (p Pair) Serving(host string, lasts time.Duration, now time.Time) (Pair, error) {
	names, addresses := []string{host}, []net.IP(nil)
	if address := net.ParseIP(host); address != nil {
		names, addresses = nil, []net.IP{address}
	}
	until := now.Add(lasts)
	if p.Certificate.NotAfter.Before(until) {
		until = p.Certificate.NotAfter
	}
	return sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: host}, DNSNames: names, IPAddresses: addresses, NotBefore: now.Add(-backdated), NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}, &p)
}

// Fresh reports whether more than a third of the certificate's life is left: then it need not be renewed.
func (p Pair) Fresh(now time.Time) bool {
	life := p.Certificate.NotAfter.Sub(p.Certificate.NotBefore)
	return !now.Before(p.Certificate.NotBefore) && now.Before(p.Certificate.NotAfter.Add(-life/3))
}

// TrustedBy reports whether a client with these CAs, PEM, takes the certificate for a server of that name or address.
func (p Pair) TrustedBy(bundle []byte, host string, now time.Time) bool {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle)
	_, err := p.Certificate.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	return err == nil
}

// Encode returns certificate and key as PEM.
func (p Pair) Encode() (certificate, key []byte, err error) {
	key, err = keyutil.MarshalPrivateKeyToPEM(p.Key)
	if err != nil {
		return nil, nil, fmt.Errorf("write a key: %w", err)
	}
	return Encode(p.Certificate), key, nil
}

// Encode returns a certificate as PEM.
func Encode(certificate *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})
}

// Parse reads a certificate, the first of several, and its key, PEM.
func Parse(certificate, key []byte) (Pair, error) {
	read, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return Pair{}, fmt.Errorf("read a certificate: %w", err)
	}
	signer, ok := read.PrivateKey.(crypto.Signer)
	if !ok {
		return Pair{}, errors.New("read a certificate: its key cannot sign")
	}
	return Pair{read.Leaf, signer}, nil
}

// sign makes a key and a certificate for it, signed by a CA or without one by itself.
func sign(template *x509.Certificate, authority *Pair) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("make a key: %w", err)
	}
	const serialBits = 127
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits)); err != nil {
		return Pair{}, fmt.Errorf("make a certificate: %w", err)
	}
	signer := Pair{template, key}
	if authority != nil {
		signer = *authority
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, signer.Certificate, key.Public(), signer.Key)
	if err != nil {
		return Pair{}, fmt.Errorf("make a certificate: %w", err)
	}
	made, err := x509.ParseCertificate(raw)
	if err != nil {
		return Pair{}, fmt.Errorf("make a certificate: %w", err)
	}
	return Pair{made, key}, nil
}
