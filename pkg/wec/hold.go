package wec

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"
)

// ErrNotHeld is the sentinel of a write that was not sent because this process does not hold the WEC's Lease.
var ErrNotHeld = errors.New("this hub manager does not hold its Lease on the cluster: nothing was sent")

// Hold says whether this process may write to a WEC: as long as it has renewed its Lease there recently enough that nobody
// else can have taken it. It is safe for several goroutines.
type Hold struct {
	now      func() time.Time
	deadline time.Duration

	mu      sync.Mutex
	renewed time.Time // when the last successful renewal began, zero if there is none
	since   time.Time // since when nobody else has held it
}

// NewHold returns one that is not held. deadline is how long after the beginning of a renewal writes are allowed: it must be
// shorter than the Lease's duration. now must carry a monotonic reading, as time.Now does.
func NewHold(now func() time.Time, deadline time.Duration) *Hold {
	return &Hold{now: now, deadline: deadline}
}

// Held reports whether this process may write now.
func (h *Hold) Held() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.held(h.now())
}

// held compares both clocks: the monotonic one stands still while the machine sleeps, the wall clock does not.
func (h *Hold) held(now time.Time) bool {
	if h.renewed.IsZero() {
		return false
	}
	age, wall := now.Sub(h.renewed), now.Round(0).Sub(h.renewed.Round(0))
	return age >= 0 && age <= h.deadline && wall <= h.deadline
}

// Since returns since when the Lease has been this process's without anybody in between, zero if it is not held.
func (h *Hold) Since() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.held(h.now()) {
		return time.Time{}
	}
	return h.since
}

// keep records a renewal that succeeded and began at the given time.
func (h *Hold) keep(began time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.renewed = began
	if h.since.IsZero() {
		h.since = h.now()
	}
}

// drop forbids writes until the next renewal.
func (h *Hold) drop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.renewed = time.Time{}
}

// interrupt is drop, and says that somebody else has, or may have, held the Lease meanwhile.
func (h *Hold) interrupt() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.renewed, h.since = time.Time{}, time.Time{}
}

// Wrap returns a transport that refuses every write but those to Leases with ErrNotHeld while the hold is not held.
func (h *Hold) Wrap(next http.RoundTripper) http.RoundTripper { return gate{hold: h, next: next} }

type gate struct {
	hold *Hold
	next http.RoundTripper
}

// RoundTrip sends a request, or refuses it.
func (g gate) RoundTrip(request *http.Request) (*http.Response, error) {
	if isWrite(request) && !g.hold.Held() {
		if request.Body != nil {
			_ = request.Body.Close()
		}
		return nil, ErrNotHeld
	}
	return g.next.RoundTrip(request)
}

// isWrite reports whether a request may change anything but a Lease. A GET that asks for another protocol runs something in a pod: exec,
// attach and port-forward over WebSocket.
func isWrite(request *http.Request) bool {
	switch request.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return request.Header.Get("Upgrade") != ""
	}
	return !strings.Contains(request.URL.Path, "/apis/coordination.k8s.io/")
}
