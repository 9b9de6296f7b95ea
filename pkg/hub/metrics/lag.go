package metrics

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Lag knows the changes on one WEC that its watch has shown and that the hub does not show yet. A change that comes while a pass
// runs may have come after the pass has read: it counts for the next one. The zero value is ready, for several goroutines.
type Lag struct {
	mu      sync.Mutex
	pending map[types.NamespacedName]change
}

type change struct {
	since, next time.Time // next: of the first change since the pass began
	passing     bool
}

// Changed says that the watch has shown a change.
func (l *Lag) Changed(key types.NamespacedName, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	known, found := l.pending[key]
	switch {
	case !found:
		known.since = now
	case known.passing && known.next.IsZero():
		known.next = now
	}
	if l.pending == nil {
		l.pending = map[types.NamespacedName]change{}
	}
	l.pending[key] = known
}

// Begin says that a pass begins, whose reads come after this.
func (l *Lag) Begin(key types.NamespacedName) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if known, found := l.pending[key]; found {
		known.passing, known.next = true, time.Time{}
		l.pending[key] = known
	}
}

// End says that a pass found nothing that is left to mirror, and returns since when there had been something, zero if there was
// nothing. A pass that does not call it (it failed, or did something else first) leaves the change waiting.
func (l *Lag) End(key types.NamespacedName) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	known, found := l.pending[key]
	if !found || !known.passing {
		return time.Time{}
	}
	if known.next.IsZero() {
		delete(l.pending, key)
	} else {
		l.pending[key] = change{since: known.next}
	}
	return known.since
}

// Oldest returns since when the oldest change has been waiting, zero if none is.
func (l *Lag) Oldest() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	var oldest time.Time
	for _, known := range l.pending {
		if oldest.IsZero() || known.since.Before(oldest) {
			oldest = known.since
		}
	}
	return oldest
}
