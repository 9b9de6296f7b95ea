package podmirror

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/cluster"
)

const (
	workers = 2
	// every is how often all pods are looked at although nothing has changed.
	every = 30 * time.Second
	// lasts is how long a watch is complete until it counts: who may list pods and not watch them sees each one complete for a moment.
	lasts = 10 * time.Second
	// A pod that keeps failing is tried again after 100 ms at first and never less often than every minute.
	firstBackoff, lastBackoff = 100 * time.Millisecond, time.Minute
)

// follow watches until the watch is lost, and returns why, or ctx ends. What the last one has shown is used until this one is complete. It begins
// when it is known which cluster it is: whose the pods are depends on that, and so which of many come first.
func (p *pods) follow(ctx context.Context) error {
	identified := func(context.Context) (bool, error) { return p.connection.State().ID() != "", nil }
	if wait.PollUntilContextCancel(ctx, firstBackoff, true, identified) != nil {
		return nil
	}
	watch, err := p.connection.Clients.NewPodWatch(p.queue.Add)
	if err != nil {
		p.unwatched(ctx, err)
		return err
	}
	ctx, end := context.WithCancel(ctx)
	defer end()
	go watch.Run(ctx)
	var lasted <-chan time.Time
	for {
		complete := watch.Complete()
		if p.watch.Load() == watch {
			complete = nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-watch.Lost():
			p.unwatched(ctx, watch.Err())
			return watch.Err()
		case <-complete:
			p.watch.Store(watch)
			p.enqueueAll(ctx)
			lasted = time.After(lasts)
		case <-lasted:
			p.watched(ctx)
		}
	}
}

// enqueueAll asks for a pass over every pod that is there or is shown.
func (p *pods) enqueueAll(ctx context.Context) {
	p.endAccess(ctx)
	if watch := p.watch.Load(); watch != nil {
		for _, pod := range watch.List() {
			if _, ours := p.owner(ctx, pod); ours {
				p.queue.Add(client.ObjectKeyFromObject(pod))
			}
		}
	}
	p.known.Lock()
	known := slices.Concat(slices.Collect(maps.Keys(p.read)), slices.Collect(maps.Keys(p.deleted)), slices.Collect(maps.Keys(p.passed)))
	p.known.Unlock()
	for _, key := range slices.Concat(p.mirrors(ctx), p.unseen.of(p.connection.Name), known) { // what has gone meanwhile is forgotten
		p.queue.Add(key)
	}
}

// enqueueWorkflow asks for a pass over the pods of a Workflow.
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
	// while the WEC is away there may be these only
	for _, key := range p.mirrors(ctx, client.InNamespace(at.workflow.Namespace), client.MatchingLabels{stellarflow.ArgoLabelWorkflow: at.workflow.Name}) {
		p.queue.Add(key)
	}
}

// enqueue asks for a pass over one pod of a WEC.
func (m *Mirrorer) enqueue(name stellarflow.ClusterName, pod types.NamespacedName) {
	if p := m.of(name); p != nil {
		p.queue.Add(pod)
	}
}

// queue has the pods that wait for a pass, by Rank.
type queue = priorityqueue.PriorityQueue[types.NamespacedName]

func newQueue() queue {
	return priorityqueue.New("", func(o *priorityqueue.Opts[types.NamespacedName]) {
		o.RateLimiter = workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](firstBackoff, lastBackoff)
	})
}

// work does what is in a queue until ctx ends, and ends the queue. That is not done while a worker waits for a pod: the queue may
// then give one to it that it does not take any more, and lets nobody else go on (controller-runtime v0.24.1 pkg/controller/priorityqueue,
// handleReadyItems). So each worker gets one more thing, and ends.
func work(ctx context.Context, q queue, do func(ctx context.Context, key types.NamespacedName, rank int)) {
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for key, rank, _ := q.GetWithPriority(); ctx.Err() == nil; key, rank, _ = q.GetWithPriority() {
				do(ctx, key, rank)
				q.Done(key)
			}
		})
	}
	<-ctx.Done()
	for i := range workers {
		q.Add(types.NamespacedName{Name: strconv.Itoa(i)})
	}
	group.Wait()
	q.ShutDown()
}

// do makes one pass.
func (p *pods) do(ctx context.Context, key types.NamespacedName, rank int) {
	after, err := p.pass(ctx, key, rank)
	if err != nil {
		p.Log.V(1).Info("pod is not mirrored", "cluster", p.connection.Name, "pod", key, "error", oneLine(err.Error()))
		p.queue.AddRateLimited(key)
		return
	}
	if after > 0 { // how often it has failed is forgotten when it is shown, not while it waits
		p.queue.AddAfter(key, after)
	}
}

// pass does the next step for a pod, and returns after how long to look again (zero: when something changes). A Show that can wait is put
// back first: whoever asks for a pass does so with rank 0.
func (p *pods) pass(ctx context.Context, key types.NamespacedName, rank int) (after time.Duration, err error) {
	defer cluster.Survive(ctx, &err)
	view, owner, err := p.observe(ctx, key)
	if err != nil {
		return 0, err
	}
	if view.Real == nil && view.Complete {
		p.forget(key, view.Now)
	}
	step, after := Next(view)
	switch step {
	case Show:
		return p.showInTurn(ctx, key, view, owner, rank)
	case Remove:
		p.shown(key)
		p.sayNotPassedOn(key, view, owner)
		return 0, p.remove(ctx, view.Mirror)
	case Clear:
		return 0, p.clear(ctx, view.Mirror)
	case Delete:
		err := p.passOn(ctx, key, view, owner)
		p.failed(key, err)
		return 0, err
	case Taken:
		p.refused(owner, key, nameTaken)
		return every, nil
	case Nothing:
		if !view.Removed { // else it is on its way out, and made again
			p.shown(key)
		}
	}
	return after, nil
}

// showInTurn shows a pod, unless it was refused lately, can wait until others are shown, or was written about a moment ago.
func (p *pods) showInTurn(ctx context.Context, key types.NamespacedName, view View, owner *metav1.PartialObjectMetadata, rank int) (time.Duration, error) {
	p.sayNotPassedOn(key, view, owner)
	if wait := view.Refused.Until.Sub(view.Now); wait > 0 {
		if view.Refused.Why != "" {
			p.refused(owner, key, view.Refused.Why) // what was said may have been of a pod that has gone
		}
		return wait, nil
	}
	if now := Rank(view); rank == 0 && now < 0 {
		p.queue.AddWithOpts(priorityqueue.AddOpts{Priority: &now}, key)
		return 0, nil
	}
	if wait := p.wait(key, view.Now); wait > 0 {
		return wait, nil
	}
	return p.show(ctx, key, view, owner)
}
