package wec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// streamed is a WEC that streams, first as initial events and then, after their end, as changes.
type streamed struct {
	initial, later func(send func(event string, object *metav1.PartialObjectMetadata))
	// listed are the pages of a list, of a WEC that does not stream.
	listed []metav1.PartialObjectMetadataList
}

func (s streamed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	query := r.URL.Query()
	switch {
	case query.Get("watch") == "":
		page := 0
		_, _ = fmt.Sscan(query.Get("continue"), &page)
		list := metav1.PartialObjectMetadataList{TypeMeta: metav1.TypeMeta{Kind: "PartialObjectMetadataList", APIVersion: "meta.k8s.io/v1"}}
		if page < len(s.listed) {
			list.Items = s.listed[page].Items
		}
		if list.ResourceVersion = "5"; page+1 < len(s.listed) {
			list.Continue = fmt.Sprint(page + 1)
		}
		_ = json.NewEncoder(w).Encode(&list)
		return
	case query.Get("sendInitialEvents") != "" && s.initial == nil:
		status(http.StatusUnprocessableEntity, "Invalid")(w, r)
		return
	}
	send := func(event string, object *metav1.PartialObjectMetadata) {
		object.TypeMeta = metav1.TypeMeta{Kind: "PartialObjectMetadata", APIVersion: "meta.k8s.io/v1"}
		raw, _ := json.Marshal(object)
		_, _ = fmt.Fprintf(w, `{"type":%q,"object":%s}`+"\n", event, raw)
	}
	if query.Get("sendInitialEvents") != "" {
		s.initial(send)
		send("BOOKMARK", &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "5", Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"}}})
	}
	if s.later != nil {
		s.later(send)
	}
	send("BOOKMARK", &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "9"}})
	w.(http.Flusher).Flush()
	<-r.Context().Done()
}

