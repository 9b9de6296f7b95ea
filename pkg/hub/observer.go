package hub

import (
	"context"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/cluster"
	"stellarflow.io/stellarflow/pkg/hub/inventory"
	"stellarflow.io/stellarflow/pkg/hub/metrics"
	"stellarflow.io/stellarflow/pkg/hub/tombstone"
)

// scrapeTimeout bounds what a scrape reads; all of it is in memory.
const scrapeTimeout = 5 * time.Second

// observer reads what the gauges show from the caches and the connections.
type observer struct {
	cache client.Reader
	fleet *cluster.Fleet
	// tombstones are of the copies that were given up.
	tombstones *tombstone.Store
	now        func() time.Time
	log        logr.Logger
}

// snapshot returns what the gauges show now. A cluster that has joined and has no connection shows why by its condition.
func (o *observer) snapshot() metrics.Snapshot {
	if !o.fleet.Leads() {
		return metrics.Snapshot{}
	}
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout) //nolint:forbidigo // a scrape has no context
	defer cancel()
	var list clusterv1.ManagedClusterList
	if err := o.cache.List(ctx, &list); err != nil {
		o.log.Error(err, "list the managed clusters")
		return metrics.Snapshot{}
	}
	s := metrics.Snapshot{Leading: true, Waiting: o.waiting(ctx)}
	for i := range list.Items {
		if c, ours := o.cluster(&list.Items[i]); ours {
			c.Unfinished, c.Tombstones = len(o.indexed(ctx, list.Items[i].Name)), o.buried(ctx, c.Name)
			s.Clusters = append(s.Clusters, c)
		}
	}
	return s
}

func (o *observer) cluster(managed *clusterv1.ManagedCluster) (metrics.Cluster, bool) {
	c := metrics.Cluster{Name: stellarflow.ClusterName(managed.Name)}
	connection, found := o.fleet.Get(c.Name)
	if !found {
		condition := meta.FindStatusCondition(managed.Status.Conditions, stellarflow.ConditionConnected)
		if condition == nil {
			return c, false
		}
		c.Reason, c.Lag = condition.Reason, o.now().Sub(condition.LastTransitionTime.Time)
		return c, true
	}
	state := connection.State()
	c.Connected, c.Reason, c.Orphans, c.Queue = state.Connected, state.Reason, len(state.Orphans), connection.QueueDepth()
	c.LeaseHeld = !state.LeaseSince.IsZero()
	if state.Healthy() {
		c.Reason = cluster.ReasonReady
	}
	if oldest := connection.Lag.Oldest(); !oldest.IsZero() {
		c.Lag = o.now().Sub(oldest)
	}
	if !c.Connected {
		c.Lag = max(c.Lag, o.now().Sub(state.Since))
	}
	return c, true
}

// waiting counts the Workflows that say that they wait; others that are not placed are the hub's own.
func (o *observer) waiting(ctx context.Context) int {
	waiting := 0
	for _, workflow := range o.indexed(ctx, inventory.Waiting) {
		if _, says := workflow.Annotations[stellarflow.AnnotationWaiting]; says {
			waiting++
		}
	}
	return waiting
}

func (o *observer) buried(ctx context.Context, name stellarflow.ClusterName) int {
	list, err := o.tombstones.On(ctx, name)
	if err != nil {
		o.log.Error(err, "count the tombstones", "cluster", name)
	}
	return len(list)
}

func (o *observer) indexed(ctx context.Context, value string) []metav1.PartialObjectMetadata {
	items, err := inventory.Indexed(ctx, o.cache, value)
	if err != nil {
		o.log.Error(err, "count the Workflows", "index", value)
	}
	return items
}

// arrives tells the metrics of a Workflow that the hub's watch shows. One that says that it waits is measured from what lets it be
// looked at again.
func (h *hub) arrives(object any) {
	workflow, ok := workflowOf(object)
	if !ok {
		return
	}
	_, placed := stellarflow.PlacementOf(workflow)
	_, waits := workflow.GetAnnotations()[stellarflow.AnnotationWaiting]
	switch completed := stellarflow.Completed(workflow); {
	case completed:
		h.options.Metrics.Forget(workflow.GetUID())
	case placed:
		h.options.Metrics.Settled(workflow.GetUID())
	case waits:
		h.options.Metrics.Looked(workflow.GetUID())
	default:
		h.options.Metrics.Arrived(workflow.GetUID(), h.options.Now())
	}
}

// leaves tells everybody who remembers something of a Workflow that it is gone.
func (h *hub) leaves(object any) {
	if workflow, ok := workflowOf(object); ok {
		h.options.Metrics.Forget(workflow.GetUID())
		for _, forget := range h.forget {
			forget(workflow)
		}
	}
}

// replaced tells of one that is gone although the watch shows no deletion: another has its name.
func (h *hub) replaced(old, next any) {
	before, ok := workflowOf(old)
	if after, also := workflowOf(next); ok && also && before.GetUID() != after.GetUID() {
		h.leaves(old)
	}
}
