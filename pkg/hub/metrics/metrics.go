package metrics

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

const (
	prefix       = "stellarflow_"
	labelCluster = "cluster"
)

// latencies are the buckets in seconds: from a write on the same machine to an outage that somebody has to look at.
var latencies = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900}

// Metrics holds every metric of ours. All methods may be called by several goroutines.
type Metrics struct {
	// Snapshot is asked for the gauges with each scrape; nil for none.
	Snapshot func() Snapshot

	placement                 prometheus.Histogram
	downsync, upsync, probe   *prometheus.HistogramVec
	lostRaces                 prometheus.Counter
	refusals, stepFailures    *prometheus.CounterVec
	mirrorWrites, notMirrored *prometheus.CounterVec
	statusesCut, locations    *prometheus.CounterVec
	restored, vanished        *prometheus.CounterVec
	requests                  *prometheus.CounterVec
	streams                   *prometheus.GaugeVec
	arrivals                  arrivals
	records                   stopwatch
	ofClusters                []deleter
	collectors                []prometheus.Collector
}

// deleter is a vector whose series of one cluster can be removed.
type deleter interface {
	DeletePartialMatch(labels prometheus.Labels) int
}

// New returns metrics that have counted nothing yet.
func New() *Metrics {
	m := &Metrics{}
	m.placement = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: prefix + "placement_latency_seconds", Buckets: latencies,
		Help: "Time from the moment the hub manager saw what made it look at a Workflow (it was created, or a policy, a cluster or a namespace changed) to the stored record of its placement.",
	})
	m.lostRaces = prometheus.NewCounter(prometheus.CounterOpts{
		Name: prefix + "lost_races_total", Help: "Writes to hub copies that were not made because the object had changed meanwhile; each is decided again.",
	})
	m.collectors = []prometheus.Collector{m.placement, m.lostRaces}
	m.downsync = m.histogram("downsync_latency_seconds", "Time from the stored record of a placement to the answer that its copy was created on the cluster.")
	m.upsync = m.histogram("upsync_latency_seconds", "Time from the event of a cluster's watch to the end of the write that mirrored the change to the hub.")
	m.probe = m.histogram("probe_duration_seconds", "How long the probes of a cluster took, whether or not they succeeded.")
	m.refusals = m.counter("refusals_total", "Times that a cluster refused a Workflow; one that waits there is asked again every 30 s.", "reason")
	m.stepFailures = m.counter("step_failures_total", "Steps for a Workflow on a cluster that failed and are tried again.", "step")
	m.mirrorWrites = m.counter("mirror_writes_total", "Writes to the hub that brought a status from a cluster.")
	m.notMirrored = m.counter("statuses_refused_total", "Statuses of a cluster that were not shown on the hub, because of what is in them or because they are older than what was shown.")
	m.statusesCut = m.counter("statuses_cut_total", "Statuses that were written to the hub without their nodes, because they did not fit.")
	m.locations = m.counter("artifact_locations_removed_total", "Artifact locations that were taken out of statuses, because they are no keys of the shared store.")
	m.restored = m.counter("placements_restored_total", "Lost placement records that were restored from the copy on the cluster.")
	m.vanished = m.counter("copies_vanished_total", "Unfinished copies that were removed on the cluster by force; their Workflows ended as Error.")
	m.requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: prefix + "requests_total", Help: "What people asked of placed Workflows (abandon, move, stop, terminate, suspend, resume, set, retry, other), by what became of it (asked, done, refused).",
	}, []string{"request", "result"})
	m.streams = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: prefix + "streams", Help: "Open streams to pods of a cluster (log, exec, attach, port-forward).",
	}, []string{labelCluster, "kind"})
	m.ofClusters = append(m.ofClusters, m.streams)
	m.collectors = append(m.collectors, m.requests, m.streams)
	return m
}

func (m *Metrics) histogram(name, help string) *prometheus.HistogramVec {
	vector := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: prefix + name, Help: help, Buckets: latencies}, []string{labelCluster})
	m.ofClusters, m.collectors = append(m.ofClusters, vector), append(m.collectors, vector)
	return vector
}

func (m *Metrics) counter(name, help string, labels ...string) *prometheus.CounterVec {
	vector := prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + name, Help: help}, append([]string{labelCluster}, labels...))
	m.ofClusters, m.collectors = append(m.ofClusters, vector), append(m.collectors, vector)
	return vector
}

// Describe sends the descriptions of all metrics.
func (m *Metrics) Describe(descriptions chan<- *prometheus.Desc) {
	for _, collector := range m.collectors {
		collector.Describe(descriptions)
	}
	for _, description := range gauges {
		descriptions <- description
	}
}

// Collect sends the current values of all metrics.
func (m *Metrics) Collect(values chan<- prometheus.Metric) {
	for _, collector := range m.collectors {
		collector.Collect(values)
	}
	if m.Snapshot != nil {
		m.Snapshot().collect(values)
	}
}

// ForgetCluster removes every series of a cluster that has left.
func (m *Metrics) ForgetCluster(cluster stellarflow.ClusterName) {
	if m == nil {
		return
	}
	for _, vector := range m.ofClusters {
		vector.DeletePartialMatch(prometheus.Labels{labelCluster: string(cluster)})
	}
}

// Arrived says that something asks for a look at a Workflow that is not placed.
func (m *Metrics) Arrived(uid types.UID, now time.Time) {
	if m != nil {
		m.arrivals.arrived(uid, now)
	}
}

