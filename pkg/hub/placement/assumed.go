package placement

import (
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/bindingpolicy"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// assumed counts the placements that were decided and that no cache shows yet, so that a burst is spread. It is safe for
// several goroutines.
type assumed struct {
	mu sync.Mutex
	on map[types.UID]stellarflow.ClusterName
}

// decide calls resolve with the assumed placements added to the inventory and assumes its answer, all in one step.
func (a *assumed) decide(uid types.UID, inventory []bindingpolicy.Cluster, resolve func([]bindingpolicy.Cluster) bindingpolicy.Decision) bindingpolicy.Decision {
	a.mu.Lock()
	defer a.mu.Unlock()
	more := map[stellarflow.ClusterName]int{}
	for other, cluster := range a.on {
		if other != uid {
			more[cluster]++
		}
	}
	for i := range inventory {
		inventory[i].Unfinished += more[inventory[i].Name]
	}
	decision := resolve(inventory)
	if decision.Cluster != "" {
		if a.on == nil {
			a.on = map[types.UID]stellarflow.ClusterName{}
		}
		a.on[uid] = decision.Cluster
	}
	return decision
}

// drop ends an assumption: the cache shows the placement, or it did not come about.
func (a *assumed) drop(uid types.UID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.on, uid)
}

// Forget drops what is remembered of a Workflow that is gone.
func (r *Reconciler) Forget(workflow metav1.Object) { r.assumed.drop(workflow.GetUID()) }
