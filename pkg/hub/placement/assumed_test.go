package placement

import (
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/bindingpolicy"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// idlest chooses the cluster with the fewest Workflows, the first of several.
func idlest(clusters []bindingpolicy.Cluster) bindingpolicy.Decision {
	best := 0
	for i := range clusters {
		if clusters[i].Unfinished < clusters[best].Unfinished {
			best = i
		}
	}
	return bindingpolicy.Decision{Cluster: clusters[best].Name}
}

// clusters is what a cache that has seen none of the burst shows: a new one for each decision.
func clusters(unfinished ...int) []bindingpolicy.Cluster {
	var list []bindingpolicy.Cluster
	for i, count := range unfinished {
		list = append(list, bindingpolicy.Cluster{Name: stellarflow.ClusterName(fmt.Sprintf("cluster%d", i+1)), Unfinished: count})
	}
	return list
}

func uid(i int) types.UID { return types.UID(fmt.Sprintf("u%d", i)) }

func TestBurstIsSpread(t *testing.T) {
	var a assumed
	counts := map[stellarflow.ClusterName]int{}
	for i := range 90 {
		counts[a.decide(uid(i), clusters(0, 0, 30), idlest).Cluster]++
	}
	if diff := cmp.Diff(map[stellarflow.ClusterName]int{"cluster1": 40, "cluster2": 40, "cluster3": 10}, counts); diff != "" {
		t.Errorf("a burst that no cache shows yet goes to the idle clusters in turn, -want +got:\n%s", diff)
	}
}

func TestBurstIsSpreadByManyWorkers(t *testing.T) {
	var a assumed
	var mu sync.Mutex
	var group sync.WaitGroup
	counts := map[stellarflow.ClusterName]int{}
	for i := range 40 {
		group.Go(func() {
			chosen := a.decide(uid(i), clusters(0, 0), idlest).Cluster
			mu.Lock()
			defer mu.Unlock()
			counts[chosen]++
		})
	}
	group.Wait()
	if diff := cmp.Diff(map[stellarflow.ClusterName]int{"cluster1": 20, "cluster2": 20}, counts); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestAssumed(t *testing.T) {
	var a assumed
	a.drop("u1") // of nothing
	decide := func(what string, id types.UID, want stellarflow.ClusterName) {
		t.Helper()
		if got := a.decide(id, clusters(0, 0), idlest).Cluster; got != want {
			t.Errorf("%s: placed on %s, want %s", what, got, want)
		}
	}
	decide("the first", "u1", "cluster1")
	decide("the same once more (a lost race): its own assumption does not count", "u1", "cluster1")
	decide("another", "u2", "cluster2")
	a.drop("u1")
	decide("the first one's place is free again", "u3", "cluster1")

	before := len(a.on)
	none := a.decide("u4", clusters(0), func([]bindingpolicy.Cluster) bindingpolicy.Decision { return bindingpolicy.Decision{} })
	if none.Cluster != "" || len(a.on) != before {
		t.Error("a Workflow that is placed nowhere is assumed to be somewhere")
	}
	seen := 0
	a.decide("u5", clusters(7, 0), func(clusters []bindingpolicy.Cluster) bindingpolicy.Decision {
		seen = clusters[0].Unfinished
		return bindingpolicy.Decision{}
	})
	if seen != 8 {
		t.Errorf("cluster1 has 7 Workflows in the cache and 1 assumed, Resolve sees %d", seen)
	}
}
