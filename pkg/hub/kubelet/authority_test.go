package kubelet

import (
	"crypto/x509"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"stellarflow.io/stellarflow/pkg/hub/certificate"
)

// TestAuthority lets a year pass: what is served is always signed by the CA that is in the Secret, for the address, and is never old.
func TestAuthority(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	hub := &fakeHub{}
	core := hub.client(t)
	a := &authority{core: core, host: "fd00::1", now: func() time.Time { return now }}
	if _, err := a.serve(nil); err == nil {
		t.Error("something is served before there is a certificate")
	}
	made := map[string]bool{}
	for range 365 {
		if err := a.renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !a.leaf.TrustedBy(hub.secret.Data[corev1.TLSCertKey], "fd00::1", now) || !a.leaf.Fresh(now) {
			t.Fatalf("%s: what is served is not to be trusted", now)
		}
		made[a.leaf.Certificate.SerialNumber.String()] = true
		now = now.Add(24 * time.Hour)
	}
	if len(made) < 52 || len(made) > 100 {
		t.Errorf("in a year there were %d certificates", len(made))
	}
	if hub.secret.Type != corev1.SecretTypeTLS || hub.secret.Name != Secret {
		t.Errorf("the Secret is %+v", hub.secret)
	}
}

// TestAuthorityRaces: of several managers one makes the CA, and all serve what it signs.
func TestAuthorityRaces(t *testing.T) {
	hub := &fakeHub{}
	core := hub.client(t)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			a := &authority{core: core, host: "10.0.0.1", now: time.Now}
			if err := a.renew(t.Context()); err != nil {
				t.Error(err)
				return
			}
			hub.mu.Lock()
			defer hub.mu.Unlock()
			if !a.leaf.TrustedBy(hub.secret.Data[corev1.TLSCertKey], "10.0.0.1", time.Now()) {
				t.Error("what is served is signed by a CA that is not in the Secret")
			}
		})
	}
	group.Wait()
}

// TestAuthorityOfAnAdministrator: a CA that is put there signs from then on, with its chain; what is none is said, and what was served stays.
func TestAuthorityOfAnAdministrator(t *testing.T) {
	now := time.Now()
	hub := &fakeHub{}
	a := &authority{core: hub.client(t), host: "10.0.0.1", now: func() time.Time { return now }}
	if err := a.renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	put := func(pair certificate.Pair, behind ...*x509.Certificate) {
		raw, key, err := pair.Encode()
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range behind {
			raw = append(raw, certificate.Encode(one)...)
		}
		hub.set(func(h *fakeHub) {
			h.secret.Data = map[string][]byte{corev1.TLSCertKey: raw, corev1.TLSPrivateKeyKey: key}
		})
	}
	theirs := authorityOf(t, "theirs")
	put(theirs)
	if err := a.renew(t.Context()); err != nil || !a.leaf.TrustedBy(certificate.Encode(theirs.Certificate), "10.0.0.1", now) {
		t.Errorf("their CA does not sign: %v", err)
	}
	root := authorityOf(t, "root")
	put(theirs, root.Certificate)
	if err := a.renew(t.Context()); err != nil || len(a.serving.Load().Certificate) != 3 {
		t.Errorf("the chain is not served: %v", err)
	}
	before := a.serving.Load()
	leaf, err := root.Serving("10.0.0.1", time.Hour, now)
	if err != nil {
		t.Fatal(err)
	}
	for says, change := range map[string]func(){
		"its certificate is no CA":                             func() { put(leaf) },
		"its CA holds from":                                    func() { old, _ := certificate.NewAuthority("old", now.Add(-11*365*24*time.Hour)); put(old) },
		"read a certificate: tls: failed to find any PEM data": func() { hub.set(func(h *fakeHub) { h.secret.Data = nil }) },
		"private key does not match": func() {
			put(root)
			hub.set(func(h *fakeHub) { h.secret.Data[corev1.TLSCertKey] = certificate.Encode(theirs.Certificate) })
		},
		"read secret stellarflow-system/stellarflow-kubelet-ca: an": func() { hub.set(func(h *fakeHub) { h.down = true }) },
	} {
		hub.set(func(h *fakeHub) { h.down = false })
		change()
		if err := a.renew(t.Context()); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("the error is %v, want %q", err, says)
		}
		if a.serving.Load() != before {
			t.Error("what was served is gone")
		}
	}
}
