package cluster

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/heartbeat"
	"stellarflow.io/stellarflow/pkg/hub/metrics"
	"stellarflow.io/stellarflow/pkg/hub/recent"
	"stellarflow.io/stellarflow/pkg/wec"
)

const (
	workers = 4
	// A key that keeps failing is tried again after 50 ms at first and never less often than every 30 s.
	firstBackoff, lastBackoff = 50 * time.Millisecond, 30 * time.Second
	// After this many tries in a row, some three seconds, the user is told.
	patience = 6
)

// Connection is the hub's connection to one WEC.
type Connection struct {
	Name stellarflow.ClusterName
	// Clients talk to the WEC; they stay the same when its credential or address changes. Writes fail with wec.ErrNotHeld while
	// this process does not hold its Lease there.
	Clients *wec.Clients
	// Recent holds what our own writes to the WEC returned.
	Recent recent.Objects
	// Lag holds the changes that the watch has shown and the hub does not show yet.
	Lag metrics.Lag

	hubID      types.UID
	timing     Timing
	handler    Handler
	now        func() time.Time
	log        logr.Logger
	changed    func(State)
	metrics    *metrics.Metrics
	beats      *heartbeat.Beats
	observed   Observed
	replace    func(*Connection) // starts anew with the candidate, which is another cluster
	companion  func(context.Context, *Connection)
	queue      workqueue.TypedRateLimitingInterface[types.NamespacedName]
	state      atomic.Pointer[State]
	namespaces atomic.Pointer[[]string]
	hold       *wec.Hold
	lease      *wec.Lease
	candidate  atomic.Pointer[wec.Clients] // with a new credential, not yet known to lead to the same cluster
	kick       chan struct{}               // probe at once
	stop       context.CancelFunc
	done       chan struct{}

	// The probe loop's own.
	fixedID types.UID
	listing listing
	highest highest

	watch     atomic.Pointer[wec.Watch] // complete, though it may be lost
	publishMu sync.Mutex
	found     findings // guarded by publishMu
	crowded   string   // guarded by publishMu
	unwatched string   // guarded by publishMu
	orphansMu sync.Mutex
	orphans   map[types.NamespacedName]bool
}

// Handler does what is to do for one Workflow on one WEC.
type Handler interface {
	// Sync brings both copies one step further and returns after how long to look again (zero: when something changes).
	Sync(ctx context.Context, connection *Connection, key types.NamespacedName) (time.Duration, error)
	// Stuck says on a hub copy that Sync keeps failing for it.
	Stuck(ctx context.Context, connection *Connection, key types.NamespacedName, cause error) error
	// Keys returns the hub copies that are placed on a cluster.
	Keys(ctx context.Context, cluster stellarflow.ClusterName) ([]types.NamespacedName, error)
}

// State returns the current state.
func (c *Connection) State() State { return *c.state.Load() }

// Namespaces returns the WEC namespaces that the join accepted.
func (c *Connection) Namespaces() []string { return *c.namespaces.Load() }

// WECCopy returns the metadata of a WEC copy as the watch or our own last write shows it, nil if there is none.
func (c *Connection) WECCopy(key types.NamespacedName) *metav1.PartialObjectMetadata {
	var cached *metav1.PartialObjectMetadata
	if watch := c.watch.Load(); watch != nil {
		cached = watch.Get(key)
	}
	return c.Recent.Newest(key, cached, c.now())
}

// Believes reports whether WECCopy returns what a write of ours answered although the watch does not show it: for a while it may
// not have arrived yet, or be gone already.
func (c *Connection) Believes(key types.NamespacedName) bool {
	watch := c.watch.Load()
	return (watch == nil || watch.Get(key) == nil) && c.WECCopy(key) != nil
}

// ByHubUID returns the WEC copies that say they belong to a hub copy.
func (c *Connection) ByHubUID(uid types.UID) []*metav1.PartialObjectMetadata {
	if watch := c.watch.Load(); watch != nil {
		return watch.ByHubUID(uid)
	}
	return nil
}

// WECCopies returns the metadata of all WEC copies. It is false while the watch is not complete or was lost: some may be missing then.
func (c *Connection) WECCopies() ([]*metav1.PartialObjectMetadata, bool) {
	watch := c.watch.Load()
	if watch == nil || watch.IsLost() {
		return nil, false
	}
	return watch.List(), true
}

// QueueDepth is how many Workflows wait for a worker.
func (c *Connection) QueueDepth() int { return c.queue.Len() }

// Enqueue asks for a pass over a Workflow.
func (c *Connection) Enqueue(key types.NamespacedName) { c.queue.Add(key) }

