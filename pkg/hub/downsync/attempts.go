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
//
// What an earlier process created cannot be remembered. It could only send requests while it held the WEC's Lease, so all that
// may still arrive of it was sent before this process took the Lease: after the time to settle nothing can. And of an attempt that
// this process has recorded while it held the Lease nobody else can have sent anything. No clock of another machine is compared with.
type Attempts struct {
	settle    time.Duration
	mu        sync.Mutex
	ambiguous map[types.UID]moment // the last create without an answer
	recorded  map[types.UID]moment // the last record of this process, before it was sent
}

// moment is when something happened to an attempt.
type moment struct {
	attempt int
	at      time.Time
}

// NewAttempts returns an empty memory of a process whose creates may arrive for as long as settle.
func NewAttempts(settle time.Duration) *Attempts {
	return &Attempts{settle: settle, ambiguous: map[types.UID]moment{}, recorded: map[types.UID]moment{}}
}

// Ambiguous records that a create ended without an answer that says whether it happened.
func (a *Attempts) Ambiguous(placement stellarflow.Placement, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ambiguous[placement.UID] = moment{placement.Attempt, now}
}

// Recorded notes that this process has recorded a placement; at is a time before it did.
func (a *Attempts) Recorded(placement stellarflow.Placement, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.recorded[placement.UID] = moment{placement.Attempt, at}
}

// Forget drops a hub copy whose WEC copy is known or that is gone.
func (a *Attempts) Forget(uid types.UID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.ambiguous, uid)
	delete(a.recorded, uid)
}

// Pending returns how much longer a create of this placement may still arrive on its WEC, zero if none can. leaseSince is since
// when nobody but this process has held the Lease there, zero while it is not held: then nothing is known.
func (a *Attempts) Pending(placement stellarflow.Placement, leaseSince, now time.Time) time.Duration {
	pending := time.Duration(0)
	if ours, found := a.of(a.ambiguous, placement); found {
		pending = a.settle - now.Sub(ours)
	}
	recorded, here := a.of(a.recorded, placement)
	switch {
	case placement.WECUID != "": // nobody creates what was seen
	case leaseSince.IsZero():
		pending = a.settle
	case here && !recorded.Before(leaseSince): // whoever held the Lease before could not know of it
	default:
		pending = max(pending, a.settle-now.Sub(leaseSince))
	}
	return max(0, pending)
}

// Certain reports whether a refusal means that nothing of this placement runs: no create of this process has ended ambiguously,
// and none of an earlier one can arrive.
func (a *Attempts) Certain(placement stellarflow.Placement, leaseSince, now time.Time) bool {
	_, found := a.of(a.ambiguous, placement)
	return !found && a.Pending(placement, leaseSince, now) == 0
}

// of returns what is remembered of this attempt.
func (a *Attempts) of(memory map[types.UID]moment, placement stellarflow.Placement) (time.Time, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	last, found := memory[placement.UID]
	return last.at, found && last.attempt == placement.Attempt
}
