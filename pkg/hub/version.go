package hub

import (
	"context"
	"fmt"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/inventory"
)

// version reads the hub's resourceVersion, with the cheapest list there is.
func (h *hub) version(ctx context.Context) (uint64, error) {
	list, err := h.metadata.Resource(stellarflow.Workflows).List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return 0, fmt.Errorf("list one Workflow: %w", err)
	}
	version, err := strconv.ParseUint(list.ResourceVersion, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the hub's resourceVersion: %w", err)
	}
	return version, nil
}

// cachedVersion returns the newest resourceVersion that the cache of the hub's Workflows has, zero before it has any.
func (h *hub) cachedVersion() uint64 {
	informer, ok := h.workflows.(interface{ LastSyncResourceVersion() string })
	if !ok {
		return 0
	}
	version, err := strconv.ParseUint(informer.LastSyncResourceVersion(), 10, 64)
	if err != nil {
		return 0 // it has not listed yet
	}
	return version
}

// observed returns the highest resourceVersion of a WEC that the unfinished Workflows placed there were mirrored from.
func (h *hub) observed(ctx context.Context, name stellarflow.ClusterName, id types.UID) uint64 {
	items, err := inventory.Indexed(ctx, h.mgr.GetClient(), string(name))
	if err != nil {
		h.log.Error(err, "list the Workflows placed on a cluster", "cluster", name)
		return 0
	}
	highest := uint64(0)
	for i := range items {
		placement, placed := stellarflow.PlacementOf(&items[i])
		observed, ok := stellarflow.ParseObserved(items[i].Annotations[stellarflow.AnnotationObserved])
		if !placed || !ok || placement.ClusterID != id {
			continue
		}
		if version, err := strconv.ParseUint(observed.ResourceVersion, 10, 64); err == nil {
			highest = max(highest, version)
		}
	}
	return highest
}
