package events

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/client-go/util/workqueue"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/wec"
)

const (
	// Writes to the hub, a second and at once, for all pods of a WEC.
	writes, burst = 20, 100
	// maxEvents is how many Events a mirror gets: Kubernetes counts what happens again in one.
	maxEvents = 100
	// maxWritten is of how many Events it is remembered what was written. Above it all is forgotten, which costs writes that change nothing.
	maxWritten = 20_000
	// What was said so far is read a namespace at a time, so many Events at once and so many times: what is beyond them is not shown.
	page, pages = 500, 4
	// gather is how long a namespace waits for more mirrors to be made there. A WEC reads all Events of a namespace, whichever it is asked for.
	gather = time.Second
	// A namespace that cannot be read is read again after 200 ms at first. A pod is given up after so many tries: what is said of it later
	// is shown all the same.
	firstBackoff, lastBackoff, tries = 200 * time.Millisecond, 10 * time.Second, 8
)

// ofPods selects the Events about pods.
var ofPods = fields.OneTermEqualSelector("involvedObject.kind", "Pod").String()

// Options are what a Mirror needs. All are required.
type Options struct {
	// Cluster is the WEC's name.
	Cluster stellarflow.ClusterName
	// WEC reads Events there; its requests must have no timeout of their own (wec.Clients.Events). Hub writes them on the hub.
	WEC, Hub corev1client.EventsGetter
	// Shown returns the mirror on the hub that has a name, from a cache, nil if there is none; All the names of all mirrors of this WEC.
	Shown func(types.NamespacedName) *corev1.Pod
	All   func() []types.NamespacedName
	Log   logr.Logger
}

// Mirror shows the Events about the mirrored pods of one WEC on the hub. It is safe for several goroutines.
type Mirror struct {
	Options
	limiter flowcontrol.RateLimiter
	queue   workqueue.TypedRateLimitingInterface[string] // namespaces that have pods that wait
	writing sync.Mutex                                   // held while an Event is written: one at a time, so that none goes back

	mu      sync.Mutex
	waiting map[string]map[string]int     // by namespace and name, pods whose Events so far are to be read, and how often that failed
	written map[types.UID]map[key]Written // by mirror
	entries int                           // of written, of all mirrors
}

// New returns one that Run starts.
func New(options Options) *Mirror {
	return &Mirror{
		Options: options, limiter: flowcontrol.NewTokenBucketRateLimiter(writes, burst),
		queue:   workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[string](firstBackoff, lastBackoff)),
		waiting: map[string]map[string]int{}, written: map[types.UID]map[key]Written{},
	}
}

// Look asks for what was said of a pod before its mirror was made: whoever makes a mirror calls it. It does not block, and Shown need not know
// the mirror yet.
func (m *Mirror) Look(pod types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wait(pod.Namespace, pod.Name, 0)
	if m.queue.NumRequeues(pod.Namespace) == 0 { // else it has a time already
		m.queue.AddAfter(pod.Namespace, gather)
	}
}

// wait notes that the Events of a pod are to be read. Its caller holds mu.
func (m *Mirror) wait(namespace, pod string, failed int) {
	if m.waiting[namespace] == nil {
		m.waiting[namespace] = map[string]int{}
	}
	m.waiting[namespace][pod] = failed
}

// Forget drops what is remembered of a mirror that is gone: whoever sees that calls it. It does not block.
func (m *Mirror) Forget(mirror types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries -= len(m.written[mirror])
	delete(m.written, mirror)
}

// Run follows the Events until ctx ends.
func (m *Mirror) Run(ctx context.Context) {
	var group sync.WaitGroup
	group.Go(func() { m.work(ctx) })
	version := ""
	wec.Follow(ctx, func(ctx context.Context) (err error) {
		if version, err = m.follow(ctx, version); err != nil && ctx.Err() == nil { // doctor says which right is missing
			m.Log.V(1).Info("events are not followed", "cluster", m.Cluster, "error", wec.Plain(err))
		}
		return err
	})
	m.queue.ShutDown()
	group.Wait()
}

