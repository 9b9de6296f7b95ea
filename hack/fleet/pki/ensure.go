package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// CAFile and ServiceAccountKey are files that every cluster has beside those
// of its requests.
const (
	CAFile            = "ca.crt"
	CAKeyFile         = "ca.key"
	ServiceAccountKey = "service-account.key"
	ServiceAccountPub = "service-account.pub"
)

const lifetime = 10 * 365 * 24 * time.Hour

// Ensure makes the CA, the service account key and the requested certificates
// in dir. Files that are there stay, except a certificate that no longer
// names every address of its request (the fleet moved to another subnet).
func Ensure(dir, cluster string, requests []Request, now time.Time) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make %s: %w", dir, err)
	}
	ca, caKey, err := ensureCA(dir, authority{CAFile, CAKeyFile, cluster}, now)
	if err != nil {
		return err
	}
	endpoint, _, err := ensureCA(dir, authority{KubeletEndpointCA, KubeletEndpointCAKey, cluster + "-kubelet-endpoint"}, now)
	if err != nil {
		return err
	}
	if err := writeBundle(filepath.Join(dir, KubeletBundle), ca, endpoint); err != nil {
		return err
	}
	if err := ensureServiceAccountKey(dir); err != nil {
		return err
	}
	for _, r := range requests {
		if satisfied(dir, r, ca) {
			continue
		}
		if err := issue(dir, r, ca, caKey, now); err != nil {
			return fmt.Errorf("certificate %s of cluster %s: %w", r.File, cluster, err)
		}
	}
	return nil
}

// authority is a CA: its files and its name.
type authority struct{ cert, key, name string }

func ensureCA(dir string, a authority, now time.Time) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	certPath, keyPath := filepath.Join(dir, a.cert), filepath.Join(dir, a.key)
	cert, certErr := readCert(certPath)
	key, keyErr := readKey(keyPath)
	if certErr == nil && keyErr == nil {
		return cert, key, nil
	}
	if !errors.Is(certErr, fs.ErrNotExist) && certErr != nil {
		return nil, nil, fmt.Errorf("CA of cluster %s: %w; remove %s to start the cluster anew", a.name, certErr, dir)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("key of the CA of cluster %s: %w", a.name, err)
	}
	tmpl := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "stellarflow-fleet-" + a.name},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(lifetime),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return nil, nil, fmt.Errorf("CA of cluster %s: %w", a.name, err)
	}
	if err := writeKey(keyPath, key); err != nil {
		return nil, nil, err
	}
	if err := writePEM(certPath, "CERTIFICATE", der, 0o644); err != nil {
		return nil, nil, err
	}
	cert, err = x509.ParseCertificate(der)
	return cert, key, err
}

func ensureServiceAccountKey(dir string) error {
	keyPath, pubPath := filepath.Join(dir, ServiceAccountKey), filepath.Join(dir, ServiceAccountPub)
	key, err := readKey(keyPath)
	if err != nil {
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return fmt.Errorf("service account key: %w", err)
		}
		if err := writeKey(keyPath, key); err != nil {
			return err
		}
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return fmt.Errorf("service account key: %w", err)
	}
	return writePEM(pubPath, "PUBLIC KEY", der, 0o644)
}

func issue(dir string, r Request, ca *x509.Certificate, caKey *ecdsa.PrivateKey, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: r.CommonName},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(lifetime),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		DNSNames:     r.DNSNames,
	}
	if r.Organization != "" {
		tmpl.Subject.Organization = []string{r.Organization}
	}
	for _, ip := range r.IPs {
		tmpl.IPAddresses = append(tmpl.IPAddresses, net.IP(ip.AsSlice()))
	}
	if len(r.IPs) > 0 || len(r.DNSNames) > 0 {
		tmpl.ExtKeyUsage = append(tmpl.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca, &key.PublicKey, caKey)
	if err != nil {
		return err
	}
	if err := writeKey(filepath.Join(dir, r.File+".key"), key); err != nil {
		return err
	}
	return writePEM(filepath.Join(dir, r.File+".crt"), "CERTIFICATE", der, 0o644)
}

// satisfied tells whether the files of a request are there, are signed by this
// CA and name everything the request names.
func satisfied(dir string, r Request, ca *x509.Certificate) bool {
	cert, err := readCert(filepath.Join(dir, r.File+".crt"))
	if err != nil || cert.CheckSignatureFrom(ca) != nil {
		return false
	}
	key, err := readKey(filepath.Join(dir, r.File+".key"))
	if err != nil || !key.PublicKey.Equal(cert.PublicKey) {
		return false
	}
	for _, name := range r.DNSNames {
		if !slices.Contains(cert.DNSNames, name) {
			return false
		}
	}
	for _, ip := range r.IPs {
		want := net.IP(ip.AsSlice())
		if !slices.ContainsFunc(cert.IPAddresses, want.Equal) {
			return false
		}
	}
	return cert.Subject.CommonName == r.CommonName
}

func readCert(path string) (*x509.Certificate, error) {
	der, err := readPEM(path)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func readKey(path string) (*ecdsa.PrivateKey, error) {
	der, err := readPEM(path)
	if err != nil {
		return nil, err
	}
	return x509.ParseECPrivateKey(der)
}

func readPEM(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s: no PEM block", path)
	}
	return block.Bytes, nil
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return writePEM(path, "EC PRIVATE KEY", der, 0o600)
}

// writeBundle writes several certificates into one file.
func writeBundle(path string, certs ...*x509.Certificate) error {
	var data []byte
	for _, cert := range certs {
		data = append(data, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	}
	return writeFile(path, data, 0o644)
}

func writePEM(path, kind string, der []byte, mode fs.FileMode) error {
	return writeFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode)
}

func writeFile(path string, data []byte, mode fs.FileMode) error {
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, data, mode); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
