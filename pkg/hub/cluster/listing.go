package cluster

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/wec"
)

// listing is a watch that is not complete yet. Only the probe loop uses it.
type listing struct {
	watch   *wec.Watch // nil if there is none
	end     context.CancelFunc
	endLast context.CancelFunc // ends the watch that is in use
	timeout time.Duration      // of the next one
	ended   chan *wec.Watch    // a watch that is complete or took too long
}

func newListing(timing Timing) listing {
	return listing{timeout: timing.List, ended: make(chan *wec.Watch, 1)}
}

func (l *listing) stop() {
	for _, end := range []context.CancelFunc{l.end, l.endLast} {
		if end != nil {
			end()
		}
	}
	l.watch, l.end, l.endLast = nil, nil, nil
}

// list begins a new watch if there is none, or if the one in use has failed: that one stays in use until the new one is
// complete, so that a short failure disturbs nothing.
func (c *Connection) list(ctx context.Context) error {
	if watch := c.watch.Load(); c.listing.watch != nil || watch != nil && !watch.IsLost() {
		return nil
	}
	watch, err := c.Clients.NewWatch(c.hubID, func(key types.NamespacedName) {
		c.Lag.Changed(key, c.now())
		c.queue.Add(key)
	})
	if err != nil {
		return err
	}
	watching, end := context.WithCancel(ctx)
	c.listing.watch, c.listing.end = watch, end
	go watch.Run(watching)
	go c.watchOver(watching, watch)
	timeout := c.listing.timeout
	go func() {
		late := time.NewTimer(timeout)
		defer late.Stop()
		select {
		case <-watch.Complete():
		case <-late.C:
		case <-watching.Done():
			return
		}
		select {
		case c.listing.ended <- watch:
		case <-watching.Done():
		}
	}()
	return nil
}

// watchOver sees to it that a watch that is lost is begun anew soon, and not with the next probe: what changes meanwhile is not seen.
func (c *Connection) watchOver(ctx context.Context, watch *wec.Watch) {
	select {
	case <-watch.Lost():
	case <-ctx.Done():
		return
	}
	soon := time.NewTimer(jitter(c.timing.firstRetry()))
	defer soon.Stop()
	select {
	case <-soon.C:
		c.probeNow()
	case <-ctx.Done():
	}
}

// listEnded uses a watch that is complete, and gives one that took too long more time.
func (c *Connection) listEnded(ctx context.Context, watch *wec.Watch) {
	l := &c.listing
	if watch != l.watch {
		return // of a cluster that has changed meanwhile
	}
	if !watch.Synced() {
		l.end()
		l.watch, l.end, l.timeout = nil, nil, c.timing.longer(l.timeout)
		c.learn(ctx, func(f *findings) { f.unlisted = unlisted(watch.Err()) })
		if err := c.list(ctx); err != nil {
			c.log.Error(err, "watch the Workflows")
		}
		return
	}
	if l.endLast != nil {
		l.endLast()
	}
	l.watch, l.end, l.endLast, l.timeout = nil, nil, l.end, c.timing.List
	c.watch.Store(watch)
	if c.State().Connected { // else the state's change does it
		c.enqueueAll(ctx) // what went while there was no watch is in no event of the new one
	}
	c.learn(ctx, func(f *findings) { f.listed, f.unlisted = true, "" })
}

// forgetWatch drops what was seen of the WEC: it is another cluster now.
func (c *Connection) forgetWatch() {
	c.listing.stop()
	c.watch.Store(nil)
	c.publishMu.Lock()
	c.found.listed, c.found.unlisted = false, ""
	c.publishMu.Unlock()
}
