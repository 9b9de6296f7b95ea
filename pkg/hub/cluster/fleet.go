package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/transport"
	"k8s.io/client-go/util/workqueue"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/heartbeat"
	"stellarflow.io/stellarflow/pkg/hub/metrics"
	"stellarflow.io/stellarflow/pkg/wec"
)

// Fleet runs the connections to all WECs. It is a manager.Runnable that needs leader election.
type Fleet struct {
	HubID   types.UID
	Handler Handler
	Now     func() time.Time
	Log     logr.Logger
	// Changed is told of every change of a state; it must not block.
	Changed func(State)
	// Kubeconfig says which kubeconfigs are dialled.
	Kubeconfig wec.KubeconfigOptions
	// Identity tells this process from every other that may take itself for the same hub.
	Identity string
	Timing   Timing
	// HubVersion reads the hub's resourceVersion; nil for none.
	HubVersion func(context.Context) (uint64, error)
	// Observed returns the highest resourceVersion of a WEC that hub copies hold; nil for none.
	Observed Observed

	// Companion does something with every connection until its context ends; nil for nothing.
	Companion func(context.Context, *Connection)
	// Transport wraps the transport to every WEC, nil for none.
	Transport transport.WrapperFunc
	// Prime gives every ManagedCluster that exists at the start to Ensure.
	Prime func(context.Context) error
	// Metrics time the probes; nil for none.
	Metrics *metrics.Metrics
	// Beats are told of each probe and pass, for the health check; nil for nobody.
	Beats *heartbeat.Beats

	mu          sync.Mutex
	ctx         context.Context //nolint:containedctx // the life of all connections, which reconcilers start but do not own
	connections map[stellarflow.ClusterName]*member
	ending      map[stellarflow.ClusterName]chan struct{} // of connections that were removed
	primed      bool
	version     hubVersion
}

type member struct {
	*Connection
	credential []byte
	first      bool // it was known at the start
}

// Start holds the connections until ctx ends, and then waits for their last passes.
func (f *Fleet) Start(ctx context.Context) error {
	f.mu.Lock()
	f.ctx = ctx
	if f.connections == nil {
		f.connections, f.ending = map[stellarflow.ClusterName]*member{}, map[stellarflow.ClusterName]chan struct{}{}
	}
	f.mu.Unlock()
	if f.HubVersion != nil {
		f.version.read = f.HubVersion
		go f.follow(ctx)
	}
	if err := f.Prime(ctx); err != nil {
		return err
	}
	f.mu.Lock()
	f.primed = true
	f.mu.Unlock()
	<-ctx.Done()
	for _, done := range f.allDone() {
		<-done
	}
	return nil
}

// allDone returns what is closed when the connections, the removed ones too, have ended.
func (f *Fleet) allDone() []<-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []<-chan struct{}
	for _, done := range f.ending {
		all = append(all, done)
	}
	for _, m := range f.connections {
		all = append(all, m.done)
	}
	return all
}

// NeedLeaderElection is true: only the leader talks to WECs.
func (f *Fleet) NeedLeaderElection() bool { return true }

// Ensure connects to a WEC with a credential, or keeps the connection if the credential is the one it was made with. The
// error is a *wec.Trouble that says what is wrong with the credential; the WEC is then not connected.
func (f *Fleet) Ensure(name stellarflow.ClusterName, credential []byte, namespaces []string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ctx == nil {
		return &wec.Trouble{Reason: wec.ReasonConnecting, Message: "the hub manager is starting"}
	}
	m, found := f.connections[name]
	if found {
		m.namespaces.Store(&namespaces)
		if bytes.Equal(m.credential, credential) {
			return nil
		}
	}
	hold := wec.NewHold(f.Now, f.Timing.orDefault().Lease.Deadline)
	if found {
		hold = m.hold
	}
	clients, err := f.dial(name, credential, hold)
	if err != nil {
		if found { // a credential that was taken back is not used any more
			f.end(m)
		}
		return &wec.Trouble{Reason: wec.ReasonBadCredential, Message: err.Error()}
	}
	if found { // it goes on with the new credential once that is known to lead to the same cluster
		m.credential = credential
		m.candidate.Store(clients)
		m.probeNow()
		return nil
	}
	f.connect(&member{Connection: f.newConnection(name, clients, hold, namespaces), credential: credential, first: !f.primed})
	return nil
}

func (f *Fleet) dial(name stellarflow.ClusterName, credential []byte, hold *wec.Hold) (*wec.Clients, error) {
	config, err := wec.ParseKubeconfig(credential, f.Kubeconfig)
	if err != nil {
		return nil, err
	}
	if f.Transport != nil {
		config.Wrap(f.Transport)
	}
	return wec.DialHeld(string(name), config, hold)
}

func (f *Fleet) newConnection(name stellarflow.ClusterName, clients *wec.Clients, hold *wec.Hold, namespaces []string) *Connection {
	timing := f.Timing.orDefault()
	c := &Connection{
		Name: name, Clients: clients, hubID: f.HubID, timing: timing, handler: f.Handler, now: f.Now, log: f.Log.WithValues("cluster", name),
		changed: f.Changed, metrics: f.Metrics, beats: f.Beats, observed: f.Observed, replace: f.replace, companion: f.Companion, hold: hold, kick: make(chan struct{}, 1), listing: newListing(timing),
		done: make(chan struct{}), orphans: map[types.NamespacedName]bool{},
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](firstBackoff, lastBackoff)),
	}
	c.namespaces.Store(&namespaces)
	c.state.Store(&State{Name: name, Reason: wec.ReasonConnecting, Message: "the first probe has not ended", Since: f.Now()})
	return c
}

