package wec

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// LeaseTiming says how a Lease is kept; see leaderelection.LeaderElectionConfig for what each means.
type LeaseTiming struct {
	// Duration is how long others wait after the last renewal that they saw; whole seconds, as a Lease stores it.
	Duration time.Duration
	// Deadline is how long after the beginning of the last renewal this process writes.
	Deadline time.Duration
	// Retry is the time between two renewals.
	Retry time.Duration
}

// DefaultLeaseTiming returns what Kubernetes' own components use.
func DefaultLeaseTiming() LeaseTiming {
	return LeaseTiming{Duration: 15 * time.Second, Deadline: 10 * time.Second, Retry: 2 * time.Second}
}

// LeaseName is the name of a hub's Lease on every WEC, in stellarflow.SystemNamespace there.
func LeaseName(hubID types.UID) string { return "stellarflow-hub-" + string(hubID) }

// LeaseOptions are what a Lease is made from.
type LeaseOptions struct {
	Clients *Clients
	HubID   types.UID
	// Identity tells this process from every other.
	Identity string
	Timing   LeaseTiming
	Hold     *Hold
	Now      func() time.Time
	// Hub says how far the hub's store has come, nil for nobody.
	Hub HubVersion
	// Changed is called, by any goroutine, when State may return something else.
	Changed func()
}

// Lease keeps one hub's Lease on a WEC, so that of several processes that take themselves for the hub one acts there. The Hold
// that it is made with says at any moment whether this process may write.
type Lease struct {
	LeaseOptions

	run struct {
		sync.Mutex
		end  context.CancelFunc // of the election under way, nil if there is none
		done chan struct{}
	}
	mu       sync.Mutex
	cluster  types.UID // the WEC's identity
	restored time.Time // see RestoredAt
	stamped  time.Time // when the hub's version was last written
	seen     seen
	told     LeaseState
}

// seen is what the last requests found.
type seen struct {
	err    error                     // of the last request, nil if it was answered
	mine   bool                      // this process is the holder by the last answer
	once   bool                      // and was, by any
	other  *coordinationv1.LeaseSpec // another holder's; its renew time is the last one seen
	renews bool                      // the other holder has renewed it under our eyes
	until  time.Time                 // when the other's last renewal that was seen has run out
}

// LeaseState is what a Lease says of the right to act.
type LeaseState struct {
	// Since is since when the Lease has been this process's without anybody in between, zero while it is not held.
	Since time.Time
	// Trouble says why it is not held, nil while it is held or nothing is known yet.
	Trouble *Trouble
}

// NewLease returns one that does nothing until Start.
func NewLease(options LeaseOptions) *Lease { return &Lease{LeaseOptions: options} }

// Start begins to take the Lease on a cluster that has answered and has the identity, unless that is under way.
func (l *Lease) Start(ctx context.Context, cluster types.UID) error {
	l.mu.Lock()
	l.cluster = cluster
	l.mu.Unlock()
	l.run.Lock()
	defer l.run.Unlock()
	if l.run.end != nil {
		return nil
	}
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta: metav1.ObjectMeta{Namespace: stellarflow.SystemNamespace, Name: LeaseName(l.HubID)},
			Client:    leases{lease: l}, LockConfig: resourcelock.ResourceLockConfig{Identity: l.Identity},
		},
		LeaseDuration: l.Timing.Duration, RenewDeadline: l.Timing.Deadline, RetryPeriod: l.Timing.Retry, ReleaseOnCancel: true,
		Name:      LeaseName(l.HubID),
		Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: func(context.Context) {}, OnStoppedLeading: func() {}},
	})
	if err != nil {
		return fmt.Errorf("prepare the Lease: %w", err)
	}
	// The election outlives ctx: the Lease is given back after the last pass has ended, see Stop. What it logs is in State.
	election, end := context.WithCancel(klog.NewContext(context.WithoutCancel(ctx), logr.Discard()))
	done := make(chan struct{})
	l.run.end, l.run.done = end, done
	go func() {
		defer close(done)
		elector.Run(election)
		end()
		l.run.Lock()
		l.run.end = nil
		l.run.Unlock()
		l.tell()
	}()
	return nil
}

