package downsync

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// Settle is how long a create whose end is not known may still arrive: longer than any request lives on its way (client
// timeout 10 s, API server's request timeout 60 s).
const Settle = 90 * time.Second

// Attempts remembers the creates of this process that ended ambiguously, by hub UID. It is safe for several goroutines.
type Attempts struct {
	started   time.Time
	settle    time.Duration
	mu        sync.Mutex
	ambiguous map[types.UID]time.Time
}

// NewAttempts returns an empty memory of a process that started at the given time, for which a create may arrive for as long
// as settle.
func NewAttempts(started time.Time, settle time.Duration) *Attempts {
	return &Attempts{started: started, settle: settle, ambiguous: map[types.UID]time.Time{}}
}

// Begin says that this process creates from now on: until then another one may have, as leader.
func (a *Attempts) Begin(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.started = now
}

// Ambiguous records that a create ended without an answer that says whether it happened.
func (a *Attempts) Ambiguous(uid types.UID, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ambiguous[uid] = now
}

// Forget drops a hub copy whose WEC copy is known or that is gone.
func (a *Attempts) Forget(uid types.UID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.ambiguous, uid)
}

// Pending returns how much longer a create of this placement may still arrive, zero if none can. A placement that is older
// than this process counts as if its create had been cut off by the restart, unless the WEC copy's UID is known.
func (a *Attempts) Pending(placement stellarflow.Placement, now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	last, found := a.ambiguous[placement.UID]
	if !found && placement.WECUID == "" && placement.Time.Before(a.started) {
		last, found = a.started, true
	}
	if !found {
		return 0
	}
	return max(0, a.settle-now.Sub(last))
}

// Certain reports whether no create of this placement has ever ended ambiguously, so that a refusal means that nothing runs.
func (a *Attempts) Certain(placement stellarflow.Placement) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, found := a.ambiguous[placement.UID]
	return !found && !placement.Time.Before(a.started)
}
