package wec

import (
	"context"
	"errors"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
)

// errTaken is why a Lease is not written although the API server would take it.
var errTaken = errors.New("the Lease may be another's")

// leases is the Lease's API as the election uses it. It keeps the Hold in step with every answer.
type leases struct {
	coordinationclient.LeaseInterface
	lease *Lease
}

// Leases returns the API for a namespace.
func (r leases) Leases(namespace string) coordinationclient.LeaseInterface {
	r.LeaseInterface = r.lease.Clients.Core.CoordinationV1().Leases(namespace)
	return r
}

// bounded gives each request half the renew deadline, so that one that hangs does not cost the Lease.
func (r leases) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, r.lease.Timing.Deadline/2)
}

// Get reads the Lease.
func (r leases) Get(ctx context.Context, name string, options metav1.GetOptions) (*coordinationv1.Lease, error) {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	lease, err := r.LeaseInterface.Get(ctx, name, options)
	switch {
	case apierrors.IsNotFound(err):
		r.lease.Hold.interrupt() // Create comes next
		return nil, err
	case err == nil && holderOf(&lease.Spec) != r.lease.Identity:
		r.lease.Hold.interrupt()
	}
	r.lease.note(lease, err)
	return lease, err
}

// Create makes the Lease, on the cluster that was identified and if nobody can believe to hold the one that was there.
func (r leases) Create(ctx context.Context, lease *coordinationv1.Lease, options metav1.CreateOptions) (*coordinationv1.Lease, error) {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	l := r.lease
	l.mu.Lock()
	until, cluster := l.seen.until, l.cluster
	l.mu.Unlock()
	if l.Now().Before(until) { // somebody removed it under its holder
		return nil, errTaken
	}
	system, err := l.Clients.Core.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if err == nil && system.UID != cluster {
		err = &Trouble{ReasonChanged, ChangedMessage}
	}
	if err != nil {
		l.note(nil, err)
		return nil, err
	}
	l.stamp(ctx, lease)
	began := l.Now()
	created, err := r.LeaseInterface.Create(ctx, lease, options)
	if err == nil {
		l.Hold.keep(began)
	}
	l.note(created, err)
	return created, err
}

// Update renews the Lease, takes it, or gives it back: then it has no holder.
func (r leases) Update(ctx context.Context, lease *coordinationv1.Lease, options metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	l := r.lease
	if holderOf(&lease.Spec) != l.Identity { // it is given back
		if !l.isMine() {
			return nil, errTaken
		}
		l.Hold.interrupt()
	} else {
		l.stamp(ctx, lease)
	}
	began := l.Now()
	updated, err := r.LeaseInterface.Update(ctx, lease, options)
	switch {
	case err == nil && holderOf(&updated.Spec) == l.Identity:
		l.Hold.keep(began)
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		l.Hold.drop() // it is not as it was left: what it is now is read next
		return nil, err
	}
	l.note(updated, err)
	return updated, err
}

func (l *Lease) isMine() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen.mine
}
