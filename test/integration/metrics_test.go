package integration

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/metrics"
)

// freeAddress is an address on this machine that nobody listened at a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// ask returns the code and the body of an answer; the code is zero while nobody answers.
func ask(ctx context.Context, url string) (int, string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err.Error()
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(body)
}

// scraped are the series of ours of one scrape, as `name{labels}`.
type scraped map[string]float64

// scrape reads /metrics of a manager.
func scrape(ctx context.Context, address string) (scraped, error) {
	code, body := ask(ctx, "http://"+address+"/metrics")
	if code != http.StatusOK {
		return nil, fmt.Errorf("/metrics answered %d: %s", code, body)
	}
	series := scraped{}
	lines := bufio.NewScanner(bytes.NewReader([]byte(body)))
	for lines.Scan() {
		name, value, found := strings.Cut(lines.Text(), " ")
		if at := strings.LastIndex(lines.Text(), "} "); at >= 0 {
			name, value = lines.Text()[:at+1], lines.Text()[at+2:]
		}
		if !found || !strings.HasPrefix(name, "stellarflow_") {
			continue
		}
		number, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return nil, fmt.Errorf("metric %q: %w", lines.Text(), err)
		}
		series[name] = number
	}
	return series, nil
}

// wantSeries polls until all series have these values. A value below zero means at least its size.
func wantSeries(t *testing.T, address, what string, want scraped) {
	t.Helper()
	eventually(t, what, func(ctx context.Context) (bool, string) {
		series, err := scrape(ctx, address)
		if err != nil {
			return false, err.Error()
		}
		for name, value := range want {
			got, found := series[name]
			if !found || got != value && (value >= 0 || got < -value) {
				return false, fmt.Sprintf("%s is %v (there: %v), want %v", name, got, found, value)
			}
		}
		return true, ""
	})
}

// startMeasured runs a manager whose metrics and health are served, and returns where.
func startMeasured(t *testing.T, c *clusters, o managerOptions) (metricsAddress, healthAddress string) {
	t.Helper()
	o.metrics = metrics.New()
	if err := ctrlmetrics.Registry.Register(o.metrics); err != nil {
		t.Fatal(err)
	}
	metricsAddress, healthAddress = freeAddress(t), freeAddress(t)
	o.configure = func(options *ctrl.Options) {
		options.Metrics.BindAddress, options.HealthProbeBindAddress = metricsAddress, healthAddress
	}
	m := startManager(t, c, o)
	t.Cleanup(func() { // before the manager's own, so that no scrape asks an ended one
		ctrlmetrics.Registry.Unregister(o.metrics)
		m.stop()
	})
	return metricsAddress, healthAddress
}

// setUpMeasured is a hub with cluster1 whose API server asks the manager's webhook, and whose metrics are served.
func setUpMeasured(t *testing.T) (a acting, metricsAddress string) {
	t.Helper()
	c := sharedClusters(t)
	address, ns := c.serveWebhook(t), c.namespace(t)
	c.join(t, "cluster1")
	c.create(t, policy("cluster1", map[string]string{"name": "cluster1"}))
	metricsAddress, _ = startMeasured(t, c, managerOptions{webhook: address})
	return acting{c, ns, address, c.hub.as(t, "alice")}, metricsAddress
}

