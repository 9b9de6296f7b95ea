package podmirror

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	clientevents "k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/cluster"
	"stellarflow.io/stellarflow/pkg/hub/podmirror/events"
	"stellarflow.io/stellarflow/pkg/wec"
)

const (
	workers = 2
	// most bounds the mirrored pods of one cluster, which could say that any number of them are its Workflows'.
	most = 5000
	// every is how often all pods are looked at although nothing has changed.
	every = 30 * time.Second
	// again is how long after its end a watch is begun anew, at first and at most, and how long a pod waits for what is about to be known.
	again, longest = time.Second, 10 * time.Second
	// A pod that keeps failing is tried again after 100 ms at first and never less often than every minute.
	firstBackoff, lastBackoff = 100 * time.Millisecond, time.Minute
)

// Copies reads hub copies.
type Copies interface {
	// Cached returns a hub copy's metadata, nil if there is none. It must not be changed.
	Cached(ctx context.Context, key types.NamespacedName) (*metav1.PartialObjectMetadata, error)
}

// Mirrorer shows the pods of all WECs on the hub.
type Mirrorer struct {
	// Hub writes Pods on the hub, with limits of its own: status does not wait for it.
	Hub kubernetes.Interface
	// Shown has the mirrored pods and the virtual Nodes of the hub, Policies its policies.
	Shown, Policies client.Reader
	Copies          Copies
	// Recorder says on hub copies what cannot be shown.
	Recorder clientevents.EventRecorder
	Log      logr.Logger
	Now      func() time.Time

	mu       sync.Mutex
	clusters map[stellarflow.ClusterName]*pods
	removing sync.Map // UIDs of mirrors that this process has removed itself
	unseen   unseen
}

// pods are those of one WEC.
type pods struct {
	*Mirrorer
	connection *cluster.Connection
	queue      workqueue.TypedRateLimitingInterface[types.NamespacedName]
	watch      atomic.Pointer[wec.Watch] // complete, though it may be lost
	events     *events.Mirror
	left       chan struct{} // closed at the end of Follow

	known   sync.Mutex
	read    map[types.NamespacedName]seen
	deleted map[types.NamespacedName]Deletion
}

// seen is what is remembered of a real pod that was read.
type seen struct {
	version  string
	archived time.Time
}