// Looked says that a Workflow was looked at and is not placed: the next look is measured from what asks for it.
func (m *Metrics) Looked(uid types.UID) {
	if m != nil {
		m.arrivals.looked(uid)
	}
}

// ArrivedAt returns since when a look at a Workflow has been asked for, zero if that is not known.
func (m *Metrics) ArrivedAt(uid types.UID) time.Time {
	if m == nil {
		return time.Time{}
	}
	return m.arrivals.since(uid)
}

// Placed says that the record of a placement is stored.
func (m *Metrics) Placed(uid types.UID, arrived, now time.Time) {
	if m == nil {
		return
	}
	if !arrived.IsZero() {
		m.placement.Observe(seconds(arrived, now))
	}
	m.arrivals.forget(uid)
	m.records.start(uid, now)
}

// Forget drops what is remembered of a Workflow: it is gone, or finished.
func (m *Metrics) Forget(uid types.UID) {
	if m != nil {
		m.arrivals.forget(uid)
		m.records.stop(uid)
	}
}

// Settled drops what is remembered of the arrival of a Workflow: it is placed, here or by another process.
func (m *Metrics) Settled(uid types.UID) {
	if m != nil {
		m.arrivals.forget(uid)
	}
}

// Created says that the WEC copy of a placement was created. A placement that another process recorded is measured from the time
// in its record, which has whole seconds.
func (m *Metrics) Created(placement stellarflow.Placement, now time.Time) {
	if m == nil {
		return
	}
	recorded, found := m.records.stop(placement.UID)
	if !found {
		recorded = placement.Time
	}
	m.downsync.WithLabelValues(string(placement.Cluster)).Observe(seconds(recorded, now))
}

// Mirrored says that a status was written to the hub; seen is when the change was, zero if that is not known.
func (m *Metrics) Mirrored(cluster stellarflow.ClusterName, seen, now time.Time) {
	if m == nil {
		return
	}
	m.mirrorWrites.WithLabelValues(string(cluster)).Inc()
	if !seen.IsZero() {
		m.upsync.WithLabelValues(string(cluster)).Observe(seconds(seen, now))
	}
}

// NotMirrored says that a status was refused.
func (m *Metrics) NotMirrored(cluster stellarflow.ClusterName) {
	if m != nil {
		m.notMirrored.WithLabelValues(string(cluster)).Inc()
	}
}

// Cleaned says what a status that was written to the hub lost on its way: artifact locations, and its nodes if it was cut.
func (m *Metrics) Cleaned(cluster stellarflow.ClusterName, locations int, cut bool) {
	if m == nil {
		return
	}
	if locations > 0 {
		m.locations.WithLabelValues(string(cluster)).Add(float64(locations))
	}
	if cut {
		m.statusesCut.WithLabelValues(string(cluster)).Inc()
	}
}

// Probed says how long a probe took.
func (m *Metrics) Probed(cluster stellarflow.ClusterName, began, now time.Time) {
	if m != nil {
		m.probe.WithLabelValues(string(cluster)).Observe(seconds(began, now))
	}
}

// Refused says that a cluster refused a Workflow; reason is one of package downsync's.
func (m *Metrics) Refused(cluster stellarflow.ClusterName, reason string) {
	if m != nil {
		m.refusals.WithLabelValues(string(cluster), reason).Inc()
	}
}

// StepFailed says that a step of package lifecycle failed.
func (m *Metrics) StepFailed(cluster stellarflow.ClusterName, step string) {
	if m != nil {
		m.stepFailures.WithLabelValues(string(cluster), step).Inc()
	}
}

// Restored says that a placement record was restored.
func (m *Metrics) Restored(cluster stellarflow.ClusterName) {
	if m != nil {
		m.restored.WithLabelValues(string(cluster)).Inc()
	}
}

// Vanished says that a Workflow ended because its WEC copy was removed by force.
func (m *Metrics) Vanished(cluster stellarflow.ClusterName) {
	if m != nil {
		m.vanished.WithLabelValues(string(cluster)).Inc()
	}
}

// StreamsOpen says how many streams of a kind to pods of a cluster are open; with none left nothing is shown.
func (m *Metrics) StreamsOpen(cluster stellarflow.ClusterName, kind string, open int) {
	if m == nil {
		return
	}
	if open == 0 {
		m.streams.DeleteLabelValues(string(cluster), kind)
		return
	}
	m.streams.WithLabelValues(string(cluster), kind).Set(float64(open))
}

// LostRace says that a write was not made because the object had changed.
func (m *Metrics) LostRace() {
	if m != nil {
		m.lostRaces.Inc()
	}
}

// What people ask for with spec.shutdown, as a request.
const (
	RequestStop      = "stop"
	RequestTerminate = "terminate"
)

// Results of requests. One that waits for its cluster is asked before it is done or refused.
const (
	ResultAsked   = "asked"
	ResultDone    = "done"
	ResultRefused = "refused"
)

// Requested says what became of a person's request: ResultAsked, ResultDone or ResultRefused. A request that is none of ours is counted as other,
// because people may write anything there.
func (m *Metrics) Requested(request, result string) {
	if m == nil {
		return
	}
	known := []string{stellarflow.RequestAbandon, stellarflow.RequestMove, RequestStop, RequestTerminate}
	if !slices.Contains(known, request) && !slices.Contains(stellarflow.IntentKinds, stellarflow.IntentKind(request)) {
		request = "other"
	}
	m.requests.WithLabelValues(request, result).Inc()
}

// seconds never is negative: clocks are set back at times.
func seconds(from, to time.Time) float64 { return max(0, to.Sub(from)).Seconds() }
