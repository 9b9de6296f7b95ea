package travel

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/hub/cluster"
)

// sweep removes what nobody needs, if this process knows all who may: the Lease is held for long enough and the watch is complete.
func (k *Keeper) sweep(ctx context.Context, c *cluster.Connection, id types.UID, copies map[place]*metav1.PartialObjectMetadata) error {
	seen, err := k.see(ctx, c) // anew: the refresh may have taken minutes
	if err != nil {
		return err
	}
	state := c.State()
	since := k.Carrier.Now().Sub(state.LeaseSince)
	if !state.Connected || state.ID() != id || !seen.complete || state.LeaseSince.IsZero() || since < k.Timing.orDefault().Idle {
		return nil
	}
	return k.remove(ctx, c, id, seen, copies)
}

// remove deletes the copies that no Workflow needs. It ends when what was seen is old: a create that began then may count on one of
// them, and is not remembered for longer than Idle.
func (k *Keeper) remove(ctx context.Context, c *cluster.Connection, id types.UID, seen sight, copies map[place]*metav1.PartialObjectMetadata) error {
	wait := k.Timing.orDefault().Idle
	idle := func(last time.Time) bool { return k.Carrier.Now().Sub(last) >= wait }
	var failed error
	for p, one := range copies {
		if seen.needed[p] || one.DeletionTimestamp != nil {
			continue
		}
		if k.Carrier.Now().Sub(seen.at) >= wait/2 {
			break // the next look goes on
		}
		failed = errors.Join(failed, k.Carrier.lately.unless(id, p, idle, func() error {
			err := c.Clients.Metadata.Resource(p.Kind.Resource()).Namespace(p.namespace).Delete(ctx, p.Name, metav1.DeleteOptions{
				Preconditions: &metav1.Preconditions{UID: &one.UID, ResourceVersion: &one.ResourceVersion},
			})
			if apierrors.IsNotFound(err) || apierrors.IsConflict(err) { // it was written since it was listed
				return nil
			}
			if err != nil {
				return fmt.Errorf("delete %s on %q: %w", p.Reference, c.Name, err)
			}
			k.Log.V(1).Info("removed what no Workflow needs any more", "cluster", c.Name, "object", p.String(), "namespace", p.namespace)
			return nil
		}))
	}
	return failed
}
