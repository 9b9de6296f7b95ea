package cleanup

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/metadata"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
)

// ReleaseHarvest takes the harvest finalizer off a WEC copy. It returns the copy as written, nil if there was nothing to do.
func ReleaseHarvest(ctx context.Context, wec metadata.Interface, wecCopy *metav1.PartialObjectMetadata) (*metav1.PartialObjectMetadata, error) {
	return Patch(ctx, wec, wecCopy, hubcopy.RemoveFinalizer(wecCopy, stellarflow.FinalizerHarvest))
}

// RestoreHarvest puts the harvest finalizer back on a WEC copy that runs again.
func RestoreHarvest(ctx context.Context, wec metadata.Interface, wecCopy *metav1.PartialObjectMetadata) (*metav1.PartialObjectMetadata, error) {
	operations := hubcopy.AddFinalizer(wecCopy, stellarflow.FinalizerHarvest)
	if operations == nil {
		return nil, nil //nolint:nilnil // nothing to do is an answer
	}
	return Patch(ctx, wec, wecCopy, append(hubcopy.Unchanged(wecCopy), operations...))
}

// Terminate ends a WEC copy that somebody deletes on the WEC while it runs: Argo ignores a deletionTimestamp, and its pods
// would go on until the finalizer is released. shutdown and suspended are what its spec says of that: one that is being shut down goes on as
// it was told, and a suspension is lifted, since Argo ends nothing that is suspended (operator.go, ShouldSuspend).
func Terminate(ctx context.Context, wec metadata.Interface, wecCopy *metav1.PartialObjectMetadata, shutdown string, suspended bool) (*metav1.PartialObjectMetadata, error) {
	var operations []hubcopy.Operation
	if shutdown == "" {
		operations = append(operations, hubcopy.Add(stellarflow.ShutdownTerminate, "spec", "shutdown"))
	}
	if suspended {
		operations = append(operations, hubcopy.Add(false, "spec", "suspend"))
	}
	return Patch(ctx, wec, wecCopy, operations)
}

// Shutdown notes on a WEC copy which spec.shutdown the hub copy has, and gives it that too unless it is only to be noted. It fails with
// hubcopy.ErrLostRace if the WEC copy has changed, which may have ended.
func Shutdown(ctx context.Context, wec metadata.Interface, wecCopy *metav1.PartialObjectMetadata, asked string, give bool) (*metav1.PartialObjectMetadata, error) {
	operations := append(hubcopy.Unchanged(wecCopy), hubcopy.Add(asked, "metadata", "annotations", stellarflow.AnnotationShutdown))
	if give {
		operations = append(operations, hubcopy.Add(asked, "spec", "shutdown"))
	}
	return Patch(ctx, wec, wecCopy, operations)
}

// Patch writes to a WEC copy, if it still is the object that it was. It returns the copy as written, nil if there was nothing to do or it is
// gone. The error wraps hubcopy.ErrLostRace if a test among the operations failed.
func Patch(ctx context.Context, wec metadata.Interface, wecCopy *metav1.PartialObjectMetadata, operations []hubcopy.Operation) (*metav1.PartialObjectMetadata, error) {
	if len(operations) == 0 {
		return nil, nil //nolint:nilnil // nothing to do is an answer
	}
	raw, err := hubcopy.Marshal(append([]hubcopy.Operation{hubcopy.SameObject(wecCopy)}, operations...))
	if err != nil {
		return nil, err
	}
	written, err := wec.Resource(stellarflow.Workflows).Namespace(wecCopy.Namespace).
		Patch(ctx, wecCopy.Name, hubcopy.PatchType, raw, metav1.PatchOptions{FieldManager: "stellarflow"})
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // it is gone, as a finalizer's last release makes it
	}
	if err := hubcopy.Classify(err); err != nil {
		return nil, fmt.Errorf("patch workflow %s/%s: %w", wecCopy.Namespace, wecCopy.Name, err)
	}
	return written, nil
}

// DeleteWECCopy deletes a WEC copy and, through the garbage collector there, its pods. The finalizer is released after the
// delete was taken, so that the copy cannot vanish without the hub having decided it.
func DeleteWECCopy(ctx context.Context, wec metadata.Interface, wecCopy *metav1.PartialObjectMetadata) (*metav1.PartialObjectMetadata, error) {
	if wecCopy.DeletionTimestamp == nil {
		background := metav1.DeletePropagationBackground
		err := wec.Resource(stellarflow.Workflows).Namespace(wecCopy.Namespace).Delete(ctx, wecCopy.Name, metav1.DeleteOptions{
			Preconditions: metav1.NewUIDPreconditions(string(wecCopy.UID)), PropagationPolicy: &background,
		})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return nil, fmt.Errorf("delete workflow %s/%s: %w", wecCopy.Namespace, wecCopy.Name, err)
		}
	}
	return ReleaseHarvest(ctx, wec, wecCopy)
}
