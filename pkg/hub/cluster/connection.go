package cluster

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/workqueue"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/heartbeat"
	"stellarflow.io/stellarflow/pkg/hub/metrics"
	"stellarflow.io/stellarflow/pkg/hub/recent"
	"stellarflow.io/stellarflow/pkg/wec"
)

const (
	workers       = 4
	probeInterval = 10 * time.Second
	// After a failed probe the next comes after 1 s, then 2 s and so on up to 30 s, each with jitter.
	firstRetry, lastRetry = time.Second, 30 * time.Second
	// syncTimeout bounds the first list of a watch: a WEC that answers probes but not lists is not connected.
	syncTimeout = 60 * time.Second
	// A key that keeps failing is tried again after 50 ms at first and never less often than every 30 s.
	firstBackoff, lastBackoff = 50 * time.Millisecond, 30 * time.Second
	// After this many tries in a row, some three seconds, the user is told.
	patience = 6
)

// maxMessage bounds, in bytes, what a state says.
const maxMessage = 1024

// Connection is the hub's connection to one WEC.
type Connection struct {
	Name    stellarflow.ClusterName
	Clients *wec.Clients
	// Recent holds what our own writes to the WEC returned.
	Recent recent.Objects
	// Lag holds the changes that the watch has shown and the hub does not show yet.
	Lag metrics.Lag

	hubID      types.UID
	handler    Handler
	now        func() time.Time
	log        logr.Logger
	changed    func(State)
	metrics    *metrics.Metrics
	beats      *heartbeat.Beats
	queue      workqueue.TypedRateLimitingInterface[types.NamespacedName]
	state      atomic.Pointer[State]
	namespaces atomic.Pointer[[]string]
	watch      atomic.Pointer[wec.Watch]
	stopWatch  context.CancelFunc
	stop       context.CancelFunc
	done       chan struct{}
	fixedID    types.UID

	publishMu sync.Mutex
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

// QueueDepth is how many Workflows wait for a worker.
func (c *Connection) QueueDepth() int { return c.queue.Len() }

// Enqueue asks for a pass over a Workflow.
func (c *Connection) Enqueue(key types.NamespacedName) { c.queue.Add(key) }

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

// run keeps the connection until ctx ends.
func (c *Connection) run(ctx context.Context) {
	defer close(c.done)
	var group sync.WaitGroup
	for range workers {
		group.Go(func() { c.work(ctx) })
	}
	retry := firstRetry
	for ctx.Err() == nil {
		delay := wait.Jitter(probeInterval, 0.1)
		if c.check(ctx) {
			retry = firstRetry
		} else {
			delay = time.Duration(float64(retry) * (0.5 + rand.Float64())) //nolint:gosec // jitter needs no secrecy
			retry = min(2*retry, lastRetry)
		}
		select {
		case <-ctx.Done():
		case <-time.After(delay):
		}
	}
	c.queue.ShutDown()
	group.Wait()
	if c.stopWatch != nil {
		c.stopWatch()
	}
}

// check probes once, sees that the watch is complete and publishes the state.
func (c *Connection) check(ctx context.Context) bool {
	began := c.now()
	defer c.beats.Begin("probe of cluster "+string(c.Name), began)()
	facts, err := c.Clients.Probe(ctx, c.now)
	c.metrics.Probed(c.Name, began, c.now())
	if err == nil && c.fixedID != "" && facts.ID != c.fixedID {
		err = &wec.Trouble{Reason: wec.ReasonChanged, Message: "behind the address is another cluster than before: run `stellarflow leave` and `stellarflow join` for the new one"}
	}
	skewed := isSkewed(err)
	if err == nil || skewed {
		c.fixedID = facts.ID
		if watching := c.ensureWatch(ctx); watching != nil {
			err, skewed = watching, false
		}
	}
	if ctx.Err() != nil {
		return false
	}
	next := State{Name: c.Name, Connected: err == nil || skewed, Tried: true, Facts: facts}
	if err != nil {
		next.Reason, next.Message = wec.ReasonUnreachable, stellarflow.OneLine(err.Error(), maxMessage)
		var trouble *wec.Trouble
		if errors.As(err, &trouble) {
			next.Reason = trouble.Reason
		}
		if facts.ID == "" {
			next.Facts = c.State().Facts
		}
	}
	c.publish(ctx, next)
	return err == nil
}

// isSkewed reports whether a wrong clock is all that a probe found: nothing new is placed there, and what runs is followed.
func isSkewed(err error) bool {
	var trouble *wec.Trouble
	return errors.As(err, &trouble) && trouble.Reason == wec.ReasonClockSkew
}

func (c *Connection) publish(ctx context.Context, next State) {
	c.publishMu.Lock()
	defer c.publishMu.Unlock()
	c.publishLocked(ctx, next)
}

func (c *Connection) publishLocked(ctx context.Context, next State) {
	last := c.State()
	next.Since, next.Orphans = last.Since, c.orphanNames()
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

// ensureWatch starts the watch, or starts it anew if it failed, and waits until it is complete.
func (c *Connection) ensureWatch(ctx context.Context) error {
	if watch := c.watch.Load(); watch != nil && watch.Synced() && !watch.Lost() {
		return nil
	}
	if c.stopWatch != nil {
		c.stopWatch()
	}
	watch, err := c.Clients.NewWatch(c.hubID, func(key types.NamespacedName) {
		c.Lag.Changed(key, c.now())
		c.queue.Add(key)
	})
	if err != nil {
		return err
	}
	watchCtx, stop := context.WithCancel(ctx)
	c.stopWatch = stop
	go watch.Run(watchCtx)
	if err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, syncTimeout, true, func(context.Context) (bool, error) { return watch.Synced(), nil }); err != nil {
		stop()
		return &wec.Trouble{Reason: wec.ReasonUnreachable, Message: "the cluster answers, but does not list its Workflows: check the load of its API server"}
	}
	c.watch.Store(watch)
	if c.State().Connected { // else publish does it
		c.enqueueAll(ctx) // what went while there was no watch is in no event of the new one
	}
	return nil
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

func (c *Connection) pass(ctx context.Context, key types.NamespacedName) {
	defer c.beats.Begin("pass over "+key.String()+" on cluster "+string(c.Name), c.now())()
	passing, cancel := linger(ctx, lingers)
	defer cancel()
	after, err := c.handler.Sync(passing, c, key)
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