// TestWatchIsBounded: however much a WEC says that it has, a bounded part of it is kept, and whoever uses the watch learns that there is more.
func TestWatchIsBounded(t *testing.T) {
	const most = 4 << 20
	large := strings.Repeat("x", 1<<17)
	object := func(name string, change func(*metav1.PartialObjectMetadata)) *metav1.PartialObjectMetadata {
		o := podOf(1, 10)
		o.Name, o.Annotations = name, map[string]string{}
		if change != nil {
			change(o)
		}
		return o
	}
	owned := func(o *metav1.PartialObjectMetadata) { o.OwnerReferences[0].UID = types.UID(large) }
	aside := func(o *metav1.PartialObjectMetadata) { // what is not kept
		some := large[:1<<15]
		o.Annotations["a"], o.Labels["b"], o.GenerateName = some, some, some
		o.OwnerReferences = append(o.OwnerReferences, metav1.OwnerReference{Name: some})
		o.OwnerReferences[0].Name, o.ManagedFields = some, []metav1.ManagedFieldsEntry{{Manager: some}}
	}
	ours := func(o *metav1.PartialObjectMetadata) { o.Annotations[stellarflow.AnnotationHubUID] = large }
	many := func(event string, n int, change func(*metav1.PartialObjectMetadata)) func(func(string, *metav1.PartialObjectMetadata)) {
		return func(send func(string, *metav1.PartialObjectMetadata)) {
			for i := range n {
				send(event, object(fmt.Sprintf("w-%d", i), change))
			}
		}
	}
	one := many("ADDED", 1, nil)
	page := func(n int, prefix string, change func(*metav1.PartialObjectMetadata)) metav1.PartialObjectMetadataList {
		var list metav1.PartialObjectMetadataList
		many("", n, change)(func(_ string, o *metav1.PartialObjectMetadata) {
			o.Name = prefix + o.Name
			list.Items = append(list.Items, *o)
		})
		return list
	}
	for name, tc := range map[string]struct {
		reason    string
		workflows bool // else it is of pods
		wec       streamed
		lost      bool
		names     int // that are known
	}{
		"Owners":      {"whose pods they are is kept", false, streamed{initial: many("ADDED", 40, owned)}, true, 0},
		"Aside":       {"what nobody reads is not", false, streamed{initial: many("ADDED", 24, aside)}, false, 24},
		"Annotations": {"ours are kept", true, streamed{initial: many("ADDED", 40, ours)}, true, 0},
		"Others":      {"somebody else's are not", true, streamed{initial: many("ADDED", 24, aside)}, false, 24},
		"Later":       {"after the first list too", false, streamed{initial: one, later: many("ADDED", 40, owned)}, true, -1},
		"Grown":       {"what was small may become large", false, streamed{initial: many("ADDED", 40, nil), later: many("MODIFIED", 40, owned)}, true, -1},
		"Same": {"what changes is kept once", false, streamed{initial: one, later: func(send func(string, *metav1.PartialObjectMetadata)) {
			for range 40 {
				send("MODIFIED", object("w-0", owned))
			}
		}}, false, 1},
		"Churn": {"what comes and goes is not kept", false, streamed{initial: one, later: func(send func(string, *metav1.PartialObjectMetadata)) {
			for i := range 40 {
				send("ADDED", object(fmt.Sprintf("c-%d", i), owned))
				send("DELETED", object(fmt.Sprintf("c-%d", i), nil))
			}
		}}, false, 1},
		"Names": {"no API server has names that are so long", false, streamed{initial: func(send func(string, *metav1.PartialObjectMetadata)) {
			one(send)
			send("ADDED", object(strings.Repeat("n", 254), nil))
			send("ADDED", object("w-1", func(o *metav1.PartialObjectMetadata) { o.Namespace = strings.Repeat("n", 64) }))
			send("ADDED", object(strings.Repeat("n", 253), nil))
		}}, false, 2},
		"List":      {"of a WEC that does not stream", false, streamed{listed: []metav1.PartialObjectMetadataList{page(3, "a", nil), page(3, "b", nil)}}, false, 6},
		"LargeList": {"pages count together", false, streamed{listed: []metav1.PartialObjectMetadataList{page(20, "a", owned), page(20, "b", owned)}}, true, 0},
		"SameList":  {"one name again and again is kept again and again", true, streamed{listed: []metav1.PartialObjectMetadataList{page(20, "a", ours), page(20, "a", ours)}}, true, 0},
		"LongNames": {"in a list too", false, streamed{listed: []metav1.PartialObjectMetadataList{page(3, strings.Repeat("n", 251), nil)}}, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			clients, _ := dial(t, tc.wec)
			of := podsOfWorkflows()
			if tc.workflows {
				of = workflowsOf("hub")
			}
			if of.most != MaxKept {
				t.Errorf("%d bytes are kept", of.most)
			}
			of.most = most
			w, err := clients.newWatch(of, nil, func(types.NamespacedName) {})
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { defer close(done); w.Run(ctx) }()
			defer func() { stop(); <-done }()
			deadline := time.After(30 * time.Second)
			for settled := false; !settled; {
				select {
				case <-w.Lost():
					settled = true
				case <-deadline:
					t.Fatalf("%s: nothing in 30 s", tc.reason)
				case <-time.After(10 * time.Millisecond):
					settled = !tc.lost && w.Synced() && w.informer.LastSyncResourceVersion() == "9"
				}
			}
			var larger *TooLargeError
			if errors.As(w.Err(), &larger) != tc.lost || w.IsLost() != tc.lost || tc.lost && (!larger.Kept || larger.Limit != most) {
				t.Errorf("%s: lost: %v, because of %v", tc.reason, w.IsLost(), w.Err())
			}
			if known := len(w.List()); tc.names >= 0 && known != tc.names {
				t.Errorf("%s: %d are known, want %d", tc.reason, known, tc.names)
			}
		})
	}
}

// TestStoppedWatchEnds: who stops a watch need not take what is on its way, and it holds nobody.
func TestStoppedWatchEnds(t *testing.T) {
	from := watch.NewFake()
	b := &boundedWatch{from: from, source: source{strip: stripPod, kept: newKept(), most: MaxKept}, events: make(chan watch.Event), done: make(chan struct{})}
	b.stop = sync.OnceFunc(func() { close(b.done); from.Stop() })
	ended := make(chan struct{})
	go func() { defer close(ended); b.pass() }()
	from.Add(podOf(1, 10))
	b.Stop()
	b.Stop()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("it goes on")
	}
	if event, open := <-b.ResultChan(); open {
		t.Errorf("it sends %v", event)
	}
}
