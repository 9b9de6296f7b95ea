package cli

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// releaseClusters takes our finalizer from every WEC copy of this hub, and what was copied for Workflows that are gone, where the clusters
// answer, and says what a person has to do where they do not: nobody else ever would.
func releaseClusters(ctx context.Context, env Env, hub client.Client) error {
	hubID, err := readHubID(ctx, hub)
	if err != nil {
		return err
	}
	wecs, err := storedWECs(ctx, env, hub)
	if err != nil {
		if isNoMatch(err) {
			return nil
		}
		env.sayf("warning: %v", err)
		return nil
	}
	wecs = slices.DeleteFunc(wecs, func(w storedWEC) bool { return w.Clients == nil && w.recordedID() == "" }) // it never joined
	released, copied := make([]int, len(wecs)), make([]copiesOn, len(wecs))
	errs := each(ctx, wecs, func(ctx context.Context, i int) (err error) {
		if released[i], err = wecs[i].releaseHarvest(ctx, hubID); err != nil {
			return err
		}
		copied[i] = wecs[i].removeCopies(ctx, hubID)
		return nil
	})
	for _, one := range copied {
		one.say(env)
	}
	for i, count := range released {
		if count > 0 {
			env.sayf("removed finalizer %s from %d Workflows on %s", stellarflow.FinalizerHarvest, count, wecs[i].Name)
		}
	}
	for _, err := range errs {
		env.sayf("warning: %v: if Workflows with label %s=%s are left there, remove their finalizer %s by hand", err, stellarflow.LabelOrigin, hubID, stellarflow.FinalizerHarvest)
	}
	return nil
}

// releaseHarvest takes our finalizer from every WEC copy of this hub on a cluster and returns from how many.
func (w storedWEC) releaseHarvest(ctx context.Context, hubID types.UID) (int, error) {
	copies, err := w.copies(ctx, hubID)
	if err != nil {
		return 0, err
	}
	released := 0
	for i := range copies {
		did, err := w.releaseCopy(ctx, &copies[i])
		if err != nil {
			return released, err
		}
		if did {
			released++
		}
	}
	return released, nil
}

// releaseCopy takes our finalizer from a WEC copy, with a test on its UID and on the value at its index, and reports whether it was
// there.
func (w storedWEC) releaseCopy(ctx context.Context, wecCopy *metav1.PartialObjectMetadata) (bool, error) {
	i := slices.Index(wecCopy.Finalizers, stellarflow.FinalizerHarvest)
	if i < 0 {
		return false, nil
	}
	patch := fmt.Sprintf(`[{"op":"test","path":"/metadata/uid","value":%q},{"op":"test","path":"/metadata/finalizers/%d","value":%q},{"op":"remove","path":"/metadata/finalizers/%d"}]`,
		wecCopy.UID, i, stellarflow.FinalizerHarvest, i)
	_, err := w.Clients.Metadata.Resource(stellarflow.Workflows).Namespace(wecCopy.Namespace).Patch(ctx, wecCopy.Name, types.JSONPatchType, []byte(patch), metav1.PatchOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("remove finalizer %s from workflow %s/%s on %q: %w", stellarflow.FinalizerHarvest, wecCopy.Namespace, wecCopy.Name, w.Name, err)
	}
	return true, nil
}
