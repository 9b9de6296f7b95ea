package placement

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
)

// locks returns status.synchronization for a hub copy, as JSON, empty for none: the locks of the whole Workflow that the hub's controller
// takes before it finds that it is suspended. It gives back what stands in the status that a Workflow had before its end (argo-workflows
// v3.7.18 workflow/controller/controller.go, releaseAllWorkflowLocks), and never writes it there itself, since the guard refuses that. A
// ConfigMap that the hub has not is left out: nobody holds that lock, and the controller, started anew, would keep it from everybody.
func (r *Reconciler) locks(ctx context.Context, live *unstructured.Unstructured, synchronization v1alpha1.Synchronization) (string, error) {
	var held v1alpha1.SynchronizationStatus
	for _, mutex := range append(synchronization.Mutexes, synchronization.Mutex) {
		holdMutex(&held, live, mutex)
	}
	for _, semaphore := range append(synchronization.Semaphores, synchronization.Semaphore) {
		if err := r.holdSemaphore(ctx, &held, live, semaphore); err != nil {
			return "", err
		}
	}
	if held.Mutex == nil && held.Semaphore == nil {
		return "", nil
	}
	raw, err := json.Marshal(held)
	if err != nil {
		return "", fmt.Errorf("write the locks of workflow %s: %w", holder(live), err)
	}
	return string(raw), nil
}

// holder is how Argo's controller knows the whole of a Workflow.
func holder(live *unstructured.Unstructured) string {
	return live.GetNamespace() + "/" + live.GetName()
}

func holdMutex(held *v1alpha1.SynchronizationStatus, live *unstructured.Unstructured, mutex *v1alpha1.Mutex) {
	if mutex == nil || mutex.Database || !plain(mutex.Name) || !own(mutex.Namespace, live) {
		return
	}
	if held.Mutex == nil {
		held.Mutex = &v1alpha1.MutexStatus{}
	}
	holding := v1alpha1.MutexHolding{Mutex: live.GetNamespace() + "/Mutex/" + mutex.Name, Holder: holder(live)}
	held.Mutex.Holding, held.Mutex.Waiting = append(held.Mutex.Holding, holding), append(held.Mutex.Waiting, holding)
}

func (r *Reconciler) holdSemaphore(ctx context.Context, held *v1alpha1.SynchronizationStatus, live *unstructured.Unstructured, semaphore *v1alpha1.SemaphoreRef) error {
	if semaphore == nil || semaphore.ConfigMapKeyRef == nil || !own(semaphore.Namespace, live) {
		return nil
	}
	key := *semaphore.ConfigMapKeyRef
	if found, err := r.hasKey(ctx, live.GetNamespace(), key); err != nil || !found {
		return err
	}
	if held.Semaphore == nil {
		held.Semaphore = &v1alpha1.SemaphoreStatus{}
	}
	holding := v1alpha1.SemaphoreHolding{Semaphore: live.GetNamespace() + "/ConfigMap/" + key.Name + "/" + key.Key, Holders: []string{holder(live)}}
	held.Semaphore.Holding, held.Semaphore.Waiting = append(held.Semaphore.Holding, holding), append(held.Semaphore.Waiting, holding)
	return nil
}

// lockOperations put the locks on a hub copy, or take those of an earlier placement away.
func lockOperations(live *unstructured.Unstructured, locks string) []hubcopy.Operation {
	if locks == "" {
		return hubcopy.Set(live, "annotations", map[string]*string{stellarflow.AnnotationLocks: nil})
	}
	return append(hubcopy.Set(live, "annotations", map[string]*string{stellarflow.AnnotationLocks: &locks}),
		hubcopy.Add(json.RawMessage(locks), "status", "synchronization"))
}

// plain reports whether a name of a lock is known as it stands, and has no part that would make it another's.
func plain(name string) bool { return name != "" && !strings.ContainsAny(name, "{/") }

// own reports whether a lock is of the Workflow's own namespace.
func own(namespace string, live *unstructured.Unstructured) bool {
	return namespace == "" || namespace == live.GetNamespace()
}

func (r *Reconciler) hasKey(ctx context.Context, namespace string, key corev1.ConfigMapKeySelector) (bool, error) {
	if !plain(key.Name) || !plain(key.Key) {
		return false, nil
	}
	var configMap corev1.ConfigMap
	err := r.Live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: key.Name}, &configMap)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read ConfigMap %s/%s, which holds a lock: %w", namespace, key.Name, err)
	}
	_, found := configMap.Data[key.Key]
	return found, nil
}

