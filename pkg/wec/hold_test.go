package wec

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestHold(t *testing.T) {
	at := now
	h := NewHold(func() time.Time { return at }, 10*time.Second)
	expect := func(what string, held bool, since time.Time) {
		t.Helper()
		if h.Held() != held || !h.Since().Equal(since) {
			t.Errorf("%s: Held() = %v, Since() = %s, want %v, %s", what, h.Held(), h.Since(), held, since)
		}
	}
	expect("nothing was renewed", false, time.Time{})
	at = now.Add(2 * time.Second)
	h.keep(now)
	first := at
	expect("taken: since the answer, as nobody else can have held it from then on", true, first)
	at = now.Add(10 * time.Second)
	expect("at the deadline after the beginning of the renewal", true, first)
	at = now.Add(10*time.Second + 1)
	expect("after the deadline", false, time.Time{})
	h.keep(at)
	expect("renewed late, and nobody had it in between", true, first)
	at = at.Add(-time.Second)
	expect("a clock that went back says nothing", false, time.Time{})
	h.keep(at)
	h.drop()
	expect("the Lease is not as it was left", false, time.Time{})
	h.keep(at)
	expect("but was read again as ours", true, first)
	h.interrupt()
	h.keep(at)
	expect("somebody else may have had it", true, at)
}

// TestHoldAfterSleep: the monotonic clock stands still while a machine sleeps.
func TestHoldAfterSleep(t *testing.T) {
	began := time.Now()
	h := NewHold(func() time.Time { return began.Round(0).Add(time.Hour) }, 10*time.Second)
	h.keep(began)
	if h.Held() {
		t.Error("an hour later by the wall clock it is still held")
	}
}

func TestGate(t *testing.T) {
	at, sent := now, 0
	h := NewHold(func() time.Time { return at }, 10*time.Second)
	transport := h.Wrap(roundTrip(func(*http.Request) (*http.Response, error) {
		sent++
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
	}))
	const workflows, lease = "/apis/argoproj.io/v1alpha1/namespaces/argo/workflows", "/k8s/clusters/c-1/apis/coordination.k8s.io/v1/namespaces/stellarflow-system/leases/x"
	for _, held := range []bool{false, true} {
		if held {
			h.keep(at)
		}
		for _, tc := range []struct {
			method, path string
			always       bool
		}{
			{http.MethodGet, workflows, true},
			{http.MethodHead, workflows, true},
			{http.MethodPost, workflows, false},
			{http.MethodPut, workflows, false},
			{http.MethodPatch, workflows, false},
			{http.MethodDelete, workflows, false},
			{http.MethodPost, "/api/v1/namespaces", false},
			{http.MethodPut, lease, true},
		} {
			body := &closing{Reader: strings.NewReader("{}")}
			request, err := http.NewRequestWithContext(t.Context(), tc.method, "https://wec"+tc.path, body)
			if err != nil {
				t.Fatal(err)
			}
			sent = 0
			response, err := transport.RoundTrip(request)
			if err == nil {
				_ = response.Body.Close()
			}
			if allowed := held || tc.always; allowed != (sent == 1) || allowed == errors.Is(err, ErrNotHeld) || !allowed && !body.closed {
				t.Errorf("held %v: %s %s: sent %d times, %v", held, tc.method, tc.path, sent, err)
			}
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type closing struct {
	io.Reader
	closed bool
}

func (c *closing) Close() error { c.closed = true; return nil }

func TestSeen(t *testing.T) {
	duration := int32(15)
	spec := func(holder string, renewed time.Duration) coordinationv1.LeaseSpec {
		at := metav1.NewMicroTime(now.Add(renewed))
		return coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &duration, RenewTime: &at}
	}
	type view struct {
		spec  coordinationv1.LeaseSpec
		after time.Duration
	}
	cases := map[string]struct {
		reason             string
		views              []view
		mine, once, renews bool
		other              string
		until              time.Duration
	}{
		"Free":      {"given back", []view{{spec("", 0), 0}}, false, false, false, "", 0},
		"Mine":      {"taken", []view{{spec("me", 0), 0}}, true, true, false, "", 0},
		"Stale":     {"whoever held it may be dead", []view{{spec("you", 0), 0}, {spec("you", 0), 5 * time.Second}}, false, false, false, "you", 15 * time.Second},
		"Renewed":   {"it is alive", []view{{spec("you", 0), 0}, {spec("you", time.Second), 2 * time.Second}}, false, false, true, "you", 17 * time.Second},
		"Still":     {"and then not any more", []view{{spec("you", 0), 0}, {spec("you", time.Second), 2 * time.Second}, {spec("you", time.Second), 9 * time.Second}}, false, false, true, "you", 17 * time.Second},
		"Next":      {"another one took it, and may be dead too", []view{{spec("you", 0), 0}, {spec("you", 1), 0}, {spec("she", 2), time.Second}}, false, false, false, "she", 16 * time.Second},
		"Lost":      {"taken from us", []view{{spec("me", 0), 0}, {spec("you", 1), time.Second}}, false, true, false, "you", 16 * time.Second},
		"TakenBack": {"it was given back and is ours", []view{{spec("you", 0), 0}, {spec("", 0), 0}, {spec("me", 0), 0}}, true, true, false, "", 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var s seen
			for _, v := range tc.views {
				s = s.after(v.spec, "me", now.Add(v.after))
			}
			other := ""
			if s.other != nil {
				other = holderOf(s.other)
			}
			if s.mine != tc.mine || s.once != tc.once || s.renews != tc.renews || other != tc.other {
				t.Errorf("%s: %+v", tc.reason, s)
			}
			if other != "" && !s.until.Equal(now.Add(tc.until)) {
				t.Errorf("%s: it has run out at %s, want %s later than %s", tc.reason, s.until, tc.until, now)
			}
		})
	}
}
