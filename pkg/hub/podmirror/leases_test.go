package podmirror

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestRenewal: a Lease is tried again soon if it could not be renewed, and why is said once, if it is so again and again.
func TestRenewal(t *testing.T) {
	forbidden, down := errors.New("leases is forbidden"), errors.New("connection refused")
	for name, tc := range map[string]struct {
		reason string
		tries  []error
		waits  []time.Duration
		said   []string
	}{
		"Renewed": {"all is well", []error{nil, nil}, []time.Duration{beat, beat}, nil},
		"Once":    {"that happens", []error{down, down, nil, down, down}, []time.Duration{retry, retry, beat, retry, retry}, nil},
		"Always":  {"it is said once", []error{forbidden, forbidden, forbidden, forbidden}, []time.Duration{retry, retry, retry, retry}, []string{forbidden.Error()}},
		"Other":   {"something else is in the way", []error{down, down, down, forbidden, forbidden}, []time.Duration{retry, retry, retry, retry, retry}, []string{down.Error(), forbidden.Error()}},
		"Later":   {"it was mended meanwhile", []error{down, down, down, nil, down, down, down}, []time.Duration{retry, retry, retry, beat, retry, retry, retry}, []string{down.Error(), down.Error()}},
	} {
		t.Run(name, func(t *testing.T) {
			var r renewal
			var waits []time.Duration
			var said []string
			for _, err := range tc.tries {
				var why string
				if r, why = r.after(err, ended); why != "" {
					said = append(said, why)
				}
				waits = append(waits, r.due.Sub(ended))
			}
			if diff := cmp.Diff(tc.waits, waits); diff != "" {
				t.Errorf("%s: waits -want +got:\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(tc.said, said); diff != "" {
				t.Errorf("%s: said -want +got:\n%s", tc.reason, diff)
			}
		})
	}
	if tries := (lives - beat) / retry; tries <= patience {
		t.Errorf("a Lease runs out after %d tries, before anything is said", tries)
	}
}

func TestInOrder(t *testing.T) {
	a, b := errors.New("node a"), errors.New("node b")
	for _, err := range []error{errors.Join(a, b), errors.Join(b, nil, a), errors.Join(errors.Join(b, a), a)} {
		if got := inOrder(err); got != "node a; node b" {
			t.Errorf("%q", got)
		}
	}
	if got := inOrder(nil); got != "" {
		t.Errorf("%q of nothing", got)
	}
}
