package wec

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

const (
	indexHubUID   = "hub-uid"
	indexWorkflow = "workflow"
)

// Watch caches metadata of a WEC: of one hub's Workflows, or of the pods of Workflows.
type Watch struct {
	informer cache.SharedIndexInformer
	synced   cache.ResourceEventHandlerRegistration
	lose     func()
	lost     chan struct{}
	failed   atomic.Pointer[error]
}

// NewWatch prepares a watch on the Workflows with the label stellarflow.io/origin=hubID. changed is called for each that
// appeared, changed or vanished; it must not block.
func (c *Clients) NewWatch(hubID types.UID, changed func(types.NamespacedName)) (*Watch, error) {
	return c.newWatch(workflowsOf(hubID), cache.Indexers{indexHubUID: hubUIDs}, changed)
}

// NewPodWatch prepares a watch on the pods of all Workflows of a WEC, of which only what tells them apart is kept. changed is as in NewWatch.
func (c *Clients) NewPodWatch(changed func(types.NamespacedName)) (*Watch, error) {
	return c.newWatch(podsOfWorkflows(), cache.Indexers{indexWorkflow: workflowOf}, changed)
}

func workflowsOf(hubID types.UID) source {
	return source{resource: stellarflow.Workflows, selector: stellarflow.LabelOrigin + "=" + string(hubID), strip: stripWorkflow, most: MaxKept}
}

func podsOfWorkflows() source {
	return source{resource: corev1.SchemeGroupVersion.WithResource("pods"), selector: stellarflow.ArgoLabelWorkflow, strip: stripPod, most: MaxKept}
}

func (c *Clients) newWatch(of source, indexers cache.Indexers, changed func(types.NamespacedName)) (*Watch, error) {
	w := &Watch{lost: make(chan struct{})}
	w.lose = sync.OnceFunc(func() { close(w.lost) })
	fail := func(err error) { w.failed.Store(&err); w.lose() }
	of.clients, of.fail = c, fail
	w.informer = cache.NewSharedIndexInformer(of.listWatch(), &metav1.PartialObjectMetadata{}, 0, indexers)
	if err := w.informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) { fail(err) }); err != nil {
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
func (w *Watch) Run(ctx context.Context) {
	w.informer.RunWithContext(context.WithValue(ctx, loseKey{}, w.lose))
}

// loseKey is the key of what the requests of a Watch call when one of them breaks off. The reflector itself says nothing of that: it waits
// for up to a minute if it happens often, as behind a proxy that knows no long requests, and only then asks again
// (k8s.io/client-go tools/cache/reflector.go, watch and RunWithContext).
type loseKey struct{}

// broken returns what to call when a request breaks off, a function that does nothing unless it is a watch's.
func broken(request *http.Request) func() {
	lose, ok := request.Context().Value(loseKey{}).(func())
	if !ok || !isWatch(request) {
		return func() {}
	}
	return func() {
		if request.Context().Err() == nil { // else we have ended it
			lose()
		}
	}
}

// Complete is closed once the first list is in the cache and everyone was told of it.
func (w *Watch) Complete() <-chan struct{} { return w.synced.HasSyncedChecker().Done() }

// Synced reports whether the first list is in the cache.
func (w *Watch) Synced() bool { return w.informer.HasSynced() && w.synced.HasSynced() }

// Lost is closed once the watch has failed. The cache may be behind from then on, until it has listed again.
func (w *Watch) Lost() <-chan struct{} { return w.lost }

// IsLost reports whether the watch has failed since it began.
func (w *Watch) IsLost() bool {
	select {
	case <-w.lost:
		return true
	default:
		return false
	}
}

// Err returns why the list or the watch has failed last, nil if it has not, or if a request broke off and no other one was made since. What
// it says of the cluster's answers is the cluster's: see Plain.
func (w *Watch) Err() error {
	if err := w.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// Get returns the cached metadata of an object, or nil. It must not be changed.
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
	return w.indexed(indexHubUID, string(uid))
}

// ByWorkflow returns the cached pods that say they belong to a Workflow.
func (w *Watch) ByWorkflow(key types.NamespacedName) []*metav1.PartialObjectMetadata {
	return w.indexed(indexWorkflow, key.String())
}

func (w *Watch) indexed(index, value string) []*metav1.PartialObjectMetadata {
	objects, err := w.informer.GetIndexer().ByIndex(index, value)
	if err != nil {
		return nil
	}
	return metadataOf(objects)
}

// List returns all that is cached.
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

// WorkflowOf returns the Workflow that a pod says it belongs to.
func WorkflowOf(pod metav1.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: pod.GetNamespace(), Name: pod.GetLabels()[stellarflow.ArgoLabelWorkflow]}
}

func workflowOf(object any) ([]string, error) {
	if metadata, ok := object.(*metav1.PartialObjectMetadata); ok {
		return []string{WorkflowOf(metadata).String()}, nil
	}
	return nil, nil
}

// stripPod keeps of a pod's metadata what says which it is, since when, and whose.
func stripPod(pod *metav1.PartialObjectMetadata) {
	var owners []metav1.OwnerReference
	if controller := metav1.GetControllerOfNoCopy(pod); controller != nil && controller.Kind == stellarflow.WorkflowKind.Kind {
		owners = []metav1.OwnerReference{{Kind: stellarflow.WorkflowKind.Kind, UID: controller.UID, Controller: controller.Controller}}
	}
	pod.ObjectMeta = metav1.ObjectMeta{
		Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion, DeletionTimestamp: pod.DeletionTimestamp, DeletionGracePeriodSeconds: pod.DeletionGracePeriodSeconds,
		CreationTimestamp: pod.CreationTimestamp,
		Labels:            map[string]string{stellarflow.ArgoLabelWorkflow: pod.Labels[stellarflow.ArgoLabelWorkflow]},
		OwnerReferences:   owners,
	}
}

// stripWorkflow keeps of a WEC copy's metadata what says which it is and what holds it there, how far it is, and what we say of it.
func stripWorkflow(wecCopy *metav1.PartialObjectMetadata) {
	wecCopy.ObjectMeta = metav1.ObjectMeta{
		Namespace: wecCopy.Namespace, Name: wecCopy.Name, UID: wecCopy.UID, ResourceVersion: wecCopy.ResourceVersion, Generation: wecCopy.Generation,
		CreationTimestamp: wecCopy.CreationTimestamp, DeletionTimestamp: wecCopy.DeletionTimestamp, DeletionGracePeriodSeconds: wecCopy.DeletionGracePeriodSeconds,
		Labels: used(wecCopy.Labels), Annotations: used(wecCopy.Annotations), Finalizers: wecCopy.Finalizers,
	}
}

// used returns the labels or annotations that are ours or say how far Argo is.
func used(all map[string]string) map[string]string {
	var some map[string]string
	for key, value := range all {
		if strings.HasPrefix(key, stellarflow.Prefix) || key == stellarflow.ArgoLabelPhase || key == stellarflow.ArgoLabelCompleted {
			if some == nil {
				some = map[string]string{}
			}
			some[key] = value
		}
	}
	return some
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
