package wec

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// How long after its end a watch is begun anew: at first, at most, and if the WEC has refused it.
const (
	firstPause, longestPause = time.Second, 10 * time.Second
	refusedPause             = time.Minute
)

// Follow begins a watch, which lasts until it returns, and begins it anew until ctx ends: after a second, or after up to ten if it keeps ending
// soon, or after a minute if it was forbidden.
func Follow(ctx context.Context, watch func(context.Context) error) {
	for pause := time.Duration(0); ctx.Err() == nil; {
		long, lasted := time.After(longestPause), false
		err := watch(ctx)
		select {
		case <-long:
			lasted = true
		default:
		}
		pause = nextPause(pause, lasted, err)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// nextPause returns the pause after a watch that has lasted, or has not, and has ended with an error or none, given the one before it.
func nextPause(before time.Duration, lasted bool, err error) time.Duration {
	switch {
	case apierrors.IsForbidden(err):
		return refusedPause
	case lasted || before == 0:
		return firstPause
	}
	return min(2*before, longestPause)
}