// Pause ends the attempts to take the Lease of a cluster that does not answer; one that is held stays so.
func (l *Lease) Pause() {
	l.run.Lock()
	defer l.run.Unlock()
	if l.run.end != nil && !l.Hold.Held() {
		l.run.end()
	}
}

// Stop gives the Lease back, so that the next holder need not wait, and returns then; without an answer it returns after twice
// the renew deadline. Nothing may be written afterwards.
func (l *Lease) Stop() {
	l.run.Lock()
	end, done := l.run.end, l.run.done
	l.run.Unlock()
	if end != nil {
		end()
		<-done
	}
	l.Hold.interrupt()
}

// Drop forbids writes at once: behind the address is another cluster now. Nothing is given back there.
func (l *Lease) Drop() {
	l.Hold.interrupt()
	l.mu.Lock()
	l.seen = seen{}
	l.mu.Unlock()
	l.Pause()
}

// State says whether this process may act on the WEC, and if not, why.
func (l *Lease) State() LeaseState {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stateLocked()
}

func (l *Lease) stateLocked() LeaseState {
	if since := l.Hold.Since(); !since.IsZero() {
		return LeaseState{Since: since}
	}
	name := stellarflow.SystemNamespace + "/" + LeaseName(l.HubID)
	switch s := l.seen; {
	case s.err != nil:
		return LeaseState{Trouble: leaseTrouble(s.err, name)}
	case s.other != nil && (s.renews || s.once):
		return LeaseState{Trouble: &Trouble{ReasonHeldElsewhere, fmt.Sprintf(
			"another hub manager with this hub's id acts there (holder %s of Lease %s, since %s): of two hub managers with the same hub id stop one", holderOf(s.other), name, acquired(s.other))}}
	}
	return LeaseState{}
}

func acquired(spec *coordinationv1.LeaseSpec) string {
	if spec.AcquireTime == nil {
		return "an unknown time"
	}
	return spec.AcquireTime.UTC().Format(time.RFC3339)
}

// leaseTrouble says why the Lease cannot be had. Clusters that were joined before there was one lack the rights.
func leaseTrouble(err error, name string) *Trouble {
	if apierrors.IsNotFound(err) {
		return &Trouble{ReasonForbidden, fmt.Sprintf("the hub cannot keep Lease %s there, because the namespace does not exist: run `stellarflow join` again to restore it", name)}
	}
	return troubleOf(err, "keep Lease "+name)
}

// tell calls Changed if State returns something else than before.
func (l *Lease) tell() {
	l.mu.Lock()
	now := l.stateLocked()
	same := now.Since.Equal(l.told.Since) && (now.Trouble == nil) == (l.told.Trouble == nil) && (now.Trouble == nil || *now.Trouble == *l.told.Trouble)
	l.told = now
	l.mu.Unlock()
	if !same {
		l.Changed()
	}
}

// note records what a request found: err, or the Lease as it is now.
func (l *Lease) note(lease *coordinationv1.Lease, err error) {
	l.mu.Lock()
	if err != nil {
		l.seen.err = err
	} else {
		l.seen = l.seen.after(lease.Spec, l.Identity, l.Now())
		if at := restoredAt(lease); at.After(l.restored) {
			l.restored = at
		}
	}
	l.mu.Unlock()
	l.tell()
}

// after returns what is known once the Lease was seen to be as spec.
func (s seen) after(spec coordinationv1.LeaseSpec, identity string, now time.Time) seen {
	switch holderOf(&spec) {
	case "":
		return seen{once: s.once}
	case identity:
		return seen{mine: true, once: true}
	}
	next := seen{once: s.once, other: &spec, renews: s.renews, until: s.until}
	switch {
	case s.other == nil || holderOf(s.other) != holderOf(&spec):
		next.renews, next.until = false, now.Add(durationOf(spec))
	case !s.other.RenewTime.Equal(spec.RenewTime):
		next.renews, next.until = true, now.Add(durationOf(spec))
	}
	return next
}

func holderOf(spec *coordinationv1.LeaseSpec) string {
	if spec.HolderIdentity == nil {
		return ""
	}
	return *spec.HolderIdentity
}

func durationOf(spec coordinationv1.LeaseSpec) time.Duration {
	if spec.LeaseDurationSeconds == nil {
		return 0
	}
	return time.Duration(*spec.LeaseDurationSeconds) * time.Second
}
