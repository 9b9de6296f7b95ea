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
	"stellarflow.io/stellarflow/pkg/hub/cluster"
)

// Watch lets changes on the hub bring another look: of the mirrored pods, of the Workflows, and of what policies say of their pods.
func (m *Mirrorer) Watch(ctx context.Context, mirrors, workflows, policies crcache.Informer) error {
	enqueue := func(object any) {
		if pod, ok := object.(*corev1.Pod); ok {
			m.enqueue(stellarflow.ClusterName(pod.Labels[stellarflow.LabelCluster]), client.ObjectKeyFromObject(pod))
		}
	}
	_, err := mirrors.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: enqueue, UpdateFunc: func(_, next any) { enqueue(next) },
		DeleteFunc: func(gone any) {
			if pod, ok := gone.(*corev1.Pod); ok { // else it is not known how it went
				m.went(pod)
			}
			if unknown, ok := gone.(cache.DeletedFinalStateUnknown); ok {
				gone = unknown.Obj
			}
			enqueue(gone)
			if pod, ok := gone.(*corev1.Pod); ok { // its name is free for another cluster's
				for _, p := range m.all() {
					p.events.Forget(pod.UID)
					p.queue.Add(client.ObjectKeyFromObject(pod))
				}
			}
		},
	})
	if err != nil {
		return fmt.Errorf("watch the mirrored pods: %w", err)
	}
	_, err = workflows.AddEventHandler(cache.ResourceEventHandlerFuncs{UpdateFunc: func(old, next any) {
		before, after := placed(old), placed(next)
		if before != after {
			m.enqueueWorkflow(ctx, before)
			m.enqueueWorkflow(ctx, after)
		}
	}, DeleteFunc: func(gone any) { m.enqueueWorkflow(ctx, placed(gone)) }})
	if err != nil {
		return fmt.Errorf("watch the Workflows: %w", err)
	}
	_, err = policies.AddEventHandler(cache.ResourceEventHandlerFuncs{UpdateFunc: func(old, next any) {
		before, _ := old.(metav1.Object)
		after, _ := next.(metav1.Object)
		if before != nil && after != nil && before.GetAnnotations()[stellarflow.AnnotationMirrorPods] != after.GetAnnotations()[stellarflow.AnnotationMirrorPods] {
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
func (m *Mirrorer) went(mirror *corev1.Pod) {
	if _, ours := m.removing.LoadAndDelete(mirror.UID); ours {
		return
	}
	ask, asked := AskOf(mirror)
	name, ours := MirrorOf(mirror)
	if p := m.of(name); ours && asked && p != nil && m.Now().Sub(ask.Time) < within {
		p.known.Lock()
		defer p.known.Unlock()
		p.deleted[client.ObjectKeyFromObject(mirror)] = Deletion{UID: types.UID(mirror.Labels[stellarflow.LabelMirrorOf]), At: ask.Time, Grace: mirror.DeletionGracePeriodSeconds}
	}
}

func (m *Mirrorer) of(name stellarflow.ClusterName) *pods {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.clusters[name]
}

func (m *Mirrorer) all() []*pods {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]*pods, 0, len(m.clusters))
	for _, p := range m.clusters {
		all = append(all, p)
	}
	return all
}

func (m *Mirrorer) enqueue(name stellarflow.ClusterName, pod types.NamespacedName) {
	if p := m.of(name); p != nil {
		p.queue.Add(pod)
	}
}

func (m *Mirrorer) enqueueWorkflow(ctx context.Context, at where) {
	p := m.of(at.cluster)
	if p == nil {
		return
	}
	if watch := p.watch.Load(); watch != nil {
		for _, pod := range watch.ByWorkflow(at.workflow) {
			p.queue.Add(client.ObjectKeyFromObject(pod))
		}
	}
	var mirrors corev1.PodList // while the WEC is away there may be these only
	err := m.Shown.List(ctx, &mirrors, client.InNamespace(at.workflow.Namespace), client.UnsafeDisableDeepCopy,
		client.MatchingLabels{stellarflow.ArgoLabelWorkflow: at.workflow.Name, stellarflow.LabelCluster: string(at.cluster)})
	if err != nil {
		m.Log.Error(err, "list the mirrored pods", "workflow", at.workflow)
	}
	for i := range mirrors.Items {
		p.queue.Add(client.ObjectKeyFromObject(&mirrors.Items[i]))
	}
}

// Found is where a mirrored pod really runs.
type Found struct {
	Connection *cluster.Connection
	// UID is the real pod's.
	UID types.UID
	// Left is closed when the WEC is followed no more.
	Left <-chan struct{}
}

// Find returns where the pod runs that is mirrored under a name. It is false if the hub's record places no Workflow there that controls the
// pod, or if there is no mirror of just that pod: another WEC may have one of the same name.
func (m *Mirrorer) Find(ctx context.Context, key types.NamespacedName) (Found, bool) {
	var mirror corev1.Pod
	if m.Shown.Get(ctx, key, &mirror) != nil {
		return Found{}, false
	}
	name, ours := MirrorOf(&mirror)
	p := m.of(name)
	if !ours || p == nil {
		return Found{}, false
	}
	watch := p.watch.Load()
	if watch == nil {
		return Found{}, false
	}
	pod := watch.Get(key)
	if pod == nil || string(pod.UID) != mirror.Labels[stellarflow.LabelMirrorOf] {
		return Found{}, false
	}
	hubCopy, owned := p.owner(ctx, pod)
	return Found{p.connection, pod.UID, p.left}, owned && p.wanted(ctx, hubCopy)
}

// Check reports whether the pod that Find has found is still what runs under its name on its WEC: that is asked there.
func (m *Mirrorer) Check(ctx context.Context, key types.NamespacedName, found Found) error {
	connection := found.Connection
	pod, err := connection.Clients.Pods.Pods(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("look at pod %s of cluster %s: %w", key, connection.Name, err)
	}
	p := m.of(connection.Name)
	if p == nil || pod.UID != found.UID {
		return fmt.Errorf("pod %s of cluster %s is another one by now: ask again", key, connection.Name)
	}
	if _, owned := p.owner(ctx, pod); !owned {
		return fmt.Errorf("pod %s of cluster %s is no Workflow's of this hub any more", key, connection.Name)
	}
	return nil
}
