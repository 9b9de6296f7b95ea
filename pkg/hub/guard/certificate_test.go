package guard

import (
	"bytes"
	"maps"
	"testing"
	"time"

	"stellarflow.io/stellarflow/pkg/hub/certificate"
)

// TestRenew lets twelve years pass: at each step the API server, with what it trusted the step before, takes what is served.
func TestRenew(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	data, err := renew(nil, Host, nil, now)
	if err != nil {
		t.Fatal(err)
	}
	trusted, leaves, authorities := data[keyCA], 1, 1
	const step = 30 * 24 * time.Hour
	for range 12 * 365 / 30 {
		now = now.Add(step)
		for range 2 { // again as soon as the new CA is trusted
			next, err := renew(data, Host, trusted, now)
			if err != nil {
				t.Fatal(err)
			}
			served, err := certificate.Parse(next[keyLeaf], next[keyLeafKey])
			if err != nil {
				t.Fatal(err)
			}
			if !served.TrustedBy(trusted, Host, now) {
				t.Fatalf("%s: the API server does not trust what is served", now)
			}
			if !served.TrustedBy(next[keyCA], Host, now) {
				t.Fatalf("%s: it will not trust what is served", now)
			}
			if !bytes.Equal(next[keyLeaf], data[keyLeaf]) {
				leaves++
			}
			if !bytes.Equal(next[keyCAKey], data[keyCAKey]) {
				authorities++
			}
			again, err := renew(next, Host, next[keyCA], now)
			if err != nil || bytes.Equal(next[keyCA], trusted) && !maps.EqualFunc(next, again, bytes.Equal) {
				t.Fatalf("%s: it is renewed although nothing has changed: %v", now, err)
			}
			data, trusted = next, next[keyCA]
		}
	}
	if leaves < 12 || leaves > 24 || authorities != 2 {
		t.Errorf("in twelve years there were %d certificates of %d CAs", leaves, authorities)
	}
}

// What cannot be read, or is for another host, is made anew.
func TestRenewMends(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	good, err := renew(nil, Host, nil, now)
	if err != nil {
		t.Fatal(err)
	}
	other, err := renew(nil, "127.0.0.1", nil, now)
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		reason string
		change func(map[string][]byte)
	}{
		"NoLeaf":    {"somebody removed it", func(d map[string][]byte) { delete(d, keyLeaf) }},
		"NoCAKey":   {"nothing can be signed any more", func(d map[string][]byte) { delete(d, keyCAKey) }},
		"Garbage":   {"somebody wrote it", func(d map[string][]byte) { d[keyCA] = []byte("x") }},
		"OtherKey":  {"the key is another one's", func(d map[string][]byte) { d[keyLeafKey] = other[keyLeafKey] }},
		"OtherHost": {"the API server calls another name", func(d map[string][]byte) { maps.Copy(d, other) }},
		"NotYet": {"the clock was wrong when it was made", func(d map[string][]byte) {
			later, _ := renew(nil, Host, nil, now.Add(48*time.Hour))
			maps.Copy(d, later)
		}},
		"LongPast": {"the hub was off for years", func(d map[string][]byte) {
			old, _ := renew(nil, Host, nil, now.Add(-20*365*24*time.Hour))
			maps.Copy(d, old)
		}},
		"OthersLeaf": {"it is signed by somebody else", func(d map[string][]byte) { d[keyLeaf], d[keyLeafKey] = other[keyLeaf], other[keyLeafKey] }},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			data := maps.Clone(good)
			tc.change(data)
			mended, err := renew(data, Host, data[keyCA], now)
			if err != nil {
				t.Fatalf("%s: %v", tc.reason, err)
			}
			served, err := certificate.Parse(mended[keyLeaf], mended[keyLeafKey])
			if err != nil || !served.TrustedBy(mended[keyCA], Host, now) {
				t.Errorf("%s: what is served is not to be trusted: %v", tc.reason, err)
			}
		})
	}
}
