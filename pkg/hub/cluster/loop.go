package cluster

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"stellarflow.io/stellarflow/pkg/wec"
)

// run keeps the connection until ctx ends. It begins when the connection before it to the same WEC has ended.
func (c *Connection) run(ctx context.Context, before <-chan struct{}) {
	defer close(c.done)
	if before != nil {
		<-before
	}
	var group sync.WaitGroup
	for range workers {
		group.Go(func() { c.work(ctx) })
	}
	if c.companion != nil {
		group.Go(func() { c.companion(ctx, c) })
	}
	next, retry := time.NewTimer(0), c.timing.firstRetry()
	defer next.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-c.kick:
			next.Reset(0)
		case list := <-c.listing.ended:
			c.listEnded(ctx, list)
		case <-next.C:
			if c.check(ctx) {
				retry = c.timing.firstRetry()
				next.Reset(wait.Jitter(c.timing.Probe, 0.1))
			} else {
				next.Reset(jitter(retry))
				retry = min(2*retry, c.timing.lastRetry())
			}
		}
	}
	c.queue.ShutDown()
	group.Wait()
	c.lease.Stop() // after the last pass, so that whoever takes it next cannot meet one
	c.listing.stop()
	c.Clients.Close()
}

// jitter returns from half to one and a half times a duration.
func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.5 + rand.Float64())) //nolint:gosec // jitter needs no secrecy
}

// check probes once and starts what the answer allows: the watch and the Lease. It reports whether the WEC can be used.
func (c *Connection) check(ctx context.Context) bool {
	clients, candidate := c.Clients, c.candidate.Load()
	if candidate != nil {
		clients = candidate
	}
	began := c.now()
	defer c.beats.Begin("probe of cluster "+string(c.Name), began)()
	facts, err := clients.Probe(ctx, c.now)
	c.metrics.Probed(c.Name, began, c.now())
	if ctx.Err() != nil {
		return false
	}
	changed := c.fixedID != "" && facts.ID != "" && facts.ID != c.fixedID // whatever else is wrong: its clock, its Argo
	switch trouble := troubleOf(err); {
	case changed && candidate != nil:
		c.replace(c)
		return true
	case changed:
		err = &wec.Trouble{Reason: wec.ReasonChanged, Message: wec.ChangedMessage}
		c.lease.Drop()
		c.forgetWatch()
	case trouble == nil, trouble.Reason == wec.ReasonClockSkew:
		if candidate != nil && c.candidate.CompareAndSwap(candidate, nil) {
			c.Clients.Adopt(candidate)
		}
		c.fixedID = facts.ID
		err = c.usable(ctx, err)
	default:
		c.lease.Pause()
	}
	restored := !changed && c.highest.restored(facts, func() uint64 {
		if c.observed == nil {
			return 0
		}
		return c.observed(ctx, c.Name, facts.ID)
	})
	c.learn(ctx, func(f *findings) { f.probed, f.facts, f.err, f.restored = true, facts, err, restored })
	return err == nil
}

// usable starts the watch and the Lease on a WEC that answers. found is what the probe says all the same.
func (c *Connection) usable(ctx context.Context, found error) error {
	if err := c.list(ctx); err != nil {
		return err
	}
	if err := c.lease.Start(ctx, c.fixedID); err != nil {
		return err
	}
	return found
}
