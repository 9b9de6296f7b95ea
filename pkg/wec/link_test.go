package wec

import (
	"context"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// TestClientsAreSwapped swaps address and credential while many goroutines send, and others take and lose the right to write. It is a
// test for the race detector; without it, it shows that no credential goes to another address than its own.
func TestClientsAreSwapped(t *testing.T) {
	var mixed, served atomic.Int64
	clients := func(name string, hold *Hold) *Clients {
		server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			served.Add(1)
			if r.Header.Get("Authorization") != "Bearer "+name {
				mixed.Add(1)
			}
			answer(200, `{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"1"},"items":[]}`)(w, r)
		}))
		t.Cleanup(server.Close)
		ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
		made, err := DialHeld(name, &rest.Config{Host: server.URL, BearerToken: name, TLSClientConfig: rest.TLSClientConfig{CAData: ca}}, hold)
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	hold := NewHold(time.Now, time.Minute)
	used := clients("first", hold)
	others := []*Clients{clients("second", hold), clients("third", hold)}
	const senders, requests = 8, 20
	var group sync.WaitGroup
	for i := range senders {
		group.Go(func() {
			for range requests {
				if _, err := used.Metadata.Resource(stellarflow.Workflows).List(t.Context(), listOptions); err != nil {
					t.Error(err)
				}
				_ = used.Metadata.Resource(stellarflow.Workflows).Namespace("argo").Delete(t.Context(), "w", metav1.DeleteOptions{})
				if i%2 == 0 {
					hold.keep(time.Now())
				} else {
					hold.interrupt()
				}
			}
		})
	}
	group.Go(func() {
		for i := range senders * requests {
			used.Adopt(others[i%len(others)])
		}
	})
	group.Wait()
	used.Close()
	if mixed.Load() > 0 || served.Load() < senders*requests {
		t.Errorf("of %d requests %d came with another cluster's credential", served.Load(), mixed.Load())
	}
}

// TestWatchIsLost: whoever uses a watch learns at once that it broke off, because the reflector waits for up to a minute; the server's
// own end of a watch is none.
func TestWatchIsLost(t *testing.T) {
	for name, tc := range map[string]struct {
		end  func(http.ResponseWriter)
		lost bool
	}{
		"CutInTheMiddle": {func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, true},
		"Refused":        {nil, true},
		"Ended":          {func(http.ResponseWriter) {}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var watches atomic.Int64
			again := make(chan struct{}, 100)
			clients, _ := dial(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Query().Get("watch") == "" {
					healthy(nil)[workflowsPath](w, r)
					return
				}
				if r.URL.Query().Get("sendInitialEvents") != "" {
					status(http.StatusUnprocessableEntity, "Invalid")(w, r) // lists first, as with an API server that cannot stream them
					return
				}
				if watches.Add(1) > 1 {
					again <- struct{}{}
					<-r.Context().Done()
					return
				}
				if tc.end == nil {
					http.Error(w, "no", http.StatusBadGateway)
					return
				}
				w.Header().Set("Content-Type", "application/json")
				_, _ = fmt.Fprintln(w, `{"type":"BOOKMARK","object":{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"2"}}}`)
				w.(http.Flusher).Flush()
				tc.end(w)
			}))
			watch, err := clients.NewWatch("hub", func(types.NamespacedName) {})
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { defer close(done); watch.Run(ctx) }()
			defer func() { stop(); <-done }()
			select {
			case <-watch.Lost():
			case <-again:
			case <-time.After(20 * time.Second):
				t.Fatal("neither is it lost, nor is it begun again")
			}
			if watch.IsLost() != tc.lost {
				t.Errorf("IsLost() = %v", watch.IsLost())
			}
		})
	}
}

// TestWeEndAWatch: what we end ourselves is not lost.
func TestWeEndAWatch(t *testing.T) {
	began := make(chan struct{}, 100)
	clients, _ := dial(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("watch") == "" {
			healthy(nil)[workflowsPath](w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.(http.Flusher).Flush()
		began <- struct{}{}
		<-r.Context().Done()
	}))
	watch, err := clients.NewWatch("hub", func(types.NamespacedName) {})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); watch.Run(ctx) }()
	<-began
	stop()
	<-done
	if watch.IsLost() {
		t.Error("it is lost")
	}
}

func TestNamelessCluster(t *testing.T) {
	clients, server := dial(t, answer(200, strings.Repeat(" ", MaxObject+1)))
	_, err := clients.Objects.Resource(stellarflow.Workflows).Namespace("argo").Get(t.Context(), "w", getOptions)
	if want := "the answer of cluster at " + strings.TrimPrefix(server.URL, "https://") + " to GET"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the error is %v, want %s", err, want)
	}
}