// follow watches the Events about pods from a resourceVersion on, and from now on if that is empty: what was said before is then looked up
// for each mirror. It returns from where to go on when the watch has ended.
func (m *Mirror) follow(ctx context.Context, version string) (string, error) {
	if version == "" {
		listing, cancel := context.WithTimeout(ctx, wec.RequestTimeout)
		list, err := m.WEC.Events(metav1.NamespaceAll).List(listing, metav1.ListOptions{FieldSelector: ofPods, Limit: 1})
		cancel()
		if err != nil {
			return "", fmt.Errorf("list events on %q: %w", m.Cluster, err)
		}
		version = list.ResourceVersion
		for _, pod := range m.All() {
			m.Look(pod)
		}
	}
	ctx, end := context.WithCancel(ctx)
	defer end()
	stream, err := m.WEC.Events(metav1.NamespaceAll).Watch(ctx, metav1.ListOptions{FieldSelector: ofPods, ResourceVersion: version, AllowWatchBookmarks: true})
	if err != nil {
		if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
			version = ""
		}
		return version, fmt.Errorf("watch events on %q: %w", m.Cluster, err)
	}
	defer stream.Stop()
	for change := range stream.ResultChan() {
		event, ok := change.Object.(*corev1.Event)
		if !ok || change.Type == watch.Error { // too old, mostly
			return "", fmt.Errorf("watch events on %q: %w", m.Cluster, apierrors.FromObject(change.Object))
		}
		version = event.ResourceVersion
		if change.Type == watch.Added || change.Type == watch.Modified {
			m.said(ctx, event)
		}
	}
	return version, nil
}

// said shows one Event of the watch. One that cannot be written is looked up later with the others of its pod.
func (m *Mirror) said(ctx context.Context, event *corev1.Event) {
	pod := types.NamespacedName{Namespace: event.InvolvedObject.Namespace, Name: event.InvolvedObject.Name}
	mirror := m.Shown(pod)
	if mirror == nil || !About(event, mirror, m.Cluster) {
		return
	}
	if err := m.show(ctx, event, mirror); err != nil {
		m.Look(pod)
	}
}

func (m *Mirror) work(ctx context.Context) {
	for {
		namespace, stopped := m.queue.Get()
		if stopped {
			return
		}
		if ctx.Err() == nil {
			m.look(ctx, namespace)
		}
		m.queue.Done(namespace)
	}
}