// Follow mirrors the pods of one WEC until ctx ends. It is a cluster.Fleet's Companion.
func (m *Mirrorer) Follow(ctx context.Context, connection *cluster.Connection) {
	p := &pods{
		Mirrorer: m, connection: connection, left: make(chan struct{}), read: map[types.NamespacedName]seen{}, deleted: map[types.NamespacedName]Deletion{},
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](firstBackoff, lastBackoff)),
	}
	p.events = events.New(events.Options{
		Cluster: connection.Name, WEC: connection.Clients.Events, Hub: m.Hub.CoreV1(), Log: m.Log,
		Shown: func(key types.NamespacedName) *corev1.Pod { return p.mirror(ctx, key) }, All: func() []types.NamespacedName { return p.mirrors(ctx) },
	})
	m.mu.Lock()
	if m.clusters == nil {
		m.clusters = map[stellarflow.ClusterName]*pods{}
	}
	m.clusters[connection.Name] = p
	m.mu.Unlock()
	defer func() {
		close(p.left)
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.clusters[connection.Name] == p {
			delete(m.clusters, connection.Name)
		}
		for _, pod := range m.unseen.of(connection.Name) {
			m.unseen.clear(there{connection.Name, pod})
		}
	}()
	var group sync.WaitGroup
	for range workers {
		group.Go(func() { p.work(ctx) })
	}
	group.Go(func() { p.events.Run(ctx) })
	group.Go(func() { wait.JitterUntilWithContext(ctx, p.enqueueAll, every, 0.1, true) })
	for pause := again; ctx.Err() == nil; {
		began := p.Now()
		err := p.follow(ctx)
		switch {
		case apierrors.IsForbidden(err):
			p.Log.Info("the pods of a cluster are not shown: the hub may not watch them there, run stellarflow join again", "cluster", connection.Name, "error", wec.Plain(err))
			pause = lastBackoff
		case p.Now().Sub(began) > longest:
			pause = again
		default:
			pause = min(2*pause, longest)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	p.queue.ShutDown()
	group.Wait()
}

// follow watches until the watch is lost, and returns why, or ctx ends. What the last one has shown is used until this one is complete.
func (p *pods) follow(ctx context.Context) error {
	watch, err := p.connection.Clients.NewPodWatch(p.queue.Add)
	if err != nil {
		return err
	}
	ctx, end := context.WithCancel(ctx)
	defer end()
	go watch.Run(ctx)
	for {
		complete := watch.Complete()
		if p.watch.Load() == watch {
			complete = nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-watch.Lost():
			return watch.Err()
		case <-complete:
			p.watch.Store(watch)
			p.enqueueAll(ctx)
		}
	}
}

// enqueueAll asks for a pass over every pod that is there or is shown.
func (p *pods) enqueueAll(ctx context.Context) {
	if watch := p.watch.Load(); watch != nil {
		for _, pod := range watch.List() {
			if _, ours := p.owner(ctx, pod); ours {
				p.queue.Add(client.ObjectKeyFromObject(pod))
			}
		}
	}
	p.known.Lock()
	read := slices.Collect(maps.Keys(p.read))
	p.known.Unlock()
	for _, key := range slices.Concat(p.mirrors(ctx), p.unseen.of(p.connection.Name), read) { // what has gone meanwhile is forgotten
		p.queue.Add(key)
	}
}

// mirrors returns the names of all mirrored pods of the WEC.
func (p *pods) mirrors(ctx context.Context) []types.NamespacedName {
	var mirrors corev1.PodList
	if err := p.Shown.List(ctx, &mirrors, client.MatchingLabels{stellarflow.LabelCluster: string(p.connection.Name)}, client.UnsafeDisableDeepCopy); err != nil {
		p.Log.Error(err, "list the mirrored pods", "cluster", p.connection.Name) // the cache is not being filled: never
	}
	keys := make([]types.NamespacedName, 0, len(mirrors.Items))
	for i := range mirrors.Items {
		keys = append(keys, client.ObjectKeyFromObject(&mirrors.Items[i]))
	}
	return keys
}

// mirror returns the mirrored pod of a name, nil if there is none.
func (p *pods) mirror(ctx context.Context, key types.NamespacedName) *corev1.Pod {
	var mirror corev1.Pod
	if p.Shown.Get(ctx, key, &mirror) != nil {
		return nil
	}
	return &mirror
}

func (p *pods) work(ctx context.Context) {
	for {
		key, stopped := p.queue.Get()
		if stopped {
			return
		}
		if ctx.Err() == nil {
			after, err := p.pass(ctx, key)
			switch {
			case err != nil:
				p.Log.V(1).Info("pod is not mirrored", "cluster", p.connection.Name, "pod", key, "error", oneLine(err.Error()))
				p.queue.AddRateLimited(key)
			case after > 0:
				p.queue.Forget(key)
				p.queue.AddAfter(key, after)
			default:
				p.queue.Forget(key)
			}
		}
		p.queue.Done(key)
	}
}

// owner returns the hub copy of a pod's Workflow: the one that the hub's record places on this WEC as the Workflow that controls the pod. Argo
// names pods by their Workflow (argo-workflows v3.7.18 workflow/util/pod_name.go); another name could be one that the hub has a use for.
func (p *pods) owner(ctx context.Context, pod metav1.Object) (*metav1.PartialObjectMetadata, bool) {
	controller, workflow := metav1.GetControllerOfNoCopy(pod), wec.WorkflowOf(pod)
	if controller == nil || controller.Kind != stellarflow.WorkflowKind.Kind || pod.GetName() != workflow.Name && !strings.HasPrefix(pod.GetName(), workflow.Name+"-") {
		return nil, false
	}
	hubCopy, placement, placed := p.placed(ctx, workflow)
	return hubCopy, placed && placement.ClusterID == p.connection.State().ID() && placement.WECUID != "" && placement.WECUID == controller.UID
}

// placed returns a hub copy and its record, false if there is none that places it on this WEC.
func (p *pods) placed(ctx context.Context, workflow types.NamespacedName) (*metav1.PartialObjectMetadata, stellarflow.Placement, bool) {
	hubCopy, err := p.Copies.Cached(ctx, workflow)
	if err != nil || hubCopy == nil || stellarflow.Abandoned(hubCopy) {
		return nil, stellarflow.Placement{}, false
	}
	placement, found := stellarflow.PlacementOf(hubCopy)
	return hubCopy, placement, found && placement.Cluster == p.connection.Name
}

// wanted reports whether the policy that has placed a Workflow lets its pods be mirrored.
func (p *pods) wanted(ctx context.Context, hubCopy metav1.Object) bool {
	placement, _ := stellarflow.PlacementOf(hubCopy)
	var policy v1alpha1.BindingPolicy
	err := p.Policies.Get(ctx, types.NamespacedName{Name: placement.Policy}, &policy)
	return err != nil || policy.Annotations[stellarflow.AnnotationMirrorPods] != "false"
}

// observe returns what is known of a pod, and the hub copy of its Workflow if it is shown.
func (p *pods) observe(ctx context.Context, key types.NamespacedName) (View, *metav1.PartialObjectMetadata, error) {
	watch := p.watch.Load()
	v := View{Cluster: p.connection.Name, Now: p.Now()}
	v.Complete = watch != nil && !watch.IsLost() && p.connection.State().ID() != "" // which cluster it is has to be known too
	var mirror corev1.Pod
	switch err := p.Shown.Get(ctx, key, &mirror); {
	case err == nil:
		v.Mirror = &mirror
		hubCopy, _, placed := p.placed(ctx, wec.WorkflowOf(&mirror))
		v.Stray = !placed || !metav1.IsControlledBy(&mirror, hubCopy)
	case !apierrors.IsNotFound(err):
		return v, nil, fmt.Errorf("read pod %s from the cache: %w", key, err)
	}
	var node corev1.Node
	v.Cordoned = p.Shown.Get(ctx, types.NamespacedName{Name: NodeName(v.Cluster)}, &node) == nil && node.Spec.Unschedulable
	if watch == nil {
		return v, nil, nil
	}
	pod := watch.Get(key)
	if pod == nil {
		return v, nil, nil
	}
	hubCopy, ours := p.owner(ctx, pod)
	if !ours {
		return v, nil, nil
	}
	v.Real, v.Wanted = pod, p.wanted(ctx, hubCopy)
	p.known.Lock()
	defer p.known.Unlock()
	v.Read, v.Archived, v.Deleted = p.read[key].version, p.read[key].archived, p.deleted[key]
	return v, hubCopy, nil
}

// forget drops what is remembered of a pod that is gone.
func (p *pods) forget(key types.NamespacedName) {
	p.known.Lock()
	defer p.known.Unlock()
	delete(p.read, key)
	delete(p.deleted, key)
}

// pass does the next step for a pod, and returns after how long to look again (zero: when something changes).
func (p *pods) pass(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	view, owner, err := p.observe(ctx, key)
	if err != nil {
		return 0, err
	}
	if view.Real == nil && view.Complete {
		p.forget(key)
	}
	step, after := Next(view)
	if step == Nothing && p.connection.State().ID() == "" {
		return again, nil
	}
	if step == Nothing || step == Remove {
		p.shown(key)
	}
	switch step {
	case Show:
		return p.show(ctx, key, view, owner)
	case Remove:
		p.sayNotPassedOn(view, owner)
		return 0, p.remove(ctx, view.Mirror)
	case Delete:
		return 0, p.passOn(ctx, key, view, owner)
	case Taken:
		return p.taken(owner, key)
	case Nothing:
	}
	return after, nil
}

// show reads the real pod and makes the mirror show it.
func (p *pods) show(ctx context.Context, key types.NamespacedName, v View, owner *metav1.PartialObjectMetadata) (time.Duration, error) {
	pod, err := p.connection.Clients.Pods.Pods(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return 0, nil // the watch will tell
	case apierrors.IsForbidden(err):
		p.refused(owner, key, fmt.Sprintf("the hub may not read it on cluster %s: run `stellarflow join %s` again", v.Cluster, v.Cluster))
		return every, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read pod %s of cluster %s: %w", key, v.Cluster, err)
	}
	if _, ours := p.owner(ctx, pod); !ours || pod.UID != v.Real.GetUID() || pod.Namespace != key.Namespace || pod.Name != key.Name {
		return time.Second, nil // replaced since the cache saw it
	}
	known := seen{version: Version(pod)}
	if Archived(pod) {
		known.archived = Finished(pod)
	}
	p.known.Lock()
	p.read[key] = known
	p.known.Unlock()
	if left := Lingers - v.Now.Sub(known.archived); !known.archived.IsZero() && left <= 0 {
		return time.Millisecond, nil
	}
	want, err := Render(pod, owner, v.Cluster)
	if err != nil {
		p.refused(owner, key, "cluster "+string(v.Cluster)+" says that "+err.Error())
		return every, nil //nolint:nilerr // it is said
	}
	return p.write(ctx, v, owner, want)
}

// write makes the Pod on the hub, or brings its status up to date.
func (p *pods) write(ctx context.Context, v View, owner *metav1.PartialObjectMetadata, want *corev1.Pod) (time.Duration, error) {
	hub, mirror := p.Hub.CoreV1().Pods(want.Namespace), v.Mirror
	var err error
	if mirror == nil {
		if p.full(ctx) {
			p.refused(owner, client.ObjectKeyFromObject(want), fmt.Sprintf("%d of cluster %s are, which is as many as the hub shows", most, v.Cluster))
			return lastBackoff, nil
		}
		made := want.DeepCopy()
		delete(made.Annotations, stellarflow.AnnotationMirrored) // until it has the status
		switch mirror, err = hub.Create(ctx, made, metav1.CreateOptions{}); {
		case apierrors.IsAlreadyExists(err):
			there, err := hub.Get(ctx, want.Name, metav1.GetOptions{})
			if _, ours := MirrorOf(there); err == nil && !ours {
				return p.taken(owner, client.ObjectKeyFromObject(want))
			}
			return time.Second, nil // the cache does not show it yet
		case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
			return every, nil
		case apierrors.IsForbidden(err), apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
			p.refused(owner, client.ObjectKeyFromObject(want), err.Error())
			return lastBackoff, nil
		case err != nil:
			return 0, fmt.Errorf("mirror pod %s/%s of cluster %s: %w", want.Namespace, want.Name, v.Cluster, err)
		}
		p.events.Look(client.ObjectKeyFromObject(want))
	}
	shown := mirror.DeepCopy()
	qos := shown.Status.QOSClass
	shown.Status = want.Status
	shown.Status.QOSClass = qos
	shown.Annotations[stellarflow.AnnotationMirrored] = want.Annotations[stellarflow.AnnotationMirrored]
	switch _, err = hub.UpdateStatus(ctx, shown, metav1.UpdateOptions{}); {
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		return 50 * time.Millisecond, nil // the cache will show what won
	case apierrors.IsInvalid(err): // what a pod cannot become: it is another one
		return time.Second, p.remove(ctx, mirror)
	case err != nil:
		return 0, fmt.Errorf("show the status of pod %s/%s of cluster %s: %w", want.Namespace, want.Name, v.Cluster, err)
	}
	p.shown(client.ObjectKeyFromObject(want))
	return 0, nil
}

// full reports whether as many pods are mirrored as may be.
func (p *pods) full(ctx context.Context) bool {
	p.known.Lock()
	few := len(p.read) <= most // of all that were read
	p.known.Unlock()
	return !few && len(p.mirrors(ctx)) >= most
}

// remove ends a mirror at once.
func (m *Mirrorer) remove(ctx context.Context, mirror *corev1.Pod) error {
	m.removing.Store(mirror.UID, true)
	now := int64(0)
	err := m.Hub.CoreV1().Pods(mirror.Namespace).Delete(ctx, mirror.Name, metav1.DeleteOptions{GracePeriodSeconds: &now, Preconditions: metav1.NewUIDPreconditions(string(mirror.UID))})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("remove mirrored pod %s/%s: %w", mirror.Namespace, mirror.Name, err)
	}
	return nil
}

