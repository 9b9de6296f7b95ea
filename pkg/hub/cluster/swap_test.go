package cluster

import (
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// healthyWEC answers a probe as the cluster with this identity, and counts.
func healthyWEC(id string, asked *atomic.Int64) http.HandlerFunc {
	bodies := map[string]string{
		"/version":                             `{"gitVersion":"v1.34.4"}`,
		"/api/v1/namespaces/kube-system":       `{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"kube-system","uid":"` + id + `"}}`,
		"/apis/argoproj.io/v1alpha1/workflows": `{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"1"},"items":[]}`,
	}
	return func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		body, found := bodies[r.URL.Path]
		if !found || r.URL.Query().Get("watch") != "" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Date", start.Format(http.TimeFormat))
		_, _ = io.WriteString(w, body)
	}
}

// TestCredentialsAreSwapped rotates the credential again and again while others use the connection, as the pool of a neighbour could not
// bear it. It is a test for the race detector; without it, it shows that the last one is what is used in the end.
func TestCredentialsAreSwapped(t *testing.T) {
	h := newHarness(t, none)
	h.Changed = func(State) {}
	var asked [2]atomic.Int64
	credentials := [][]byte{credential(t, healthyWEC("id-1", &asked[0])), credential(t, healthyWEC("id-1", &asked[1]))}
	ensure := func(i int) {
		if err := h.Ensure("cluster1", credentials[i%2], []string{"argo"}); err != nil {
			t.Error(err)
		}
	}
	ensure(0)
	c, _ := h.Get("cluster1")
	const users, uses, swaps = 4, 25, 41 // the last is the second credential
	var group sync.WaitGroup
	for range users {
		group.Go(func() {
			for range uses {
				if _, err := c.Clients.Metadata.Resource(stellarflow.Workflows).List(t.Context(), metav1.ListOptions{Limit: 1}); err != nil {
					t.Error(err)
				}
				h.Enqueue("cluster1", types.NamespacedName{Namespace: "argo", Name: "w"})
				_, _, _ = h.FindByHubUID("u")
				_, _, _ = c.State(), c.Namespaces(), h.Settled()
			}
		})
	}
	group.Go(func() {
		for i := range swaps + 1 {
			ensure(i)
			time.Sleep(time.Millisecond) // so that probes come in between
		}
	})
	group.Wait()
	for deadline := time.Now().Add(20 * time.Second); c.candidate.Load() != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the last credential is not adopted")
		}
	}
	if again, _ := h.Get("cluster1"); again != c {
		t.Error("it is another connection")
	}
	before := asked[1].Load()
	if _, err := c.Clients.Core.CoreV1().Namespaces().Get(t.Context(), metav1.NamespaceSystem, metav1.GetOptions{}); err != nil || asked[1].Load() == before {
		t.Errorf("the last credential is not used: %v", err)
	}
}

// TestOtherClusterStartsAnew gives a credential that leads to another cluster: nothing of the first one is kept.
func TestOtherClusterStartsAnew(t *testing.T) {
	h := newHarness(t, none)
	h.Changed = func(State) {}
	var asked atomic.Int64
	until := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s did not happen", what)
			}
		}
	}
	if err := h.Ensure("cluster1", credential(t, healthyWEC("id-1", &asked)), nil); err != nil {
		t.Fatal(err)
	}
	first, _ := h.Get("cluster1")
	until("the first identity", func() bool { return first.State().ID() == "id-1" })
	if err := h.Ensure("cluster1", credential(t, healthyWEC("id-2", &asked)), []string{"a"}); err != nil {
		t.Fatal(err)
	}
	until("another connection", func() bool { c, found := h.Get("cluster1"); return found && c != first && c.State().ID() == "id-2" })
	<-first.done
	if first.hold.Held() {
		t.Error("the first may still write")
	}
}