// look shows what was said so far of the pods of a namespace that wait for that, and notes when that is next to be done.
func (m *Mirror) look(ctx context.Context, namespace string) {
	m.mu.Lock()
	pods := m.waiting[namespace]
	delete(m.waiting, namespace)
	m.mu.Unlock()
	mirrors, left := map[types.UID]*corev1.Pod{}, []string{}
	for name := range pods {
		if mirror := m.Shown(types.NamespacedName{Namespace: namespace, Name: name}); mirror != nil {
			mirrors[types.UID(mirror.Labels[stellarflow.LabelMirrorOf])] = mirror
		} else { // or not yet
			left = append(left, name)
		}
	}
	failed, err := m.read(ctx, namespace, mirrors)
	if err != nil && ctx.Err() == nil {
		m.Log.V(1).Info("events of pods are not shown", "cluster", m.Cluster, "namespace", namespace, "error", wec.Plain(err))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range append(left, failed...) {
		if _, asked := m.waiting[namespace][name]; !asked && pods[name]+1 < tries {
			m.wait(namespace, name, pods[name]+1)
		}
	}
	switch {
	case len(m.waiting[namespace]) == 0:
		m.queue.Forget(namespace)
	case err != nil:
		m.queue.AddRateLimited(namespace)
	default:
		m.queue.Forget(namespace)
		m.queue.AddAfter(namespace, gather)
	}
}

// read shows what was said so far of pods of one namespace, given their mirrors by the UIDs of the real ones. It returns the names of those
// for which that failed, and why.
func (m *Mirror) read(ctx context.Context, namespace string, mirrors map[types.UID]*corev1.Pod) ([]string, error) {
	options := metav1.ListOptions{FieldSelector: ofPods, Limit: page}
	failed := map[string]error{}
	for n := 0; len(mirrors) > 0 && n < pages && (n == 0 || options.Continue != ""); n++ {
		asking, cancel := context.WithTimeout(ctx, wec.RequestTimeout)
		list, err := m.WEC.Events(namespace).List(asking, options)
		cancel()
		if err != nil {
			for _, mirror := range mirrors {
				failed[mirror.Name] = fmt.Errorf("list the events of namespace %s on %q: %w", namespace, m.Cluster, err)
			}
			break
		}
		options.Continue = list.Continue
		for i := range list.Items[:min(len(list.Items), page)] {
			event := &list.Items[i]
			mirror := mirrors[event.InvolvedObject.UID]
			if mirror == nil || failed[mirror.Name] != nil || !About(event, mirror, m.Cluster) {
				continue
			}
			if err := m.show(ctx, event, mirror); err != nil {
				failed[mirror.Name] = err
			}
		}
	}
	for _, err := range failed {
		return slices.Collect(maps.Keys(failed)), err // one tells enough
	}
	return nil, nil
}

// show writes one Event to the hub, if it says more than what was written of it before.
func (m *Mirror) show(ctx context.Context, event *corev1.Event, mirror *corev1.Pod) error {
	want, key := Render(*event, mirror, m.Cluster), keyOf(mirror, event.UID)
	m.writing.Lock()
	defer m.writing.Unlock()
	before, known, full := m.before(mirror.UID, key)
	if known && !Newer(before, want) || !known && full {
		return nil
	}
	if err := m.limiter.Wait(ctx); err != nil {
		return fmt.Errorf("write an event about pod %s/%s: %w", mirror.Namespace, mirror.Name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, wec.RequestTimeout)
	defer cancel()
	if err := m.write(ctx, want, known); err != nil {
		return fmt.Errorf("write an event about pod %s/%s: %w", mirror.Namespace, mirror.Name, err)
	}
	m.remember(mirror.UID, key, Remember(want))
	return nil
}

// before returns what was written of an Event, whether anything was, and whether its mirror has as many as it may have.
func (m *Mirror) before(mirror types.UID, event key) (written Written, known, full bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ofMirror := m.written[mirror]
	written, known = ofMirror[event]
	return written, known, len(ofMirror) >= maxEvents
}

// remember notes what was written of an Event.
func (m *Mirror) remember(mirror types.UID, event key, written Written) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, known := m.written[mirror][event]; !known {
		if m.entries >= maxWritten {
			clear(m.written)
			m.entries = 0
		}
		m.entries++
	}
	if m.written[mirror] == nil {
		m.written[mirror] = map[key]Written{}
	}
	m.written[mirror][event] = written
}

// write creates an Event on the hub, or patches the one that is there. A manager before this one may have made it, and it may have
// expired: Events live for an hour. In a namespace that is gone, or goes, nothing is to be written.
func (m *Mirror) write(ctx context.Context, want *corev1.Event, exists bool) error {
	events := m.Hub.Events(want.Namespace)
	for range 2 { // it comes or goes meanwhile
		if !exists {
			_, err := events.Create(ctx, want, metav1.CreateOptions{})
			if !apierrors.IsAlreadyExists(err) {
				return unlessGone(err)
			}
		}
		patch, err := json.Marshal(map[string]any{"count": want.Count, "lastTimestamp": want.LastTimestamp, "message": want.Message})
		if err != nil {
			return fmt.Errorf("encode it: %w", err)
		}
		if _, err = events.Patch(ctx, want.Name, types.MergePatchType, patch, metav1.PatchOptions{}); !apierrors.IsNotFound(err) {
			return err
		}
		exists = false
	}
	return nil
}

func unlessGone(err error) error {
	if apierrors.IsNotFound(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	return err
}
