package cluster

import (
	"context"
	"time"
)

// lingers is how long a pass that has begun may go on after the stop. A create that our own stop cuts off would have an unknown end,
// and whoever leads next would have to wait for it; one request lasts 10 s at most (wec.RequestTimeout), and the process is given
// 30 s (cmd/hub).
const lingers = 12 * time.Second

// linger returns a context that ends the given time after its parent, or when cancel is called.
func linger(parent context.Context, after time.Duration) (ctx context.Context, cancel context.CancelFunc) {
	ctx, end := context.WithCancel(context.WithoutCancel(parent))
	stop := context.AfterFunc(parent, func() {
		timer := time.NewTimer(after)
		defer timer.Stop()
		select {
		case <-timer.C:
			end()
		case <-ctx.Done():
		}
	})
	return ctx, func() { stop(); end() }
}
