package kubelet

import (
	"fmt"
	"net/http"
	"sync"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/metrics"
)

// Limits bound how many streams there are at once. A stream costs some 150 KiB: TLS on both sides, and what is copied.
type Limits struct {
	// All is for the hub, Cluster for each cluster, so that one which hangs does not take every stream.
	All, Cluster int
}

// DefaultLimits are those of a hub manager with the memory of config/hub.
func DefaultLimits() Limits { return Limits{All: 1000, Cluster: 250} }

// slots counts the streams.
type slots struct {
	limits  Limits
	metrics *metrics.Metrics

	mu   sync.Mutex
	all  int
	open map[stellarflow.ClusterName]map[kind]int
}

// take takes a slot and returns what gives it back, or says why there is none.
func (s *slots) take(cluster stellarflow.ClusterName, k kind) (func(), *refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ofCluster := 0
	for _, n := range s.open[cluster] {
		ofCluster += n
	}
	const remedy = "end some (each log that is followed is one) and try again"
	switch {
	case s.all >= s.limits.All:
		return nil, &refusal{http.StatusTooManyRequests, fmt.Sprintf("the hub has %d streams to pods of other clusters open, and no more are allowed at once: %s", s.all, remedy)}
	case ofCluster >= s.limits.Cluster:
		return nil, &refusal{http.StatusTooManyRequests, fmt.Sprintf("the hub has %d streams to pods of cluster %s open, and no more are allowed at once: %s", ofCluster, cluster, remedy)}
	}
	s.count(cluster, k, 1)
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.count(cluster, k, -1)
	}), nil
}

func (s *slots) count(cluster stellarflow.ClusterName, k kind, change int) {
	if s.open == nil {
		s.open = map[stellarflow.ClusterName]map[kind]int{}
	}
	if s.open[cluster] == nil {
		s.open[cluster] = map[kind]int{}
	}
	s.all += change
	s.open[cluster][k] += change
	s.metrics.StreamsOpen(cluster, string(k), s.open[cluster][k])
	if s.open[cluster][k] > 0 {
		return
	}
	if delete(s.open[cluster], k); len(s.open[cluster]) == 0 {
		delete(s.open, cluster)
	}
}