// TestMetrics follows two clusters and a few Workflows through what each metric is about.
func TestMetrics(t *testing.T) {
	c := sharedClusters(t)
	ns := c.namespace(t)
	for _, name := range []string{"cluster1", "cluster2"} {
		c.join(t, name)
		c.create(t, policy(name, map[string]string{"name": name}))
	}
	var away atomic.Bool
	address, _ := startMeasured(t, c, managerOptions{wecTransport: func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if away.Load() && r.URL.Host == c.wecs["cluster2"].address() {
				return nil, errInjected
			}
			return next.RoundTrip(r)
		})
	}})
	wantSeries(t, address, "two connected clusters", scraped{
		`stellarflow_cluster_connected{cluster="cluster1",reason="Ready"}`: 1, `stellarflow_cluster_connected{cluster="cluster2",reason="Ready"}`: 1,
		`stellarflow_workflows_unfinished{cluster="cluster1"}`: 0, `stellarflow_queue_depth{cluster="cluster1"}`: 0,
		`stellarflow_sync_lag_seconds{cluster="cluster1"}`: 0, `stellarflow_workflows_waiting`: 0,
		`stellarflow_probe_duration_seconds_count{cluster="cluster1"}`: -1,
	})

	wec := c.wecs["cluster1"]
	c.submit(t, ns, "timed", "cluster1")
	wec.waitFor(t, ns, "timed", "the WEC copy", exists)
	c.submit(t, ns, "waits", "cluster1", func(w *unstructured.Unstructured) {
		w.SetLabels(map[string]string{"kubestellar.io/cluster": "cluster3"})
	})
	c.create(t, policy("cluster3", map[string]string{"name": "cluster3"}))
	wec.argo(t, ns, "timed", "Running")
	c.hub.waitFor(t, ns, "timed", "its status", inPhase("Running"))
	wantSeries(t, address, "a placed and a waiting Workflow", scraped{
		`stellarflow_placement_latency_seconds_count`:                    1,
		`stellarflow_placement_latency_seconds_bucket{le="30"}`:          1,
		`stellarflow_downsync_latency_seconds_count{cluster="cluster1"}`: 1,
		`stellarflow_upsync_latency_seconds_count{cluster="cluster1"}`:   -1,
		`stellarflow_mirror_writes_total{cluster="cluster1"}`:            -1,
		`stellarflow_workflows_unfinished{cluster="cluster1"}`:           1,
		`stellarflow_workflows_waiting`:                                  1,
		`stellarflow_sync_lag_seconds{cluster="cluster1"}`:               0, // all is mirrored
	})
	wec.argo(t, ns, "timed", "Succeeded")
	c.hub.waitFor(t, ns, "timed", "its end", inPhase("Succeeded"))
	wantSeries(t, address, "nothing unfinished", scraped{`stellarflow_workflows_unfinished{cluster="cluster1"}`: 0})

	t.Run("refusals and orphans", func(t *testing.T) { refusedAndOrphaned(t, c, address, ns) })
	t.Run("a cluster that is away and leaves", func(t *testing.T) {
		away.Store(true)
		wantSeries(t, address, "the outage", scraped{
			`stellarflow_cluster_connected{cluster="cluster2",reason="Unreachable"}`: 0, `stellarflow_sync_lag_seconds{cluster="cluster2"}`: -0.5,
		})
		if err := c.hub.client.Delete(t.Context(), &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "cluster2"}}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "no series of a cluster that has left", func(ctx context.Context) (bool, string) {
			series, err := scrape(ctx, address)
			if err != nil {
				return false, err.Error()
			}
			for name := range series {
				if strings.Contains(name, `"cluster2"`) {
					return false, name
				}
			}
			return true, ""
		})
	})
	t.Run("no Workflow in a label", func(t *testing.T) {
		series, err := scrape(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		for name := range series {
			for _, part := range []string{ns, "timed", "waits", "taken", "stray"} {
				if strings.Contains(name, part) {
					t.Errorf("%s names a Workflow: their number has no bound", name)
				}
			}
		}
	})
}

// TestActionsAreCounted looks for what people asked for, by kind, where operators and people look: in the metrics and in explain.
func TestActionsAreCounted(t *testing.T) {
	a, address := setUpMeasured(t)
	a.asks(t, "counted")
	a.act(t, "counted", resume)
	a.waitEvent(t, a.ns, "counted", "IntentDone", "resume asked by alice")
	if _, err := argoServer(t.Context(), a.alice, a.ns, "counted", func(w *v1alpha1.Workflow) { w.Status.Message = "by hand" }); !refusedWith(err, refusedStatus) {
		t.Errorf("a status by hand: %v", err)
	}
	a.fails(t, a.ns, "counted")
	a.intend(t, a.ns, "counted", stellarflow.Intent{ID: "i", Kind: stellarflow.IntentRetry, Caller: "alice", Base: "other", Retry: &stellarflow.RetryChange{}})
	a.hub.waitFor(t, a.ns, "counted", "the refusal", noIntents)
	wantSeries(t, address, "what was asked, by kind", scraped{
		`stellarflow_requests_total{request="resume",result="asked"}`: 1, `stellarflow_requests_total{request="resume",result="done"}`: 1,
		`stellarflow_requests_total{request="set",result="refused"}`: 1, `stellarflow_requests_total{request="retry",result="refused"}`: 1,
	})
	newCommandLine(t, a.hub).must([]string{
		"resume: done 1, refused 0.", "retry: done 0, refused 1.", "retry asked by alice", "its copy has changed since",
	}, "explain", "counted", "-n", a.ns, "--kubeconfig=DIR/hub.kubeconfig")
}

