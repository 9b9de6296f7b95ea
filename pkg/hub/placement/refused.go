package placement

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/bindingpolicy"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// Refused handles that the WEC of a placement definitely did not take the Workflow. If it is certain that no create of this
// attempt can still arrive, the next attempt goes to another cluster that matches; otherwise, and if there is none, the hub copy
// says what the WEC said.
func (r *Reconciler) Refused(ctx context.Context, key types.NamespacedName, placement stellarflow.Placement, why string, certain bool) error {
	live, err := r.Hub.Live(ctx, key)
	if err != nil || live == nil {
		return err
	}
	if !placement.RecordedOn(live) {
		return nil
	}
	message := fmt.Sprintf("cluster %s refused it: %s", placement.Cluster, why)
	if asked := stellarflow.Shutdown(live); certain && asked != "" {
		return r.stop(ctx, live, asked)
	}
	if certain {
		decision, err := r.next(ctx, live, placement, message)
		if err != nil {
			return err
		}
		if decision.Cluster != "" {
			r.Recorder.Eventf(live, corev1.EventTypeWarning, eventRefused, "%s", message)
			return nil
		}
	}
	written, err := r.Hub.SayPending(ctx, live, message)
	if err == nil && written != nil {
		r.Recorder.Eventf(written, corev1.EventTypeWarning, eventRefused, "%s", message)
	}
	return err
}

// next records the next attempt on a cluster that was not tried yet, if there is one; why says why the last one is out. The
// decision without a cluster has the reasons of all others.
func (r *Reconciler) next(ctx context.Context, live *unstructured.Unstructured, placement stellarflow.Placement, why string) (bindingpolicy.Decision, error) {
	q, err := r.observe(ctx, live)
	if err != nil {
		return bindingpolicy.Decision{}, err
	}
	refused := append(append([]stellarflow.ClusterName{}, placement.Refused...), placement.Cluster)
	for i := range q.inventory {
		if slices.Contains(refused, q.inventory[i].Name) {
			q.inventory[i].Refused, q.inventory[i].RefusedWhy = true, why
		}
	}
	decision := r.assumed.decide(live.GetUID(), q.inventory, func(clusters []bindingpolicy.Cluster) bindingpolicy.Decision {
		return bindingpolicy.Resolve(q.policies, q.workflow, clusters)
	})
	if decision.Cluster == "" {
		return decision, nil
	}
	defer r.assumed.drop(live.GetUID())
	synchronization, err := r.synchronization(ctx, live)
	if err != nil {
		return decision, err
	}
	again := stellarflow.Placement{Policy: decision.Policy, Cluster: decision.Cluster, Attempt: placement.Attempt + 1, Refused: refused, Hidden: q.hidden(decision.Policy)}
	return decision, r.record(ctx, live, again, synchronization)
}
