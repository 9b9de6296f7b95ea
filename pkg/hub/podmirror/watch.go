package podmirror

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	crcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/wec"
)

// Watch lets changes on the hub bring another look: of the mirrored pods, of the Workflows, and of what policies say of their pods.
func (m *Mirrorer) Watch(ctx context.Context, mirrors, workflows, policies crcache.Informer) error {
	if _, err := mirrors.AddEventHandler(m.handler(ctx)); err != nil {
		return fmt.Errorf("watch the mirrored pods: %w", err)
	}
	_, err := workflows.AddEventHandler(cache.ResourceEventHandlerFuncs{UpdateFunc: func(old, next any) {
		before, after := placed(old), placed(next)
		if before != after {
			m.endAccess(ctx, before.workflow, after.workflow)
			m.enqueueWorkflow(ctx, before)
			m.enqueueWorkflow(ctx, after)
		}
	}, DeleteFunc: func(gone any) {
		m.endAccess(ctx, placed(gone).workflow)
		m.enqueueWorkflow(ctx, placed(gone))
	}})
	if err != nil {
		return fmt.Errorf("watch the Workflows: %w", err)
	}
	_, err = policies.AddEventHandler(cache.ResourceEventHandlerFuncs{UpdateFunc: func(old, next any) {
		before, _ := old.(metav1.Object)
		after, _ := next.(metav1.Object)
		if before != nil && after != nil && before.GetAnnotations()[stellarflow.AnnotationMirrorPods] != after.GetAnnotations()[stellarflow.AnnotationMirrorPods] {
			m.endAccess(ctx)
			for _, p := range m.all() {
				p.enqueueAll(ctx)
			}
		}
	}})
	if err != nil {
		return fmt.Errorf("watch the policies: %w", err)
	}
	return nil
}

// handler hears of the mirrored pods.
func (m *Mirrorer) handler(ctx context.Context) cache.ResourceEventHandlerFuncs {
	enqueue := func(object any) {
		if pod, ok := object.(*corev1.Pod); ok {
			m.enqueue(stellarflow.ClusterName(pod.Labels[stellarflow.LabelCluster]), client.ObjectKeyFromObject(pod))
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(next any) { m.counted(nil, next); enqueue(next) },
		UpdateFunc: func(old, next any) {
			m.counted(old, next)
			m.replaced(old, next)
			enqueue(next)
		},
		DeleteFunc: func(gone any) {
			if pod, ok := gone.(*corev1.Pod); ok { // else it is not known how it went
				m.went(ctx, pod)
			}
			if unknown, ok := gone.(cache.DeletedFinalStateUnknown); ok {
				gone = unknown.Obj
			}
			m.counted(gone, nil)
			enqueue(gone)
			if pod, ok := gone.(*corev1.Pod); ok { // its name is free for another cluster's
				m.removing.Delete(pod.UID) // how it went may not be known
				for _, p := range m.all() {
					p.events.Forget(pod.UID)
					p.queue.Add(client.ObjectKeyFromObject(pod))
				}
			}
		},
	}
}

// counted counts a mirror that has come instead of another one, either nil for none.
func (m *Mirrorer) counted(old, next any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.counts == nil {
		m.counts = map[string]int{}
	}
	if pod, ok := next.(*corev1.Pod); ok {
		m.counts[pod.Labels[stellarflow.LabelCluster]]++
	}
	if pod, ok := old.(*corev1.Pod); ok {
		name := pod.Labels[stellarflow.LabelCluster]
		if m.counts[name]--; m.counts[name] == 0 {
			delete(m.counts, name)
		}
	}
}

// room reports whether a pod may be mirrored, given its mirror or nil: of a WEC only so many are.
func (m *Mirrorer) room(cluster stellarflow.ClusterName, mirror *corev1.Pod) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return mirror != nil || m.counts[string(cluster)] < most
}

// replaced forgets a mirror that went unseen: there is another one of its name.
func (m *Mirrorer) replaced(old, next any) {
	was, ok := old.(*corev1.Pod)
	if is, found := next.(*corev1.Pod); ok && found && was.UID != is.UID {
		m.removing.Delete(was.UID)
	}
}

// where is what of a hub copy decides about its pods.
type where struct {
	workflow types.NamespacedName
	cluster  stellarflow.ClusterName
	wecUID   types.UID
}

func placed(object any) where {
	if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = unknown.Obj
	}
	workflow, ok := object.(metav1.Object)
	if !ok || workflow.GetLabels()[stellarflow.LabelCluster] == "" {
		return where{}
	}
	placement, found := stellarflow.PlacementOf(workflow)
	if !found || stellarflow.Abandoned(workflow) {
		return where{}
	}
	return where{types.NamespacedName{Namespace: workflow.GetNamespace(), Name: workflow.GetName()}, placement.Cluster, placement.WECUID}
}

// went remembers that a mirror is gone at a person's word, not at ours: one that has no time to end is not seen while it ends.
func (m *Mirrorer) went(ctx context.Context, mirror *corev1.Pod) {
	if _, ours := m.removing.LoadAndDelete(mirror.UID); ours {
		return
	}
	ask, asked := AskOf(mirror)
	name, ours := MirrorOf(mirror)
	if !ours || !asked {
		return
	}
	if p := m.of(name); p != nil {
		p.known.Lock()
		defer p.known.Unlock()
		p.deleted[client.ObjectKeyFromObject(mirror)] = Deletion{
			Mirror: mirror.UID, UID: types.UID(mirror.Labels[stellarflow.LabelMirrorOf]), At: ask.Time, Grace: mirror.DeletionGracePeriodSeconds, Unsure: !Asked(mirror),
		}
	} else if hubCopy, _, placed := m.placedOn(ctx, wec.WorkflowOf(mirror), name); placed && Asked(mirror) {
		m.sayUnknown(hubCopy, mirror)
	}
}
