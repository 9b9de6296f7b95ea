package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// Snapshot is what the gauges show at the moment of a scrape. A standby, which acts on nothing, has an empty one.
type Snapshot struct {
	// Leading is false for a standby.
	Leading bool
	// Waiting is how many Workflows say that they wait for a cluster.
	Waiting  int
	Clusters []Cluster
}

// Cluster is one cluster of a Snapshot.
type Cluster struct {
	Name      stellarflow.ClusterName
	Connected bool
	// Reason is that of the condition StellarflowConnected.
	Reason string
	// LeaseHeld is true while this hub holds its Lease on the cluster.
	LeaseHeld bool
	Queue     int
	// Lag is the age of the oldest change there that the hub does not show yet.
	Lag                             time.Duration
	Unfinished, Orphans, Tombstones int
}

func gauge(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prefix+name, help, labels, nil)
}

var (
	gaugeWaiting   = gauge("workflows_waiting", "Workflows that are not placed and say what they wait for.")
	gaugeConnected = gauge("cluster_connected", "1 if the cluster answers and its Workflows are watched, else 0; the reason is that of its condition StellarflowConnected.",
		labelCluster, "reason")
	gaugeLease      = gauge("cluster_lease_held", "1 if this hub holds its Lease on the cluster, without which it writes nothing there, else 0.", labelCluster)
	gaugeQueue      = gauge("queue_depth", "Workflows of the cluster that wait for a worker; those that wait for a time are not counted.", labelCluster)
	gaugeLag        = gauge("sync_lag_seconds", "Age of the oldest change that the cluster's watch has shown and the hub does not show yet; of a cluster that is not connected at least the time since then.", labelCluster)
	gaugeUnfinished = gauge("workflows_unfinished", "Workflows that are placed on the cluster and have not ended.", labelCluster)
	gaugeOrphans    = gauge("orphans", "Unfinished copies on the cluster that no Workflow of the hub claims.", labelCluster)
	gaugeTombstones = gauge("tombstones", "Copies on the cluster that were given up and are removed when they are seen.", labelCluster)
	gauges          = []*prometheus.Desc{gaugeWaiting, gaugeConnected, gaugeLease, gaugeQueue, gaugeLag, gaugeUnfinished, gaugeOrphans, gaugeTombstones}
)

func (s Snapshot) collect(values chan<- prometheus.Metric) {
	if !s.Leading {
		return
	}
	send := func(description *prometheus.Desc, value float64, labels ...string) {
		values <- prometheus.MustNewConstMetric(description, prometheus.GaugeValue, value, labels...)
	}
	send(gaugeWaiting, float64(s.Waiting))
	for _, c := range s.Clusters {
		name := string(c.Name)
		send(gaugeConnected, number(c.Connected), name, c.Reason)
		send(gaugeLease, number(c.LeaseHeld), name)
		send(gaugeQueue, float64(c.Queue), name)
		send(gaugeLag, max(0, c.Lag).Seconds(), name)
		send(gaugeUnfinished, float64(c.Unfinished), name)
		send(gaugeOrphans, float64(c.Orphans), name)
		send(gaugeTombstones, float64(c.Tombstones), name)
	}
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
