package cluster

import (
	"bytes"
	"context"
	"slices"
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
	primed      bool
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
		f.connections = map[stellarflow.ClusterName]*member{}
	}
	f.mu.Unlock()
	if err := f.Prime(ctx); err != nil {
		return err
	}
	f.mu.Lock()
	f.primed = true
	f.mu.Unlock()
	<-ctx.Done()
	for _, c := range f.Connections() {
		<-c.done
	}
	return nil
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
	if m, found := f.connections[name]; found {
		m.namespaces.Store(&namespaces)
		if bytes.Equal(m.credential, credential) {
			return nil
		}
		m.stop()
		delete(f.connections, name)
	}
	config, err := wec.ParseKubeconfig(credential, f.Kubeconfig)
	if err != nil {
		return &wec.Trouble{Reason: wec.ReasonBadCredential, Message: err.Error()}
	}
	if f.Transport != nil {
		config.Wrap(f.Transport)
	}
	clients, err := wec.Dial(config)
	if err != nil {
		return &wec.Trouble{Reason: wec.ReasonBadCredential, Message: err.Error()}
	}
	connectionCtx, stop := context.WithCancel(f.ctx)
	c := &Connection{
		Name: name, Clients: clients, hubID: f.HubID, handler: f.Handler, now: f.Now, log: f.Log.WithValues("cluster", name),
		changed: f.Changed, metrics: f.Metrics, beats: f.Beats, stop: stop, done: make(chan struct{}), orphans: map[types.NamespacedName]bool{},
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](firstBackoff, lastBackoff)),
	}
	c.namespaces.Store(&namespaces)
	c.state.Store(&State{Name: name, Reason: wec.ReasonConnecting, Message: "the first probe has not ended", Since: f.Now()})
	f.connections[name] = &member{Connection: c, credential: credential, first: !f.primed}
	go c.run(connectionCtx)
	return nil
}

// Remove ends the connection to a WEC, if there is one.
func (f *Fleet) Remove(name stellarflow.ClusterName) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m, found := f.connections[name]; found {
		m.stop()
		delete(f.connections, name)
		go f.forget(m.Connection)
	}
}

// forget drops the metrics of a cluster when its last pass has ended, unless it is connected again by then.
func (f *Fleet) forget(c *Connection) {
	<-c.done
	f.mu.Lock()
	defer f.mu.Unlock()
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

// FindByHubUID returns a WEC copy that says it belongs to a hub copy, and where it is.
func (f *Fleet) FindByHubUID(uid types.UID) (State, *metav1.PartialObjectMetadata) {
	for _, c := range f.Connections() {
		if copies := c.ByHubUID(uid); len(copies) > 0 {
			return c.State(), copies[0]
		}
	}
	return State{}, nil
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
