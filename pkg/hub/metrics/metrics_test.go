package metrics

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

var begin = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(after time.Duration) time.Time { return begin.Add(after) }

// everything calls each hook once, for one cluster.
func everything(m *Metrics, cluster stellarflow.ClusterName) {
	m.Arrived("uid", at(0))
	m.Looked("uid")
	m.Arrived("uid", at(time.Second))
	m.Placed("uid", m.ArrivedAt("uid"), at(3*time.Second))
	m.Settled("uid")
	m.Created(stellarflow.Placement{UID: "uid", Cluster: cluster}, at(7*time.Second))
	m.Mirrored(cluster, at(0), at(8*time.Second))
	m.NotMirrored(cluster)
	m.Cleaned(cluster, 2, true)
	m.Probed(cluster, at(0), at(16*time.Second))
	m.Refused(cluster, "NameTaken")
	m.StepFailed(cluster, "Create")
	m.Restored(cluster)
	m.Vanished(cluster)
	m.StreamsOpen(cluster, "log", 3)
	m.LostRace()
	m.Requested(stellarflow.RequestMove, ResultRefused)
	m.Forget("uid")
}

// full are metrics of which every one has a value.
func full(t *testing.T) (*Metrics, map[string]*dto.MetricFamily) {
	t.Helper()
	m := New()
	everything(m, "cluster1")
	m.Snapshot = func() Snapshot {
		return Snapshot{Leading: true, Waiting: 3, Clusters: []Cluster{
			{Name: "cluster1", Connected: true, Reason: "Ready", LeaseHeld: true, Queue: 4, Lag: 5 * time.Second, Unfinished: 6, Orphans: 7, Tombstones: 8},
			{Name: "cluster2", Reason: "Unreachable", Lag: -time.Second},
		}}
	}
	return m, gather(t, m)
}

func gather(t *testing.T, m *Metrics) map[string]*dto.MetricFamily {
	t.Helper()
	registry := prometheus.NewPedanticRegistry() // it checks that what is collected was described
	if err := registry.Register(m); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]*dto.MetricFamily{}
	for _, family := range families {
		byName[family.GetName()] = family
	}
	return byName
}