// passOn deletes the real pod, as a person has deleted its mirror.
func (p *pods) passOn(ctx context.Context, key types.NamespacedName, v View, owner *metav1.PartialObjectMetadata) error {
	node, err := p.Hub.CoreV1().Nodes().Get(ctx, NodeName(v.Cluster), metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("look whether pod %s of cluster %s is drained: %w", key, v.Cluster, err)
	}
	if node.Spec.Unschedulable { // and the cache will show it
		return fmt.Errorf("delete pod %s of cluster %s: node %s is cordoned", key, v.Cluster, node.Name)
	}
	options := metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(v.Real.GetUID())), GracePeriodSeconds: v.Deleted.Grace}
	if v.Mirror != nil {
		options.GracePeriodSeconds = v.Mirror.DeletionGracePeriodSeconds
	}
	err = p.connection.Clients.Pods.Pods(key.Namespace).Delete(ctx, key.Name, options)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // the watch will tell
	}
	if err != nil {
		return fmt.Errorf("delete pod %s of cluster %s: %w", key, v.Cluster, err)
	}
	p.Log.Info("deleted a pod as its mirror was", "cluster", v.Cluster, "pod", key)
	p.Recorder.Eventf(owner, nil, corev1.EventTypeNormal, eventPodDeleted, "Delete", "deleted pod %s on cluster %s, as it was deleted here", key.Name, string(v.Cluster))
	return nil
}

