package wec

import (
	"context"
	"path"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// MaxKept bounds, in bytes, what a Watch keeps: some 35,000 pods or 20,000 Workflows. The first list arrives as a watch, whose length nothing else
// bounds (k8s.io/client-go features, WatchListClient).
const MaxKept = 64 << 20

// What is kept of an object beside its texts: TestCostOf shows that it is not less.
const (
	costObject  = 1 << 10 // the object, its places in the cache, its indexes and kept
	costElement = 100     // a label, an annotation, a finalizer, an owner
)

// costOf returns how many bytes an object takes at most while it is kept. Its key and what it is indexed by are kept twice and more.
func costOf(key string, object *metav1.PartialObjectMetadata) int64 {
	elements := len(object.Labels) + len(object.Annotations) + len(object.Finalizers) + len(object.OwnerReferences)
	return int64(costObject + elements*costElement + 2*object.Size() + 2*len(key) + len(object.Kind) + len(object.APIVersion))
}

// kept knows what the objects of one list, and of the watch from there on, take. Its watches may overlap: the next one begins while what
// the last one has sent is on its way.
type kept struct {
	mu    sync.Mutex
	costs map[string]int64
	total int64
}

func newKept() *kept { return &kept{costs: map[string]int64{}} }

// put notes an object and returns what all of them take. Of a list that has a key twice both are kept for a while.
func (k *kept) put(object *metav1.PartialObjectMetadata, listed bool) int64 {
	key := cache.MetaObjectToName(object).String()
	cost := costOf(key, object)
	k.mu.Lock()
	defer k.mu.Unlock()
	if listed {
		cost += k.costs[key]
	}
	k.total += cost - k.costs[key]
	k.costs[key] = cost
	return k.total
}

// remove notes that an object has gone.
func (k *kept) remove(object *metav1.PartialObjectMetadata) {
	key := cache.MetaObjectToName(object).String()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.total -= k.costs[key]
	delete(k.costs, key)
}

// possible reports whether an API server can have an object of that name. Names are keys that others remember too.
func possible(object *metav1.PartialObjectMetadata) bool {
	return len(object.Name) <= validation.DNS1123SubdomainMaxLength && len(object.Namespace) <= validation.DNS1123LabelMaxLength
}

// source lists and watches for a Watch. Its reflector uses it, one request at a time.
type source struct {
	clients  *Clients
	resource schema.GroupVersionResource
	selector string
	strip    func(*metav1.PartialObjectMetadata)
	most     int64 // bytes that are kept
	fail     func(error)
	kept     *kept
}

func (s *source) listWatch() cache.ListerWatcher {
	return cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{ListWithContextFunc: s.list, WatchFuncWithContext: s.watch}, s.clients.Watch)
}

// list returns one page of what there is, stripped, or a TooLargeError if that and the pages before it are more than is kept.
func (s *source) list(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	options.LabelSelector = s.selector
	list, err := s.clients.Watch.Resource(s.resource).List(ctx, options)
	if err != nil {
		return nil, err
	}
	if options.Continue == "" {
		s.kept = newKept()
	}
	possibles := list.Items[:0]
	for i := range list.Items {
		if !possible(&list.Items[i]) {
			continue
		}
		if s.strip(&list.Items[i]); s.kept.put(&list.Items[i], true) > s.most {
			return nil, s.tooLarge()
		}
		possibles = append(possibles, list.Items[i])
	}
	list.Items = possibles
	return list, nil
}

// watch watches, from the beginning if it is asked for initial events.
func (s *source) watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	options.LabelSelector = s.selector
	from, err := s.clients.Watch.Resource(s.resource).Watch(ctx, options)
	if err != nil {
		return nil, err
	}
	if s.kept == nil || options.SendInitialEvents != nil {
		s.kept = newKept()
	}
	b := &boundedWatch{from: from, source: *s, events: make(chan watch.Event), done: make(chan struct{})}
	b.stop = sync.OnceFunc(func() { close(b.done); from.Stop() })
	go b.pass()
	return b, nil
}

func (s *source) tooLarge() *TooLargeError {
	prefix := "/apis"
	if s.resource.Group == "" {
		prefix = "/api"
	}
	request := "WATCH " + path.Join(prefix, s.resource.Group, s.resource.Version, s.resource.Resource)
	return &TooLargeError{Cluster: s.clients.link.current.Load().name, Request: request, Limit: s.most, Kept: true}
}

// boundedWatch passes on the events of a watch, stripped, and ends with an error when what they leave is more than is kept.
type boundedWatch struct {
	from   watch.Interface
	source source
	events chan watch.Event
	done   chan struct{}
	stop   func()
}

// ResultChan returns the events.
func (b *boundedWatch) ResultChan() <-chan watch.Event { return b.events }

// Stop ends the watch. Nobody needs to take what is on its way.
func (b *boundedWatch) Stop() { b.stop() }

func (b *boundedWatch) pass() {
	defer close(b.events)
	defer b.stop()
	for event := range b.from.ResultChan() {
		object, ok := event.Object.(*metav1.PartialObjectMetadata)
		changes := ok && (event.Type == watch.Added || event.Type == watch.Modified || event.Type == watch.Deleted)
		if changes && !possible(object) {
			continue
		}
		if changes {
			b.source.strip(object)
		}
		if changes && event.Type != watch.Deleted && b.source.kept.put(object, false) > b.source.most {
			large := b.source.tooLarge()
			b.source.fail(large)
			b.send(watch.Event{Type: watch.Error, Object: &apierrors.NewRequestEntityTooLargeError(large.Error()).ErrStatus})
			return
		}
		if !b.send(event) {
			return
		}
		if changes && event.Type == watch.Deleted {
			b.source.kept.remove(object)
		}
	}
}

func (b *boundedWatch) send(event watch.Event) bool {
	select {
	case b.events <- event:
		return true
	case <-b.done:
		return false
	}
}
