// Package recent remembers what our own writes returned until the watch cache has caught up, so that a pass never acts on a
// state that this process has already changed. pkg/hub/hubcopy uses it for the hub, pkg/hub/lifecycle for each WEC.
package recent

import (
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
)

// keep bounds how long an object that no cache shows is believed in. A cache that is this far behind has lost its watch,
// and then nothing is decided anyway.
const keep = 30 * time.Second

// Objects holds metadata by key. The zero value is ready for use, by several goroutines.
type Objects struct {
	mu    sync.Mutex
	byKey map[types.NamespacedName]entry
}

type entry struct {
	metadata *metav1.PartialObjectMetadata
	written  time.Time
}

// Put remembers the answer to a write.
func (o *Objects) Put(metadata *metav1.PartialObjectMetadata, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.byKey == nil {
		o.byKey = map[types.NamespacedName]entry{}
	}
	o.byKey[keyOf(metadata)] = entry{metadata, now}
}

// Forget drops what is known of a key.
func (o *Objects) Forget(key types.NamespacedName) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.byKey, key)
}

// Newest returns the newer of what the cache shows (nil for nothing) and what was put. An object that was put and that the
// cache does not show counts for 30 seconds if it may not have arrived yet (created), and not at all otherwise.
func (o *Objects) Newest(key types.NamespacedName, cached *metav1.PartialObjectMetadata, now time.Time) *metav1.PartialObjectMetadata {
	o.mu.Lock()
	defer o.mu.Unlock()
	known, found := o.byKey[key]
	if !found {
		return cached
	}
	if cached == nil {
		if known.metadata.DeletionTimestamp == nil && now.Sub(known.written) < keep {
			return known.metadata
		}
		delete(o.byKey, key)
		return nil
	}
	if order, err := resourceversion.CompareResourceVersion(cached.ResourceVersion, known.metadata.ResourceVersion); err != nil || order >= 0 {
		delete(o.byKey, key)
		return cached
	}
	return known.metadata
}

func keyOf(metadata *metav1.PartialObjectMetadata) types.NamespacedName {
	return types.NamespacedName{Namespace: metadata.Namespace, Name: metadata.Name}
}
