// Package heartbeat knows what the loops of the hub manager are doing, and since when, so that /healthz can tell a process that
// works from one that only lives. pkg/hub/cluster and pkg/hub say what they begin and end; pkg/hub/ready.go asks.
//
// It cannot see why something takes long. Limit is therefore longer than anything that a cluster can cause.
package heartbeat

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// Limit is how long one piece of work may take before the process counts as stuck. A request to a WEC ends after 10 s and a pass
// makes some 20 of them at most, or deletes pods for 30 s; the first list of a watch ends after 60 s. What takes longer than this waits
// for a lock that nobody gives back, and only a restart ends that.
const Limit = 10 * time.Minute

// Beats are what is being done. The zero value is ready, for several goroutines; a nil *Beats takes everything and knows nothing.
type Beats struct {
	mu   sync.Mutex
	last uint64
	open map[uint64]beat
}

type beat struct {
	what  string
	since time.Time
}

// Begin says that a piece of work begins, and returns what says that it ends.
func (b *Beats) Begin(what string, now time.Time) (end func()) {
	if b == nil {
		return func() {}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last++
	id := b.last
	if b.open == nil {
		b.open = map[uint64]beat{}
	}
	b.open[id] = beat{what, now}
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.open, id)
	}
}

// Stuck returns what has not ended within the limit, the oldest first.
func (b *Beats) Stuck(now time.Time, limit time.Duration) []string {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var late []beat
	for _, open := range b.open {
		if now.Sub(open.since) > limit {
			late = append(late, open)
		}
	}
	slices.SortFunc(late, func(a, b beat) int { return a.since.Compare(b.since) })
	stuck := make([]string, 0, len(late))
	for _, one := range late {
		stuck = append(stuck, fmt.Sprintf("%s, since %s", one.what, one.since.UTC().Format(time.RFC3339)))
	}
	return stuck
}