// refusedAndOrphaned makes cluster1 refuse a Workflow, and puts an unfinished copy there that nobody knows.
func refusedAndOrphaned(t *testing.T, c *clusters, address, ns string) {
	wec := c.wecs["cluster1"]
	stray := func(name string, labels, annotations map[string]any) {
		_, err := wec.workflows(ns).Create(t.Context(), &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "spec": map[string]any{},
			"metadata": map[string]any{"name": name, "namespace": ns, "labels": labels, "annotations": annotations},
		}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.wipe(ns, name) })
	}
	stray("taken", nil, nil)
	c.submit(t, ns, "taken", "cluster1")
	c.hub.waitFor(t, ns, "taken", "the refusal", waiting("exists there and is not from this hub"))
	system, err := c.hub.core.CoreV1().Namespaces().Get(t.Context(), metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stray("stray", map[string]any{stellarflow.LabelOrigin: string(system.UID)}, map[string]any{stellarflow.AnnotationHubUID: "unknown", stellarflow.AnnotationAttempt: "1"})
	wantSeries(t, address, "a refusal and an orphan", scraped{
		`stellarflow_refusals_total{cluster="cluster1",reason="NameTaken"}`: -1, `stellarflow_orphans{cluster="cluster1"}`: -1,
	})
}

// TestHealth lets requests hang: those to a WEC end by themselves and are the WEC's trouble only; one that nothing ends, as a lock
// that is not given back, is a process that cannot work.
func TestHealth(t *testing.T) {
	c := sharedClusters(t)
	ns := c.namespace(t)
	c.join(t, "cluster1")
	c.create(t, policy("cluster1", map[string]string{"name": "cluster1"}))
	release := make(chan struct{})
	timing := quickTiming()
	timing.Stuck = 15 * time.Second // longer than a request to a WEC may take
	var hangs atomic.Bool
	_, address := startMeasured(t, c, managerOptions{timing: timing, wecTransport: func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if hangs.Load() {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return next.RoundTrip(r)
		})
	}, hubTransport: func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, "/workflows/stuck") && r.Method == http.MethodPatch {
				<-release
			}
			return next.RoundTrip(r)
		})
	}})
	t.Cleanup(func() { close(release) })
	expect := func(path string, code int, part string) {
		t.Helper()
		eventually(t, fmt.Sprintf("%s to answer %d", path, code), func(ctx context.Context) (bool, string) {
			got, body := ask(ctx, "http://"+address+path)
			return got == code && strings.Contains(body, part), fmt.Sprintf("%d %s", got, body)
		})
	}
	expect("/readyz", http.StatusOK, "")
	expect("/healthz", http.StatusOK, "")
	hangs.Store(true)
	eventually(t, "the condition of a cluster that hangs", func(ctx context.Context) (bool, string) {
		if code, body := ask(ctx, "http://"+address+"/healthz"); code != http.StatusOK {
			t.Fatalf("/healthz answers %d %s: a WEC that hangs restarts the hub manager", code, body)
		}
		var managed clusterv1.ManagedCluster
		err := c.hub.client.Get(ctx, types.NamespacedName{Name: "cluster1"}, &managed)
		return meta.IsStatusConditionFalse(managed.Status.Conditions, stellarflow.ConditionConnected), fmt.Sprint(err, managed.Status.Conditions)
	})
	hangs.Store(false)
	c.submit(t, ns, "stuck", "cluster1")
	expect("/healthz", http.StatusInternalServerError, "")
	expect("/readyz", http.StatusOK, "")
}
