package cluster

import (
	"context"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clusterv1 "open-cluster-management.io/api/cluster/v1"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/wec"
)

var start = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// noWork is a handler for clusters that nothing is placed on.
type noWork struct{}

func (noWork) Sync(context.Context, *Connection, types.NamespacedName) (time.Duration, error) {
	return 0, nil
}
func (noWork) Stuck(context.Context, *Connection, types.NamespacedName, error) error { return nil }
func (noWork) Keys(context.Context, stellarflow.ClusterName) ([]types.NamespacedName, error) {
	return nil, nil
}

// harness is a running fleet with a clock that stands still until it is moved.
type harness struct {
	*Fleet
	mu      sync.Mutex
	now     time.Time
	changes chan State
}

func (h *harness) time() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *harness) advance(by time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(by)
}

// newHarness starts a fleet whose Prime calls prime.
func newHarness(t *testing.T, prime func(*Fleet) error) *harness {
	t.Helper()
	h := &harness{now: start, changes: make(chan State, 100)}
	primed := make(chan struct{})
	h.Fleet = &Fleet{
		HubID: "hub", Handler: noWork{}, Now: h.time, Log: logr.Discard(), Changed: func(s State) { h.changes <- s }, Kubeconfig: wec.KubeconfigOptions{AllowLoopback: true},
	}
	h.Prime = func(context.Context) error { defer close(primed); return prime(h.Fleet) }
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- h.Start(ctx) }()
	<-primed
	t.Cleanup(func() { stop(); <-done })
	return h
}

// tried waits until a first probe has ended, and returns what it found.
func (h *harness) tried(t *testing.T) State {
	t.Helper()
	for {
		select {
		case s := <-h.changes:
			if s.Tried {
				return s
			}
		case <-time.After(20 * time.Second):
			t.Fatal("no probe ended")
		}
	}
}

// credential is a kubeconfig for a WEC that answers with handler.
func credential(t *testing.T, handler http.HandlerFunc) []byte {
	t.Helper()
	server := httptest.NewTLSServer(handler)
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	raw, err := wec.MinimalKubeconfig(server.URL, ca, "token")
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func refuses(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }

func hangs(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func none(*Fleet) error { return nil }

func TestEnsureBeforeTheStart(t *testing.T) {
	f := &Fleet{}
	err := f.Ensure("cluster1", []byte("x"), nil)
	var trouble *wec.Trouble
	if !errors.As(err, &trouble) || trouble.Reason != wec.ReasonConnecting {
		t.Errorf("Ensure() = %v", err)
	}
	f.Remove("cluster1")
	f.Enqueue("cluster1", types.NamespacedName{Name: "w"})
	if _, found := f.Get("cluster1"); found || f.Settled() || len(f.Connections()) > 0 || !f.NeedLeaderElection() {
		t.Error("a fleet that has not started has something")
	}
}

func TestEnsureRefusesBadCredentials(t *testing.T) {
	h := newHarness(t, none)
	good := credential(t, refuses)
	for name, raw := range map[string][]byte{
		"empty":       nil,
		"no YAML":     []byte("{{"),
		"no context":  []byte("apiVersion: v1\nkind: Config\n"),
		"exec plugin": []byte(strings.Replace(string(good), "token: token", "exec: {command: x, apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never}", 1)),
	} {
		err := h.Ensure("cluster1", raw, nil)
		var trouble *wec.Trouble
		if !errors.As(err, &trouble) || trouble.Reason != wec.ReasonBadCredential || trouble.Message == "" {
			t.Errorf("%s: Ensure() = %v", name, err)
		}
		if _, found := h.Get("cluster1"); found {
			t.Errorf("%s: there is a connection", name)
		}
	}
	if !h.Settled() {
		t.Error("a cluster that cannot be dialled keeps the others waiting")
	}
}

func TestEnsureKeepsAndReplaces(t *testing.T) {
	h := newHarness(t, none)
	first, second := credential(t, refuses), credential(t, refuses)
	ensure := func(name stellarflow.ClusterName, raw []byte, namespaces ...string) *Connection {
		t.Helper()
		if err := h.Ensure(name, raw, namespaces); err != nil {
			t.Fatal(err)
		}
		c, found := h.Get(name)
		if !found {
			t.Fatalf("there is no connection to %s", name)
		}
		return c
	}
	one := ensure("cluster1", first, "a")
	if got := ensure("cluster1", first, "b", "c"); got != one || !cmp.Equal(got.Namespaces(), []string{"b", "c"}) {
		t.Errorf("the same credential: the connection is kept %v, its namespaces are %v", got == one, got.Namespaces())
	}
	two := ensure("cluster1", second)
	if two != one || two.candidate.Load() == nil {
		t.Error("a new credential: the connection does not go on until it is known to lead to the same cluster")
	}
	other := ensure("cluster0", first)
	if got := h.Connections(); len(got) != 2 || got[0] != other || got[1] != two {
		t.Errorf("the connections are %v, want cluster0 and cluster1", got)
	}
	if err := h.Ensure("cluster1", []byte("bad"), nil); err == nil {
		t.Error("a bad credential is taken")
	}
	if _, found := h.Get("cluster1"); found {
		t.Error("a credential that was taken back is still used")
	}
	<-two.done
	h.Remove("cluster0")
	<-other.done
	if state, found, err := h.FindByHubUID("u"); found != nil || state.Name != "" || err != nil {
		t.Errorf("FindByHubUID() = %v, %v, %v", state, found, err)
	}
}

func TestProbeIsReported(t *testing.T) {
	h := newHarness(t, none)
	if err := h.Ensure("cluster1", credential(t, refuses), nil); err != nil {
		t.Fatal(err)
	}
	got := h.tried(t)
	want := State{Name: "cluster1", Since: start, Reason: wec.ReasonUnauthorized, Message: "the cluster rejects the hub's token: run `stellarflow join` again to renew it", Orphans: []string{}, Tried: true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestSettled(t *testing.T) {
	refusing, hanging := credential(t, refuses), credential(t, hangs)
	h := newHarness(t, func(f *Fleet) error {
		if f.Settled() {
			t.Error("settled before anything was looked at")
		}
		return errors.Join(f.Ensure("bad", refusing, nil), f.Ensure("hanging", hanging, nil))
	})
	if got := h.tried(t); got.Name != "bad" {
		t.Fatalf("%s was tried", got.Name)
	}
	if h.Settled() {
		t.Error("the hanging cluster may hold copies, and was not waited for")
	}
	h.advance(settleWithin)
	if !h.Settled() {
		t.Error("a hanging cluster keeps the others waiting for ever")
	}
}

func TestStartFailsWithPrime(t *testing.T) {
	cause := errors.New("no cache")
	f := &Fleet{Prime: func(context.Context) error { return cause }}
	if err := f.Start(t.Context()); !errors.Is(err, cause) || f.Settled() {
		t.Errorf("Start() = %v", err)
	}
}

func TestAccepted(t *testing.T) {
	for text, want := range map[string][]string{"": {}, "a": {"a"}, "a,b": {"a", "b"}, ",a,,b,": {"a", "b"}, ",": {}} {
		managed := &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{stellarflow.AnnotationNamespaces: text}}}
		if diff := cmp.Diff(want, Accepted(managed)); diff != "" {
			t.Errorf("Accepted(%q) -want +got:\n%s", text, diff)
		}
	}
	if got := Accepted(&clusterv1.ManagedCluster{}); len(got) != 0 {
		t.Errorf("without the annotation: %v", got)
	}
}
