package integration

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// What an hour of one cut every 10 s and one leave and join a minute is, and what it may cost: goroutines and heap at the end over
// those after a quarter of it.
const (
	leakCuts, leakJoins = 360, 60
	leakGoroutines      = 40
	leakHeap            = 24 << 20
)

// leakPods is how many pods of each cluster are mirrored all the while.
const leakPods = 5

// TestNothingLeaks cuts and heals, and joins and leaves, as often as in an hour, while pods are mirrored, what their clusters say of them comes, and
// their logs are asked for. Goroutines and memory stay flat.
func TestNothingLeaks(t *testing.T) {
	var cut sync.Map
	timing := quickTiming()
	timing.Connection.Probe = 50 * time.Millisecond
	kubelet := freeAddress(t)
	c, _, ns := setUp(t, managerOptions{timing: timing, kubelet: kubelet, wecTransport: func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if _, isCut := cut.Load(r.URL.Host); isCut {
				return nil, errInjected
			}
			return next.RoundTrip(r)
		})
	}})
	c.condition(t, "cluster1", withReason("Ready"))
	host := c.wecs["cluster1"].address()
	said := talk{c, ns}
	e := &endpoint{clusters: c, t: t, address: kubelet, ns: ns}
	e.trust()
	who := e.certificate("kube-apiserver-kubelet-client", "system:masters")
	there := map[string]mirroring{}
	for _, name := range []string{"cluster1", "cluster2"} {
		there[name] = mirroring{clusters: c, ns: ns}.runOn(t, name, "of-"+name)
		node := there[name].wec.node(t, "")
		for i := range leakPods {
			there[name].begin(t, fmt.Sprintf("of-%s-12345%d", name, i), func(p *corev1.Pod) { p.Spec.NodeName = node })
		}
	}
	e.pod = "of-cluster1-123450"
	speaks := there["cluster1"].real(t, e.pod)
	said.say(t, speaks, "leak.1", "begins", 1)
	inPlay := func() {
		t.Helper()
		for name, m := range there {
			for i := range leakPods {
				m.waitMirror(t, fmt.Sprintf("of-%s-12345%d", name, i), "its mirror", shows(corev1.PodRunning))
			}
		}
		eventually(t, "the log of a pod", func(ctx context.Context) (bool, string) {
			code, answer := e.ask(ctx, who, http.MethodGet, "/containerLogs/main")
			return code == http.StatusOK, answer
		})
	}
	inPlay()
	var quarter, end usage
	rejoin := c.rejoiner(t, "cluster2")
	for i := range leakCuts {
		cut.Store(host, true)
		if i%(leakCuts/leakJoins) == 0 {
			rejoin()
		}
		_, _ = e.ask(t.Context(), who, http.MethodGet, "/containerLogs/main")
		time.Sleep(60 * time.Millisecond) // a probe or two fails; what comes of it is not what this test is about
		cut.Delete(host)
		said.say(t, speaks, "leak.1", "goes on", int32(i+2))
		_, _ = e.ask(t.Context(), who, http.MethodGet, "/containerLogs/main")
		time.Sleep(60 * time.Millisecond)
		if i == leakCuts/4 {
			inPlay()
			quarter = measure(t, c)
		}
	}
	inPlay()
	mirror := there["cluster1"].waitMirror(t, e.pod, "its mirror", shows(corev1.PodRunning))
	eventually(t, "the last that was said of it", func(ctx context.Context) (bool, string) {
		told := strings.Join(said.told(ctx, mirror), "\n")
		return strings.Contains(told, fmt.Sprintf(" goes on %d ", leakCuts+1)), told
	})
	end = measure(t, c)
	t.Logf("after a quarter %+v, at the end %+v", quarter, end)
	if end.goroutines > quarter.goroutines+leakGoroutines {
		t.Errorf("%d goroutines after a quarter, %d at the end", quarter.goroutines, end.goroutines)
	}
	if end.heap > quarter.heap+leakHeap {
		t.Errorf("%d MiB after a quarter, %d at the end", quarter.heap>>20, end.heap>>20)
	}
}

// rejoiner lets a cluster leave and join again with the same credential.
func (c *clusters) rejoiner(t *testing.T, name string) func() {
	t.Helper()
	var secret corev1.Secret
	var managed clusterv1.ManagedCluster
	key := types.NamespacedName{Namespace: stellarflow.SystemNamespace, Name: stellarflow.CredentialName(stellarflow.ClusterName(name))}
	if err := c.hub.client.Get(t.Context(), key, &secret); err != nil {
		t.Fatal(err)
	}
	if err := c.hub.client.Get(t.Context(), types.NamespacedName{Name: name}, &managed); err != nil {
		t.Fatal(err)
	}
	return func() {
		for _, object := range []client.Object{secret.DeepCopy(), managed.DeepCopy()} {
			if err := c.hub.client.Delete(t.Context(), object); err != nil {
				t.Fatal(err)
			}
			object.SetResourceVersion("")
			object.SetUID("")
			if err := c.hub.client.Create(t.Context(), object); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// usage is what the process needs.
type usage struct {
	goroutines int
	heap       uint64
}

// measure waits until both clusters are connected, and then for the least that is needed.
func measure(t *testing.T, c *clusters) usage {
	t.Helper()
	for _, name := range []string{"cluster1", "cluster2"} {
		c.condition(t, name, withReason("Ready"))
	}
	least := usage{1 << 30, 1 << 62}
	for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		runtime.GC()
		var memory runtime.MemStats
		runtime.ReadMemStats(&memory)
		least.goroutines, least.heap = min(least.goroutines, runtime.NumGoroutine()), min(least.heap, memory.HeapAlloc)
	}
	return least
}