// probeNow ends the wait for the next probe.
func (c *Connection) probeNow() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// SetOrphan notes whether an unfinished WEC copy is one that the hub does not know.
func (c *Connection) SetOrphan(ctx context.Context, key types.NamespacedName, orphan bool) {
	c.orphansMu.Lock()
	changed := c.orphans[key] != orphan
	if orphan {
		c.orphans[key] = true
	} else {
		delete(c.orphans, key)
	}
	c.orphansMu.Unlock()
	if changed {
		c.publishMu.Lock()
		defer c.publishMu.Unlock()
		c.publishLocked(ctx, c.State()) // read under the lock: a probe that ended meanwhile must not be undone
	}
}

// SetCrowded notes of which kinds there is more than the hub lists, empty for none.
func (c *Connection) SetCrowded(ctx context.Context, kinds string) {
	c.publishMu.Lock()
	defer c.publishMu.Unlock()
	if c.crowded != kinds {
		c.crowded = kinds
		c.publishLocked(ctx, c.State())
	}
}

// SetUnwatched notes why the pods of the WEC are not watched, empty if they are.
func (c *Connection) SetUnwatched(ctx context.Context, why string) {
	c.publishMu.Lock()
	defer c.publishMu.Unlock()
	if c.unwatched != why {
		c.unwatched = why
		c.publishLocked(ctx, c.State())
	}
}

func (c *Connection) orphanNames() []string {
	c.orphansMu.Lock()
	defer c.orphansMu.Unlock()
	names := make([]string, 0, len(c.orphans))
	for key := range c.orphans {
		names = append(names, key.String())
	}
	slices.Sort(names)
	return names
}

// assess judges what is known now and publishes the state that follows.
func (c *Connection) assess(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	lease := c.lease.State()
	c.publishMu.Lock()
	defer c.publishMu.Unlock()
	c.found.lease = lease
	if next, known := judge(c.found, c.State()); known {
		c.publishLocked(ctx, next)
	}
}

// learn changes what is known and assesses it.
func (c *Connection) learn(ctx context.Context, change func(*findings)) {
	c.publishMu.Lock()
	change(&c.found)
	c.publishMu.Unlock()
	c.assess(ctx)
}

func (c *Connection) publishLocked(ctx context.Context, next State) {
	last := c.State()
	next.Since, next.Orphans, next.Crowded, next.Unwatched = last.Since, c.orphanNames(), c.crowded, c.unwatched
	if next.Connected != last.Connected {
		next.Since = c.now()
	}
	if next.same(last) {
		return
	}
	c.state.Store(&next)
	if next.Connected != last.Connected || !last.Tried {
		c.log.Info("connection changed", "connected", next.Connected, "reason", next.Reason, "detail", next.Message)
		c.enqueueAll(ctx)
	}
	c.changed(next)
}

// enqueueAll asks for a pass over everything that is here or should be.
func (c *Connection) enqueueAll(ctx context.Context) {
	keys, err := c.handler.Keys(ctx, c.Name)
	if err != nil {
		c.log.Error(err, "list the Workflows placed here")
	}
	for _, key := range keys {
		c.queue.Add(key)
	}
	if watch := c.watch.Load(); watch != nil {
		for _, wecCopy := range watch.List() {
			c.queue.Add(types.NamespacedName{Namespace: wecCopy.Namespace, Name: wecCopy.Name})
		}
	}
}

func (c *Connection) work(ctx context.Context) {
	for {
		key, stopped := c.queue.Get()
		if stopped {
			return
		}
		if ctx.Err() == nil { // what waits at the stop is for whoever leads next
			c.pass(ctx, key)
		}
		c.queue.Done(key)
	}
}

func (c *Connection) sync(ctx context.Context, key types.NamespacedName) (after time.Duration, err error) {
	defer Survive(ctx, &err)
	return c.handler.Sync(ctx, c, key)
}

func (c *Connection) pass(ctx context.Context, key types.NamespacedName) {
	defer c.beats.Begin("pass over "+key.String()+" on cluster "+string(c.Name), c.now())()
	passing, cancel := linger(ctx, lingers)
	defer cancel()
	after, err := c.sync(passing, key)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		if c.queue.NumRequeues(key) >= patience {
			if err := c.handler.Stuck(ctx, c, key, err); err != nil {
				c.log.Info("cannot say that a step fails", "workflow", key, "error", err.Error())
			}
		}
		c.queue.AddRateLimited(key)
	case after > 0:
		c.queue.Forget(key)
		c.queue.AddAfter(key, after)
	default:
		c.queue.Forget(key)
	}
}
