package podmirror

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/cluster"
	"stellarflow.io/stellarflow/pkg/hub/podmirror/events"
	"stellarflow.io/stellarflow/pkg/wec"
)

// Copies reads hub copies.
type Copies interface {
	// Cached returns a hub copy's metadata, nil if there is none. It must not be changed.
	Cached(ctx context.Context, key types.NamespacedName) (*metav1.PartialObjectMetadata, error)
}

// Mirrorer shows the pods of all WECs on the hub.
type Mirrorer struct {
	// Hub writes Pods on the hub, with limits of its own: status does not wait for it.
	Hub kubernetes.Interface
	// Shown has the mirrored pods and the virtual Nodes of the hub, Policies its policies.
	Shown, Policies client.Reader
	Copies          Copies
	// Recorder says on hub copies what cannot be shown.
	Recorder record.EventRecorder
	Log      logr.Logger
	// Now is the clock of the hub's API server, by which it says when a mirrored pod was deleted.
	Now func() time.Time

	mu       sync.Mutex
	clusters map[stellarflow.ClusterName]*pods
	counts   map[string]int // of the mirrored pods, by their label of the cluster
	removing sync.Map       // UIDs of mirrors that this process has removed itself
	unseen   unseen
	access   access
}

// pods are those of one WEC.
type pods struct {
	*Mirrorer
	connection *cluster.Connection
	queue      queue
	watch      atomic.Pointer[wec.Watch] // complete, though it may be lost
	ended      int                       // how many watches in a row did not last, while the WEC was connected
	events     *events.Mirror

	known   sync.Mutex
	read    map[types.NamespacedName]seen
	deleted map[types.NamespacedName]Deletion
	passed  map[types.NamespacedName]passing
}

// Follow mirrors the pods of one WEC until ctx ends. It is a cluster.Fleet's Companion.
func (m *Mirrorer) Follow(ctx context.Context, connection *cluster.Connection) {
	p := &pods{
		Mirrorer: m, connection: connection, read: map[types.NamespacedName]seen{}, deleted: map[types.NamespacedName]Deletion{},
		passed: map[types.NamespacedName]passing{}, queue: newQueue(),
	}
	p.events = events.New(events.Options{
		Cluster: connection.Name, WEC: connection.Clients.Events, Hub: m.Hub.CoreV1(), Log: m.Log,
		Shown: func(key types.NamespacedName) *corev1.Pod { return p.mirror(ctx, key) }, All: func() []types.NamespacedName { return p.mirrors(ctx) },
	})
	p.join()
	defer p.leave()
	var group sync.WaitGroup
	group.Go(func() { work(ctx, p.queue, p.do) })
	group.Go(func() { p.events.Run(ctx) })
	group.Go(func() { wait.JitterUntilWithContext(ctx, p.enqueueAll, every, 0.1, true) })
	wec.Follow(ctx, p.follow)
	group.Wait()
}

// join lets the Mirrorer know the pods of a WEC.
func (p *pods) join() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.clusters == nil {
		p.clusters = map[stellarflow.ClusterName]*pods{}
	}
	p.clusters[p.connection.Name] = p
}

// leave lets it forget them.
func (p *pods) leave() {
	defer p.access.end(func(at where) bool { return at.cluster == p.connection.Name }) // after it is forgotten: nobody begins any more
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.clusters[p.connection.Name] == p {
		delete(p.clusters, p.connection.Name)
	}
	for _, pod := range p.unseen.of(p.connection.Name) {
		p.unseen.clear(there{p.connection.Name, pod})
	}
}

// of returns the pods of a WEC, nil if it is not followed.
func (m *Mirrorer) of(name stellarflow.ClusterName) *pods {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.clusters[name]
}

// all returns those of all WECs.
func (m *Mirrorer) all() []*pods {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]*pods, 0, len(m.clusters))
	for _, p := range m.clusters {
		all = append(all, p)
	}
	return all
}
