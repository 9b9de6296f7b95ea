package chaos

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// collect is the garbage collection of a WEC: it deletes most finished Workflows of its cluster soon after their end, as a TTL in the
// WEC's own workflowDefaults does. The harvest finalizer is all that keeps them then.
func (a *argo) collect(object *unstructured.Unstructured, gone bool) {
	lots := a.lots(object)
	if gone || !stellarflow.Completed(object) || object.GetDeletionTimestamp() != nil || object.GetLabels()["chaos.test/decoy"] != "" || lots.IntN(4) == 0 {
		return
	}
	uid := metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(object.GetUID()))}
	time.AfterFunc(time.Duration(lots.Int64N(int64(400*time.Millisecond))), func() {
		select {
		case a.running <- struct{}{}:
		case <-a.ctx.Done():
			return
		}
		defer func() { <-a.running }()
		// one that fails is collected with its next change, or when its hub copy goes
		_ = a.objects.Resource(stellarflow.Workflows).Namespace(object.GetNamespace()).Delete(a.ctx, object.GetName(), uid)
	})
}
