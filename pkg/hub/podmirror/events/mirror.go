package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	// maxEvents is how many Events a mirror gets, and how many are read at once: Kubernetes counts what happens again in one.
	maxEvents = 100
	// maxMirrors is of how many mirrors it is remembered what was written. Above it all is forgotten, which costs writes that change nothing.
	maxMirrors = 10_000
	// again is how long after the end of a watch the next one begins; refusedAgain if it was refused.
	again, refusedAgain = time.Second, time.Minute
	// A pod that cannot be looked at is looked at again after 200 ms at first, and given up after so many tries: what is said of it later is
	// shown all the same.
	firstBackoff, lastBackoff, tries = 200 * time.Millisecond, 10 * time.Second, 8
)

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
	queue   workqueue.TypedRateLimitingInterface[types.NamespacedName] // pods whose Events so far are to be read

	mu      sync.Mutex // held while an Event is written: one at a time, so that none goes back
	written map[types.UID]map[string]*corev1.Event
}

// New returns one that Run starts.
func New(options Options) *Mirror {
	return &Mirror{
		Options: options, limiter: flowcontrol.NewTokenBucketRateLimiter(writes, burst), written: map[types.UID]map[string]*corev1.Event{},
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](firstBackoff, lastBackoff)),
	}
}

// Look asks for what was said of a pod before its mirror was made: whoever makes a mirror calls it. It does not block, and Shown need not know
// the mirror yet.
func (m *Mirror) Look(pod types.NamespacedName) { m.queue.Add(pod) }

// Run follows the Events until ctx ends.
func (m *Mirror) Run(ctx context.Context) {
	var group sync.WaitGroup
	group.Go(func() { m.work(ctx) })
	version := ""
	for ctx.Err() == nil {
		pause := again
		var err error
		if version, err = m.follow(ctx, version); err != nil && ctx.Err() == nil {
			m.Log.V(1).Info("events are not followed", "cluster", m.Cluster, "error", wec.Plain(err))
			if apierrors.IsForbidden(err) { // doctor says which right it is
				pause = refusedAgain
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	m.queue.ShutDown()
	group.Wait()
}

// follow watches the Events about pods from a resourceVersion on, and from now on if that is empty: what was said before is then looked up
// for each mirror. It returns from where to go on when the watch has ended.
func (m *Mirror) follow(ctx context.Context, version string) (string, error) {
	ofPods := fields.OneTermEqualSelector("involvedObject.kind", "Pod").String()
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
		m.queue.AddRateLimited(pod)
	}
}

func (m *Mirror) work(ctx context.Context) {
	for {
		pod, stopped := m.queue.Get()
		if stopped {
			return
		}
		err := m.look(ctx, pod)
		switch {
		case err == nil, ctx.Err() != nil, m.queue.NumRequeues(pod) >= tries:
			m.queue.Forget(pod)
		default:
			m.queue.AddRateLimited(pod)
		}
		if err != nil && ctx.Err() == nil {
			m.Log.V(1).Info("events of a pod are not shown", "cluster", m.Cluster, "pod", pod, "error", wec.Plain(err))
		}
		m.queue.Done(pod)
	}
}

// errNotShown says that the cache does not have a mirror, or not yet.
var errNotShown = errors.New("its mirror is not known here")

// look shows what was said of a pod so far.
func (m *Mirror) look(ctx context.Context, pod types.NamespacedName) error {
	mirror := m.Shown(pod)
	if mirror == nil {
		return errNotShown
	}
	asking, cancel := context.WithTimeout(ctx, wec.RequestTimeout)
	defer cancel()
	list, err := m.WEC.Events(pod.Namespace).List(asking, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("involvedObject.uid", mirror.Labels[labelMirrorOf]).String(), Limit: maxEvents,
	})
	if err != nil {
		return fmt.Errorf("list the events of pod %s on %q: %w", pod, m.Cluster, err)
	}
	for i := range list.Items[:min(len(list.Items), maxEvents)] {
		if event := &list.Items[i]; About(event, mirror, m.Cluster) {
			if err := m.show(ctx, event, mirror); err != nil {
				return err
			}
		}
	}
	return nil
}

// show writes one Event to the hub, if it says more than what was written of it before.
func (m *Mirror) show(ctx context.Context, event *corev1.Event, mirror *corev1.Pod) error {
	want := Render(*event, mirror, m.Cluster)
	m.mu.Lock()
	defer m.mu.Unlock()
	ofMirror := m.written[mirror.UID]
	before, known := ofMirror[want.Name]
	if known && !Newer(before, want) || !known && len(ofMirror) >= maxEvents {
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
	if ofMirror == nil {
		if len(m.written) >= maxMirrors {
			clear(m.written)
		}
		ofMirror = map[string]*corev1.Event{}
		m.written[mirror.UID] = ofMirror
	}
	ofMirror[want.Name] = &corev1.Event{LastTimestamp: want.LastTimestamp, Count: want.Count}
	return nil
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
