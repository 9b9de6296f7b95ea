package certificate

import (
	"testing"
	"time"
)

func TestServing(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	ca, err := NewAuthority("ca", now)
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewAuthority("ca", now)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		reason, host, asked string
		ca                  Pair
		after               time.Duration
		trusted             bool
	}{
		"Name":       {"a Service", "a.b.svc", "a.b.svc", ca, 0, true},
		"Address":    {"a pod", "10.0.0.1", "10.0.0.1", ca, 0, true},
		"IPv6":       {"a pod", "fd00::1", "fd00::1", ca, 0, true},
		"Other":      {"another address", "10.0.0.1", "10.0.0.2", ca, 0, false},
		"OtherCA":    {"the same name is not the same key", "10.0.0.1", "10.0.0.1", other, 0, false},
		"SlowClock":  {"the caller's clock is late", "10.0.0.1", "10.0.0.1", ca, -30 * time.Minute, true},
		"NotYet":     {"too late", "10.0.0.1", "10.0.0.1", ca, -2 * time.Hour, false},
		"NotAnyMore": {"it has ended", "10.0.0.1", "10.0.0.1", ca, 25 * time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			leaf, err := ca.Serving(tc.host, 24*time.Hour, now)
			if err != nil {
				t.Fatal(err)
			}
			if got := leaf.TrustedBy(Encode(tc.ca.Certificate), tc.asked, now.Add(tc.after)); got != tc.trusted {
				t.Errorf("%s: it is trusted: %v", tc.reason, got)
			}
		})
	}
	late, err := ca.Serving("x", 24*time.Hour, ca.Certificate.NotAfter.Add(-time.Hour))
	if err != nil || late.Certificate.NotAfter.After(ca.Certificate.NotAfter) {
		t.Errorf("it holds longer than its CA: %v", err)
	}
}

func TestParse(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	ca, err := NewAuthority("ca", now)
	if err != nil {
		t.Fatal(err)
	}
	raw, key, err := ca.Encode()
	if err != nil {
		t.Fatal(err)
	}
	read, err := Parse(raw, key)
	if err != nil || !read.Certificate.Equal(ca.Certificate) {
		t.Errorf("it is another one: %v", err)
	}
	if _, err := Parse(raw, nil); err == nil {
		t.Error("no key is needed")
	}
	if ca.Fresh(now.Add(AuthorityLasts*3/4)) || !ca.Fresh(now.Add(AuthorityLasts/2)) || ca.Fresh(now.Add(-2*time.Hour)) {
		t.Error("it is renewed at the wrong time")
	}
}
