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
	// All is for the hub, Cluster for each cluster, so that one which hangs does not take every stream. Of both the last fifth is kept for
	// namespaces whose pods, wherever they run, have fewer than Namespace, so that one person does not. Others may have all the rest: who follows a
	// Workflow is not told of the pods that were refused (argo-workflows v3.7.18 util/logs/workflow-logger.go).
	All, Cluster, Namespace int
}

// plenty is how many of so many streams anybody may have.
func plenty(most int) int { return most - most/5 }

// DefaultLimits are those of a hub manager with the memory of config/hub.
func DefaultLimits() Limits { return Limits{All: 1000, Cluster: 250, Namespace: 100} }

// connections is how many connections there may be at once, those of nobody too: every stream has one, and a fourth as many are refused, idle or begin.
func (l Limits) connections() int { return l.All + max(l.All/4, 1) }

// slots counts the streams.
type slots struct {
	limits  Limits
	metrics *metrics.Metrics

	mu         sync.Mutex
	all        int
	open       map[stellarflow.ClusterName]map[kind]int
	namespaces map[string]int
}

// take takes a slot for a stream to a pod of the namespace and returns what gives it back, or says why there is none.
func (s *slots) take(cluster stellarflow.ClusterName, namespace string, k kind) (func(), *refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ofCluster := 0
	for _, n := range s.open[cluster] {
		ofCluster += n
	}
	short := s.all >= plenty(s.limits.All) || ofCluster >= plenty(s.limits.Cluster)
	for _, limit := range []struct {
		open    int
		reached bool
		to      string
	}{
		{s.all, s.all >= s.limits.All, "pods of other clusters"},
		{ofCluster, ofCluster >= s.limits.Cluster, "pods of cluster " + string(cluster)},
		{s.namespaces[namespace], short && s.namespaces[namespace] >= s.limits.Namespace, "pods of namespace " + namespace + " on other clusters"},
	} {
		if limit.reached {
			return nil, &refusal{http.StatusTooManyRequests, fmt.Sprintf(
				"the hub has %d streams to %s open, and no more are allowed at once: end some (each log that is followed is one) and try again", limit.open, limit.to)}
		}
	}
	s.count(cluster, namespace, k, 1)
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.count(cluster, namespace, k, -1)
	}), nil
}

func (s *slots) count(cluster stellarflow.ClusterName, namespace string, k kind, change int) {
	if s.open == nil {
		s.open, s.namespaces = map[stellarflow.ClusterName]map[kind]int{}, map[string]int{}
	}
	if s.open[cluster] == nil {
		s.open[cluster] = map[kind]int{}
	}
	s.all += change
	if s.namespaces[namespace] += change; s.namespaces[namespace] == 0 {
		delete(s.namespaces, namespace)
	}
	s.open[cluster][k] += change
	s.metrics.StreamsOpen(cluster, string(k), s.open[cluster][k])
	if s.open[cluster][k] > 0 {
		return
	}
	if delete(s.open[cluster], k); len(s.open[cluster]) == 0 {
		delete(s.open, cluster)
	}
}