// connect starts a connection once the one before it to the same WEC, which may still have requests under way, has ended.
func (f *Fleet) connect(m *member) {
	ctx, stop := context.WithCancel(f.ctx)
	m.stop = stop
	var version wec.HubVersion
	if f.HubVersion != nil {
		version = &f.version
	}
	m.lease = wec.NewLease(wec.LeaseOptions{
		Hub:     version,
		Clients: m.Clients, HubID: f.HubID, Identity: f.Identity, Timing: m.timing.Lease, Hold: m.hold, Now: f.Now,
		Changed: func() { m.assess(ctx) },
	})
	f.connections[m.Name] = m
	go m.run(ctx, f.ending[m.Name])
}

// end ends a connection; its last passes may go on for a moment.
func (f *Fleet) end(m *member) {
	m.stop()
	delete(f.connections, m.Name)
	f.ending[m.Name] = m.done
	go f.forget(m.Connection)
}

// replace starts a connection anew: its new credential leads to another cluster.
func (f *Fleet) replace(c *Connection) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m, found := f.connections[c.Name]
	clients := c.candidate.Load()
	if !found || m.Connection != c || clients == nil {
		return
	}
	f.end(m)
	f.connect(&member{Connection: f.newConnection(c.Name, clients, c.hold, c.Namespaces()), credential: m.credential})
}

// Remove ends the connection to a WEC, if there is one.
func (f *Fleet) Remove(name stellarflow.ClusterName) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m, found := f.connections[name]; found {
		f.end(m)
	}
}

// forget drops what is known of a removed connection, and the metrics of its cluster, when its last pass has ended, unless it is connected again by then.
func (f *Fleet) forget(c *Connection) {
	<-c.done
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ending[c.Name] == c.done {
		delete(f.ending, c.Name)
	}
	if _, again := f.connections[c.Name]; !again {
		f.Metrics.ForgetCluster(c.Name)
	}
}

// Leads reports whether this process has begun to act: only the leader does.
func (f *Fleet) Leads() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ctx != nil && f.ctx.Err() == nil
}

// Get returns the connection to a WEC.
func (f *Fleet) Get(name stellarflow.ClusterName) (*Connection, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m, found := f.connections[name]
	if !found {
		return nil, false
	}
	return m.Connection, true
}

// Connections returns all connections, by name.
func (f *Fleet) Connections() []*Connection {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]*Connection, 0, len(f.connections))
	for _, m := range f.connections {
		all = append(all, m.Connection)
	}
	slices.SortFunc(all, func(a, b *Connection) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	return all
}

// Enqueue asks for a pass over a Workflow on a cluster; without a connection it does nothing, a new connection looks at all.
func (f *Fleet) Enqueue(name stellarflow.ClusterName, key types.NamespacedName) {
	if c, found := f.Get(name); found {
		c.Enqueue(key)
	}
}

// EnqueueEverywhere asks for a pass over a Workflow on every connected cluster.
func (f *Fleet) EnqueueEverywhere(key types.NamespacedName) {
	for _, c := range f.Connections() {
		c.Enqueue(key)
	}
}

// ErrAmbiguous is the sentinel of two clusters that have a copy of the same attempt of one hub copy.
var ErrAmbiguous = errors.New("more than one cluster has a copy of its last attempt")

// FindByHubUID returns the WEC copy of the highest attempt that says it belongs to a hub copy, and where it is. If two clusters
// have one of that attempt the error is an ErrAmbiguous that names them.
func (f *Fleet) FindByHubUID(uid types.UID) (State, *metav1.PartialObjectMetadata, error) {
	var at State
	var newest *metav1.PartialObjectMetadata
	var also []string
	for _, c := range f.Connections() {
		for _, wecCopy := range c.ByHubUID(uid) {
			switch {
			case newest == nil || attempt(wecCopy) > attempt(newest):
				at, newest, also = c.State(), wecCopy, nil
			case attempt(wecCopy) == attempt(newest):
				also = append(also, string(c.Name))
			}
		}
	}
	if len(also) > 0 {
		return at, nil, fmt.Errorf("attempt %d is on clusters %s and %s: %w", attempt(newest), at.Name, strings.Join(also, ", "), ErrAmbiguous)
	}
	return at, newest, nil
}

// attempt returns the attempt that a WEC copy says it is of, 0 if it says none.
func attempt(wecCopy *metav1.PartialObjectMetadata) int {
	n, err := strconv.Atoi(wecCopy.Annotations[stellarflow.AnnotationAttempt])
	if err != nil {
		return 0
	}
	return n
}

// settleWithin bounds how long a WEC that does not even fail may keep the others waiting after a start.
const settleWithin = 20 * time.Second

// Settled reports whether every WEC known at the start has been tried once, or had its time. Before that nothing is placed: a WEC copy of the same
// Workflow may exist on one that was not looked at yet.
func (f *Fleet) Settled() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.primed {
		return false
	}
	for _, m := range f.connections {
		if state := m.State(); m.first && !state.Tried && f.Now().Sub(state.Since) < settleWithin {
			return false
		}
	}
	return true
}