// sayNotPassedOn says that a pod which a person has deleted is there again, if it is.
func (p *pods) sayNotPassedOn(v View, owner *metav1.PartialObjectMetadata) {
	if v.Real == nil || v.Mirror.DeletionTimestamp == nil || v.Mirror.Labels[stellarflow.LabelMirrorOf] != string(v.Real.GetUID()) || !Asked(v.Mirror) {
		return
	}
	why := "that was more than a minute ago when it could be passed on: look whether it still is to go"
	if v.Cordoned {
		why = "node " + NodeName(v.Cluster) + " is cordoned: uncordon it"
	}
	p.Recorder.Eventf(owner, nil, corev1.EventTypeWarning, eventNotDeleted, "Delete", "pod %s on cluster %s is not deleted although it was here: %s, and delete it again",
		v.Real.GetName(), string(v.Cluster), why)
}

// Events on hub copies.
const (
	eventPodDeleted  = "PodDeletedOnCluster"
	eventNotDeleted  = "PodNotDeleted"
	eventNotMirrored = "PodNotMirrored"
)

// refused says on the Workflow that a pod is not shown.
func (p *pods) refused(owner *metav1.PartialObjectMetadata, pod types.NamespacedName, why string) {
	if p.unseen.set(whose{owner.UID, client.ObjectKeyFromObject(owner)}, there{p.connection.Name, pod}, fmt.Sprintf("logs from S3 only: pod %s is not mirrored here: %s", pod.Name, oneLine(why))) {
		p.Recorder.Eventf(owner, nil, corev1.EventTypeWarning, eventNotMirrored, "Mirror", "%s", p.unseen.why(owner.UID))
		p.connection.Enqueue(client.ObjectKeyFromObject(owner))
	}
}

// taken says that a pod's name is another one's on the hub.
func (p *pods) taken(owner *metav1.PartialObjectMetadata, pod types.NamespacedName) (time.Duration, error) {
	p.refused(owner, pod, "the hub has a Pod of that name already")
	return every, nil
}

// shown takes back what was said of a pod that is shown now, or gone.
func (p *pods) shown(pod types.NamespacedName) {
	if workflow, last := p.unseen.clear(there{p.connection.Name, pod}); last {
		p.connection.Enqueue(workflow)
	}
}

// LogsFromS3 returns why pods of a hub copy are not shown here, empty if all are.
func (m *Mirrorer) LogsFromS3(hubCopy types.UID) string { return m.unseen.why(hubCopy) }
