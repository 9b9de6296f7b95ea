package wec

import (
	"context"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

func TestNextPause(t *testing.T) {
	refused, broken := apierrors.NewForbidden(corev1.Resource("pods"), "", nil), errors.New("broken")
	for name, tc := range map[string]struct {
		reason string
		before time.Duration
		lasted bool
		err    error
		want   time.Duration
	}{
		"First":   {"once is nothing", 0, false, broken, time.Second},
		"Again":   {"it ended soon again", time.Second, false, broken, 2 * time.Second},
		"Quietly": {"also where nobody says why", 2 * time.Second, false, nil, 4 * time.Second},
		"Often":   {"but not for ever", 8 * time.Second, false, broken, 10 * time.Second},
		"Long":    {"it has lasted", 10 * time.Second, true, broken, time.Second},
		"Refused": {"somebody has to grant it", 0, false, refused, time.Minute},
		"Revoked": {"also after it was", time.Second, true, refused, time.Minute},
		"Granted": {"it is granted, and ends soon", time.Minute, false, broken, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			if got := nextPause(tc.before, tc.lasted, tc.err); got != tc.want {
				t.Errorf("%s: got %s, want %s", tc.reason, got, tc.want)
			}
		})
	}
}

// TestFollow: a watch is begun anew until the context ends, and not after that.
func TestFollow(t *testing.T) {
	ctx, end := context.WithCancel(t.Context())
	begun := 0
	Follow(ctx, func(context.Context) error {
		if begun++; begun == 2 {
			end()
		}
		return errors.New("broken")
	})
	if begun != 2 {
		t.Errorf("begun %d times", begun)
	}
	Follow(ctx, func(context.Context) error {
		t.Error("begun after the end")
		return nil
	})
}