// synchronization returns the locks of the whole Workflow that the hub's controller takes: its own, over those of the template that it is made from. That is taken as the hub's
// controller has stored it, or else as it is now: that may look at the Workflow after we have placed it. What cannot be read is left to
// whoever runs it.
func (r *Reconciler) synchronization(ctx context.Context, live *unstructured.Unstructured) (v1alpha1.Synchronization, error) {
	if r.Profile == stellarflow.ProfileDedicated { // nobody takes them
		return v1alpha1.Synchronization{}, nil
	}
	own, _, _ := unstructured.NestedMap(live.Object, "spec", "synchronization")
	template, stored, _ := unstructured.NestedMap(live.Object, "status", "storedWorkflowTemplateSpec")
	if !stored {
		var err error
		if template, err = r.templateSpec(ctx, live); err != nil {
			return v1alpha1.Synchronization{}, err
		}
	}
	theirs, _ := template["synchronization"].(map[string]any)
	var all v1alpha1.Synchronization
	raw, err := json.Marshal(over(own, theirs))
	if err != nil || json.Unmarshal(raw, &all) != nil {
		return v1alpha1.Synchronization{}, nil //nolint:nilerr // see above
	}
	return all, nil
}

// over returns what a Workflow says over what its template says, as Argo merges them: lists as a whole (argo-workflows v3.7.18
// workflow/util/merge.go, MergeTo, and workflow_types.go, Synchronization, which has no other patch strategy).
func over(own, template map[string]any) map[string]any {
	merged := maps.Clone(own)
	if merged == nil {
		merged = map[string]any{}
	}
	for key, theirs := range template {
		mine, said := merged[key]
		inner, isMap := mine.(map[string]any)
		if outer, both := theirs.(map[string]any); isMap && both {
			merged[key] = over(inner, outer)
		} else if !said {
			merged[key] = theirs
		}
	}
	return merged
}

// templateSpec returns the spec of the hub's template that a Workflow is made from; nil if it is made from none, or the hub has not got it: then
// its controller has no locks of it either.
func (r *Reconciler) templateSpec(ctx context.Context, live *unstructured.Unstructured) (map[string]any, error) {
	from, _, _ := unstructured.NestedMap(live.Object, "spec", "workflowTemplateRef")
	name, _ := from["name"].(string)
	reference, key := stellarflow.Reference{Kind: stellarflow.KindWorkflowTemplate, Name: name}, client.ObjectKey{Namespace: live.GetNamespace(), Name: name}
	if ofCluster, _ := from["clusterScope"].(bool); ofCluster {
		reference.Kind, key.Namespace = stellarflow.KindClusterWorkflowTemplate, ""
	}
	if reference.Validate() != nil { // none has that name
		return nil, nil //nolint:nilnil,nilerr // see above
	}
	var template unstructured.Unstructured
	template.SetGroupVersionKind(reference.Kind.Resource().GroupVersion().WithKind(string(reference.Kind)))
	err := r.Live.Get(ctx, key, &template)
	if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
		return nil, nil //nolint:nilnil // see above
	}
	if err != nil {
		return nil, fmt.Errorf("read %s of the hub, which workflow %s is made from: %w", reference, holder(live), err)
	}
	spec, _, _ := unstructured.NestedMap(template.Object, "spec")
	return spec, nil
}

// deadlocked says why a Workflow would wait on its cluster for a lock that it holds on the hub, empty if it would not: a hub's controller
// takes the locks of a whole Workflow too, and those in a database are known by namespace and name alone, on every cluster the same.
func deadlocked(synchronization v1alpha1.Synchronization) string {
	lock := databaseLock(synchronization)
	if lock == "" {
		return ""
	}
	return fmt.Sprintf("the Argo controller of this hub holds %s for it, in a database, as long as it has not ended, and its cluster would wait for that: "+
		"put the lock on its templates, or use a dedicated hub", lock)
}

// databaseLock names the first lock that is in a database, empty for none.
func databaseLock(s v1alpha1.Synchronization) string {
	const longest = 100
	for _, mutex := range append(s.Mutexes, s.Mutex) {
		if mutex != nil && mutex.Database {
			return fmt.Sprintf("mutex %q", stellarflow.OneLine(mutex.Name, longest))
		}
	}
	for _, semaphore := range append(s.Semaphores, s.Semaphore) {
		if semaphore != nil && semaphore.Database != nil {
			return fmt.Sprintf("semaphore %q", stellarflow.OneLine(semaphore.Database.Key, longest))
		}
	}
	return ""
}
