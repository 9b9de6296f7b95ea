package hub

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
	crcache "sigs.k8s.io/controller-runtime/pkg/cache"

	"stellarflow.io/stellarflow/pkg/hub/cluster"
	"stellarflow.io/stellarflow/pkg/hub/tombstone"
)

// tombstones returns the store of tombstones, and sends every change of one to the queue of the WEC that it is about.
func (h *hub) tombstones(ctx context.Context, connections *cluster.Fleet) (*tombstone.Store, error) {
	if err := h.mgr.GetFieldIndexer().IndexField(ctx, &corev1.ConfigMap{}, tombstone.Index, tombstone.IndexConfigMap); err != nil {
		return nil, fmt.Errorf("index the tombstones: %w", err)
	}
	informer, err := h.mgr.GetCache().GetInformer(ctx, &corev1.ConfigMap{}, crcache.BlockUntilSynced(false))
	if err != nil {
		return nil, fmt.Errorf("watch the tombstones: %w", err)
	}
	send := func(object any) {
		if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
			object = unknown.Obj
		}
		if configMap, ok := object.(*corev1.ConfigMap); ok {
			t, err := tombstone.Parse(configMap)
			if err != nil {
				h.log.Info("a tombstone cannot be read and removes nothing", "error", err.Error())
				return
			}
			connections.Enqueue(t.Cluster, t.Workflow)
		}
	}
	_, err = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: send, UpdateFunc: func(old, next any) { send(old); send(next) }, DeleteFunc: send,
	})
	if err != nil {
		return nil, fmt.Errorf("watch the tombstones: %w", err)
	}
	return &tombstone.Store{Client: h.mgr.GetClient(), Live: h.mgr.GetAPIReader()}, nil
}
