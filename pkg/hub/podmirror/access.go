package podmirror

import (
	"context"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// access has, for each placed Workflow of whose pods Find has told, what is closed when nobody is to see them any more.
type access struct {
	mu   sync.Mutex
	ends map[where]chan struct{}
}

// until returns what is closed when access to the pods of a Workflow ends. Who then finds that it is allowed is told of every later end.
func (a *access) until(at where) <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ends == nil {
		a.ends = map[where]chan struct{}{}
	}
	if a.ends[at] == nil {
		a.ends[at] = make(chan struct{})
	}
	return a.ends[at]
}

// end ends access to the pods of some Workflows.
func (a *access) end(some func(where) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for at, done := range a.ends {
		if some(at) {
			close(done)
			delete(a.ends, at)
		}
	}
}

// allowed reports whether the hub's record still places a Workflow there, and its policy lets its pods be seen.
func (m *Mirrorer) allowed(ctx context.Context, at where) (bool, error) {
	hubCopy, err := m.Copies.Cached(ctx, at.workflow)
	if err != nil || hubCopy == nil || placed(hubCopy) != at {
		return false, err
	}
	return m.wanted(ctx, hubCopy)
}

// endAccess ends access where it is not allowed any more, to the pods of all Workflows or of some. That a mirror goes ends nothing: it is made again, or its log is archived and whoever
// follows it has not read the last line.
func (m *Mirrorer) endAccess(ctx context.Context, some ...types.NamespacedName) {
	m.access.end(func(at where) bool {
		if len(some) > 0 && !slices.Contains(some, at.workflow) {
			return false
		}
		allowed, err := m.allowed(ctx, at)
		return err == nil && !allowed // else nothing is known, and it is looked at again
	})
}
