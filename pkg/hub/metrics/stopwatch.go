package metrics

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// arrivals remembers since when a look at each Workflow that is not placed has been asked for. It holds what the hub's watch shows
// as unfinished and not placed, and nothing else: the watch's own events add and remove. The zero value is ready.
type arrivals struct {
	mu   sync.Mutex
	byID map[types.UID]arrival
}

type arrival struct {
	since time.Time
	// looked is true from the end of a look that placed nothing to the next reason to look.
	looked bool
}

func (a *arrivals) arrived(uid types.UID, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if known, found := a.byID[uid]; found && !known.looked {
		return // one that waits in a queue waits since the first reason
	}
	if a.byID == nil {
		a.byID = map[types.UID]arrival{}
	}
	a.byID[uid] = arrival{since: now}
}

func (a *arrivals) looked(uid types.UID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if known, found := a.byID[uid]; found {
		known.looked = true
		a.byID[uid] = known
	}
}

func (a *arrivals) since(uid types.UID) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.byID[uid].since
}

func (a *arrivals) forget(uid types.UID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.byID, uid)
}

// stopwatch remembers when something began, by the UID of a hub copy. The zero value is ready.
type stopwatch struct {
	mu    sync.Mutex
	began map[types.UID]time.Time
}

func (s *stopwatch) start(uid types.UID, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.began == nil {
		s.began = map[types.UID]time.Time{}
	}
	s.began[uid] = now
}

// stop returns when it began and forgets it.
func (s *stopwatch) stop(uid types.UID) (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	began, found := s.began[uid]
	delete(s.began, uid)
	return began, found
}