// described are the names of all metrics, also of those without a value.
func described(m *Metrics) []string {
	descriptions := make(chan *prometheus.Desc)
	go func() {
		defer close(descriptions)
		m.Describe(descriptions)
	}()
	var names []string
	for description := range descriptions {
		_, after, _ := strings.Cut(description.String(), `fqName: "`)
		name, _, _ := strings.Cut(after, `"`)
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func TestNaming(t *testing.T) {
	m, families := full(t)
	var list []*dto.MetricFamily
	for _, name := range described(m) {
		family, found := families[name]
		if !found {
			t.Errorf("%s has no value: this test does not see it", name)
			continue
		}
		if !strings.HasPrefix(name, "stellarflow_") {
			t.Errorf("%s is not named after us", name)
		}
		list = append(list, family)
	}
	problems, err := promlint.NewWithMetricFamilies(list).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Errorf("%s: %s", problem.Metric, problem.Text)
	}
}

// TestLabels holds what bounds the number of series: names of Workflows and namespaces are in no label.
func TestLabels(t *testing.T) {
	allowed := []string{"cluster", "kind", "reason", "step", "request", "result"}
	_, families := full(t)
	for name, family := range families {
		for _, pair := range family.GetMetric()[0].GetLabel() {
			if !slices.Contains(allowed, pair.GetName()) {
				t.Errorf("%s has a label %s", name, pair.GetName())
			}
		}
	}
}

func TestForgetCluster(t *testing.T) {
	m := New()
	everything(m, "cluster1")
	everything(m, "cluster2")
	m.ForgetCluster("cluster1")
	left := 0
	for name, family := range gather(t, m) {
		for _, metric := range family.GetMetric() {
			for _, pair := range metric.GetLabel() {
				if pair.GetValue() == "cluster1" {
					t.Errorf("%s still has a series of the cluster that left", name)
				}
				if pair.GetValue() == "cluster2" {
					left++
				}
			}
		}
	}
	if want := len(m.ofClusters); left != want {
		t.Errorf("the other cluster has %d series, want %d", left, want)
	}
}

func TestNoMetrics(t *testing.T) {
	var none *Metrics
	everything(none, "cluster1")
	none.ForgetCluster("cluster1")
	if !none.ArrivedAt("uid").IsZero() {
		t.Error("who counts nothing remembers nothing")
	}
}

func TestGauges(t *testing.T) {
	_, families := full(t)
	for name, want := range map[string]float64{
		"stellarflow_workflows_waiting": 3, "stellarflow_cluster_connected": 1, "stellarflow_queue_depth": 4, "stellarflow_cluster_lease_held": 1, "stellarflow_sync_lag_seconds": 5,
		"stellarflow_workflows_unfinished": 6, "stellarflow_orphans": 7, "stellarflow_tombstones": 8,
	} {
		if got := families[name].GetMetric()[0].GetGauge().GetValue(); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if got := families["stellarflow_sync_lag_seconds"].GetMetric()[1].GetGauge().GetValue(); got != 0 {
		t.Errorf("a clock that was set back makes the lag %v", got)
	}
	standby := New()
	standby.Snapshot = func() Snapshot { return Snapshot{Waiting: 3, Clusters: []Cluster{{Name: "cluster1"}}} }
	for name := range gather(t, standby) {
		if strings.Contains(name, "workflows_") || strings.Contains(name, "cluster") {
			t.Errorf("a standby shows %s, and sums over both replicas would be wrong", name)
		}
	}
}

func sample(family *dto.MetricFamily) (uint64, float64) {
	histogram := family.GetMetric()[0].GetHistogram()
	return histogram.GetSampleCount(), histogram.GetSampleSum()
}

func TestLatencies(t *testing.T) {
	_, families := full(t)
	for name, want := range map[string]float64{
		"stellarflow_placement_latency_seconds": 2, // from the second look
		"stellarflow_downsync_latency_seconds":  4,
		"stellarflow_upsync_latency_seconds":    8,
		"stellarflow_probe_duration_seconds":    16,
	} {
		if count, sum := sample(families[name]); count != 1 || sum != want {
			t.Errorf("%s has %d values with sum %v, want one of %v", name, count, sum, want)
		}
	}
}

func TestCreated(t *testing.T) {
	recorded := stellarflow.Placement{UID: "uid", Cluster: "cluster1", Time: at(0)}
	cases := map[string]struct {
		reason string
		before func(*Metrics)
		at     time.Time
		want   float64
	}{
		"Ours":      {"measured from when the record was stored", func(m *Metrics) { m.Placed("uid", time.Time{}, at(time.Second)) }, at(3 * time.Second), 2},
		"Another's": {"a process before this one stored it: its time is all there is", func(*Metrics) {}, at(3 * time.Second), 3},
		"Finished":  {"nothing is kept of one that has ended", func(m *Metrics) { m.Placed("uid", time.Time{}, at(time.Second)); m.Forget("uid") }, at(3 * time.Second), 3},
		"Backwards": {"the clock was set back", func(*Metrics) {}, at(-time.Hour), 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			m := New()
			tc.before(m)
			m.Created(recorded, tc.at)
			if count, sum := sample(gather(t, m)["stellarflow_downsync_latency_seconds"]); count != 1 || sum != tc.want {
				t.Errorf("%s: %d values with sum %v, want one of %v", tc.reason, count, sum, tc.want)
			}
			if len(m.records.began) > 0 {
				t.Errorf("%s: it is remembered for ever", tc.reason)
			}
		})
	}
}

func TestUnknownStart(t *testing.T) {
	m := New()
	m.Placed("uid", m.ArrivedAt("uid"), at(time.Hour))
	m.Mirrored("cluster1", time.Time{}, at(time.Hour))
	families := gather(t, m)
	if count, _ := sample(families["stellarflow_placement_latency_seconds"]); count != 0 {
		t.Error("a placement whose beginning nobody saw was timed")
	}
	if _, found := families["stellarflow_upsync_latency_seconds"]; found {
		t.Error("a change whose beginning nobody saw was timed")
	}
	if got := families["stellarflow_mirror_writes_total"].GetMetric()[0].GetCounter().GetValue(); got != 1 {
		t.Errorf("%v mirror writes, want 1", got)
	}
}

func TestRequestsAreBounded(t *testing.T) {
	m := New()
	for _, request := range []string{"a", "b", "c"} {
		m.Requested(request, ResultRefused)
	}
	m.Requested(stellarflow.RequestAbandon, ResultDone)
	if got := len(gather(t, m)["stellarflow_requests_total"].GetMetric()); got != 2 {
		t.Errorf("what people write makes %d series, want abandon and other", got)
	}
}
