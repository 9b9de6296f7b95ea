package placement

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
	"stellarflow.io/stellarflow/pkg/hub/metrics"
)

// refuseIntents takes what is asked of an ended Workflow off it whose cluster has left: nobody will ever do it.
func (r *Reconciler) refuseIntents(ctx context.Context, key types.NamespacedName, workflow *metav1.PartialObjectMetadata, placement stellarflow.Placement) error {
	if workflow.Annotations[stellarflow.AnnotationIntents] == "" || !stellarflow.Completed(workflow) {
		return nil
	}
	if _, joined := r.Fleet.Get(placement.Cluster); joined {
		return nil
	}
	why := fmt.Sprintf("what was asked of it is not done: cluster %s has left. Resubmit it to run it again", placement.Cluster)
	written, err := r.Hub.Patch(ctx, key, append(hubcopy.Unchanged(workflow), declined(workflow, why)...)...)
	if err == nil {
		r.countDeclined(workflow)
		r.Recorder.Eventf(written, corev1.EventTypeWarning, eventRequestRefused, "%s", why)
	}
	return err
}

// declined returns the operations that take what is asked off a hub copy, and say why; none if nothing is.
func declined(workflow metav1.Object, why string) []hubcopy.Operation {
	if workflow.GetAnnotations()[stellarflow.AnnotationIntents] == "" {
		return nil
	}
	asked, _ := stellarflow.IntentsOf(workflow) // what cannot be read is nothing to count
	counts := stellarflow.ActionsOf(workflow).Add(nil, asked).String()
	return hubcopy.Set(workflow, "annotations", map[string]*string{
		stellarflow.AnnotationIntents: nil, stellarflow.AnnotationRefused: &why, stellarflow.AnnotationActions: &counts,
	})
}

// countDeclined counts what was taken off a hub copy, as it was before.
func (r *Reconciler) countDeclined(workflow metav1.Object) {
	asked, _ := stellarflow.IntentsOf(workflow)
	for _, intent := range asked {
		r.Metrics.Requested(string(intent.Kind), metrics.ResultRefused)
	}
}
