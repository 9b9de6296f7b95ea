package integration

import (
	"context"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const stranger = "a manager with another clock"

// strangerRenews keeps the hub's Lease on cluster1 for a stranger whose clock is off, until the function that it returns is called.
func (c *clusters) strangerRenews(t *testing.T, by, duration time.Duration) (stop func()) {
	t.Helper()
	once := func(ctx context.Context) {
		lease, err := c.lease(ctx, "cluster1")
		if err != nil {
			return
		}
		holder, seconds, at := stranger, int32(duration/time.Second), metav1.NewMicroTime(time.Now().Add(by))
		lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds, lease.Spec.RenewTime, lease.Spec.AcquireTime = &holder, &seconds, &at, &at
		_, _ = c.wecs["cluster1"].core.CoordinationV1().Leases(lease.Namespace).Update(ctx, lease, metav1.UpdateOptions{})
	}
	once(t.Context())
	if holder := c.holder(t, "cluster1", ""); holder != stranger {
		t.Fatalf("%s holds the Lease", holder)
	}
	ctx, end := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(duration / 20)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				once(ctx)
			}
		}
	})
	return func() { end(); done.Wait() }
}

// TestLeaseOfAnotherClock lets a process hold the Lease whose clock is an hour off. As long as it renews it, nobody takes it, however old
// the times in it; when it dies, it is not waited for until they have passed.
func TestLeaseOfAnotherClock(t *testing.T) {
	const duration = 6 * time.Second // a machine that stands still for less keeps the test's promise
	for name, by := range map[string]time.Duration{"ahead": time.Hour, "behind": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			c, m, ns := setUp(t, managerOptions{})
			c.condition(t, "cluster1", withReason("Ready"))
			m.stop()
			stop := c.strangerRenews(t, by, duration)
			defer stop()
			startManager(t, c, managerOptions{})
			c.condition(t, "cluster1", withReason("LeaseHeldElsewhere"))
			c.submit(t, ns, "waits", "cluster1")
			neverWithin(t, 2*time.Second, "the Lease was taken from a holder that renews it", func() bool {
				lease, err := c.lease(t.Context(), "cluster1")
				return err == nil && *lease.Spec.HolderIdentity != stranger
			})
			stop()
			c.holder(t, "cluster1", stranger)
			c.wecs["cluster1"].waitFor(t, ns, "waits", "the WEC copy", exists)
		})
	}
}
