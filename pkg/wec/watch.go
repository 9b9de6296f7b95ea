package wec

import (
	"context"
	"fmt"
	"sync/atomic"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

const indexHubUID = "hub-uid"

// Watch caches the metadata of one hub's Workflows on a WEC.
type Watch struct {
	informer cache.SharedIndexInformer
	synced   cache.ResourceEventHandlerRegistration
	lost     atomic.Bool
}

// NewWatch prepares a watch on the Workflows with the label stellarflow.io/origin=hubID. changed is called for each that
// appeared, changed or vanished; it must not block.
func (c *Clients) NewWatch(hubID types.UID, changed func(types.NamespacedName)) (*Watch, error) {
	w := &Watch{}
	w.informer = metadatainformer.NewFilteredMetadataInformer(c.Watch, stellarflow.Workflows, metav1.NamespaceAll, 0,
		cache.Indexers{indexHubUID: hubUIDs},
		func(options *metav1.ListOptions) {
			options.LabelSelector = stellarflow.LabelOrigin + "=" + string(hubID)
		}).Informer()
	if err := w.informer.SetTransform(StripMetadata); err != nil {
		return nil, fmt.Errorf("prepare the watch: %w", err)
	}
	if err := w.informer.SetWatchErrorHandlerWithContext(func(context.Context, *cache.Reflector, error) { w.lost.Store(true) }); err != nil {
		return nil, fmt.Errorf("prepare the watch: %w", err)
	}
	notify := func(object any) {
		if key, err := cache.DeletionHandlingObjectToName(object); err == nil {
			changed(types.NamespacedName{Namespace: key.Namespace, Name: key.Name})
		}
	}
	var err error
	w.synced, err = w.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: notify, UpdateFunc: func(_, object any) { notify(object) }, DeleteFunc: notify,
	})
	if err != nil {
		return nil, fmt.Errorf("prepare the watch: %w", err)
	}
	return w, nil
}

// Run lists and watches until ctx ends. It returns then.
func (w *Watch) Run(ctx context.Context) { w.informer.RunWithContext(ctx) }

// Complete is closed once the first list is in the cache and everyone was told of it.
func (w *Watch) Complete() <-chan struct{} { return w.synced.HasSyncedChecker().Done() }

// Synced reports whether the first list is in the cache.
func (w *Watch) Synced() bool { return w.informer.HasSynced() && w.synced.HasSynced() }

// Lost reports whether the watch has failed since it began. The cache may then be behind until it has listed again.
func (w *Watch) Lost() bool { return w.lost.Load() }

// Get returns the cached metadata of a Workflow, or nil. It must not be changed.
func (w *Watch) Get(key types.NamespacedName) *metav1.PartialObjectMetadata {
	object, found, err := w.informer.GetStore().GetByKey(cache.NewObjectName(key.Namespace, key.Name).String())
	if err != nil || !found {
		return nil
	}
	metadata, ok := object.(*metav1.PartialObjectMetadata)
	if !ok {
		return nil
	}
	return metadata
}

// ByHubUID returns the cached WEC copies that say they belong to a hub copy.
func (w *Watch) ByHubUID(uid types.UID) []*metav1.PartialObjectMetadata {
	objects, err := w.informer.GetIndexer().ByIndex(indexHubUID, string(uid))
	if err != nil {
		return nil
	}
	return metadataOf(objects)
}

// List returns all cached WEC copies.
func (w *Watch) List() []*metav1.PartialObjectMetadata {
	return metadataOf(w.informer.GetStore().List())
}

func metadataOf(objects []any) []*metav1.PartialObjectMetadata {
	list := make([]*metav1.PartialObjectMetadata, 0, len(objects))
	for _, object := range objects {
		if metadata, ok := object.(*metav1.PartialObjectMetadata); ok {
			list = append(list, metadata)
		}
	}
	return list
}

func hubUIDs(object any) ([]string, error) {
	if metadata, ok := object.(*metav1.PartialObjectMetadata); ok {
		if uid := metadata.Annotations[stellarflow.AnnotationHubUID]; uid != "" {
			return []string{uid}, nil
		}
	}
	return nil, nil
}

// StripMetadata removes what no decision uses before an object enters a cache. It is a cache.TransformFunc and changes the
// object it is given.
func StripMetadata(object any) (any, error) {
	metadata, ok := object.(*metav1.PartialObjectMetadata)
	if !ok {
		return object, nil
	}
	metadata.ManagedFields = nil
	delete(metadata.Annotations, "kubectl.kubernetes.io/last-applied-configuration")
	return metadata, nil
}
