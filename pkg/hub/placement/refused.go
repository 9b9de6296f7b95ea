package placement

import (
	"context"
	"fmt"

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
	if certain {
		moved, err := r.next(ctx, live, placement, message)
		if moved || err != nil {
			return err
		}
	}
	written, err := r.Hub.SayPending(ctx, live, message)
	if err == nil && written != nil {
		r.Recorder.Eventf(written, nil, corev1.EventTypeWarning, eventRefused, "Create", "%s", message)
	}
	return err
}

// next records the next attempt on a cluster that has not refused yet, if there is one.
func (r *Reconciler) next(ctx context.Context, live *unstructured.Unstructured, placement stellarflow.Placement, message string) (bool, error) {
	q, err := r.observe(ctx, live)
	if err != nil || !q.selected {
		return false, err
	}
	refused := append(append([]stellarflow.ClusterName{}, placement.Refused...), placement.Cluster)
	for i := range q.inventory {
		for _, name := range refused {
			if q.inventory[i].Name == name {
				q.inventory[i].Refused, q.inventory[i].RefusedWhy = true, message
			}
		}
	}
	decision := r.assumed.decide(live.GetUID(), q.inventory, func(clusters []bindingpolicy.Cluster) bindingpolicy.Decision {
		return bindingpolicy.Resolve(q.policies, q.workflow, clusters)
	})
	if decision.Cluster == "" {
		return false, nil
	}
	defer r.assumed.drop(live.GetUID())
	if err := r.record(ctx, live, decision, placement.Attempt+1, refused); err != nil {
		return false, err
	}
	r.Recorder.Eventf(live, nil, corev1.EventTypeWarning, eventRefused, "Create", "%s", message)
	return true, nil
}
