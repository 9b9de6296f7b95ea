package hub

import (
	"context"
	"fmt"
	"sync"
)

// setBack ends the manager when the hub's API server has been set back to an older state, as by a restore of its etcd. The caches are of
// a time that did not happen then, and stay so: a watch that goes on from a resourceVersion in the future is silent until the API server
// has passed it (k8s.io/apiserver pkg/storage/cacher). A manager that begins anew lists everything.
type setBack struct {
	// read reads the hub's resourceVersion; cached returns the newest that the caches have.
	read   func(context.Context) (uint64, error)
	cached func() uint64
	found  chan error

	mu   sync.Mutex
	seen uint64
}

// Read reads the hub's resourceVersion, and tells Start if it is below one that was seen before. It reads twice then: one old answer
// may come from the cache of a proxy.
func (s *setBack) Read(ctx context.Context) (uint64, error) {
	before := s.raise(s.cached())
	version, err := s.read(ctx)
	if err == nil && version < before {
		version, err = s.read(ctx)
	}
	if err != nil {
		return 0, err
	}
	s.raise(version)
	if version < before {
		select {
		case s.found <- fmt.Errorf("the hub's API server is at resourceVersion %d and was at %d before: it was restored from a backup, and what this manager has cached did not happen. "+
			"It ends, so that a new one reads everything anew", version, before):
		default: // it is said already
		}
	}
	return version, nil
}

// raise notes a resourceVersion and returns the highest.
func (s *setBack) raise(version uint64) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = max(s.seen, version)
	return s.seen
}

// Start returns an error when the hub was set back, and nil when ctx ends.
func (s *setBack) Start(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.found:
		return err
	}
}

// NeedLeaderElection is false: whoever reads, ends.
func (*setBack) NeedLeaderElection() bool { return false }
