package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/test/chaos/history"
	"stellarflow.io/stellarflow/test/chaos/recorder"
)

// plan is what people do with one Workflow; Plan draws it from the seed.
type plan struct {
	name, namespace string
	// to is the label that a policy selects; empty for a Workflow that is the hub's own.
	to string
	// deleteAfter, if not zero, is when somebody deletes it on the hub whatever it does; otherwise it goes keep after its end, if
	// that is not zero.
	deleteAfter, keep time.Duration
	// again: it is created anew under the same name after it was deleted.
	again bool
	// hub and wec are what else is done on each side, asks what the Workflow is asked to do where it runs, after a while.
	hub, wec, asks    string
	hubT, wecT, asksT time.Duration
}

// What people do, other than creating and deleting.
const (
	doResume  = "resume"
	doRelabel = "relabel"
	doTouch   = "touch"
	doCopy    = "copy"
	doStop    = "stop"
	doDelete  = "delete"
	doForce   = "force"
	doRetry   = "retry"
	doSwitch  = "switch"
)

// plans draws n plans.
func plans(seed uint64, n int, namespaces []string) []plan {
	lots := rand.New(rand.NewPCG(seed, 2))
	all := make([]plan, n)
	some := func(most time.Duration) time.Duration { return time.Duration(lots.Int64N(int64(most))) }
	for i := range all {
		p := plan{name: fmt.Sprintf("wf-%05d", i), namespace: namespaces[lots.IntN(len(namespaces))]}
		p.to = []string{"cluster1", "cluster1", "cluster2", "cluster2", "any", "any", "any", ""}[lots.IntN(8)]
		if lots.IntN(5) == 0 {
			p.deleteAfter = some(4 * time.Second)
			p.again = lots.IntN(3) == 0
		} else if lots.IntN(5) > 0 {
			p.keep = 1 + some(3*time.Second)
		}
		if lots.IntN(6) == 0 {
			p.hub, p.hubT = []string{doResume, doRelabel, doTouch, doCopy, doStop}[lots.IntN(5)], some(2*time.Second)
		}
		if lots.IntN(6) == 0 {
			p.wec, p.wecT = []string{doDelete, doForce, doRetry, doSwitch}[lots.IntN(4)], some(2*time.Second)
		}
		if p.to != "" && lots.IntN(2) == 0 {
			p.asks, p.asksT = asks[lots.IntN(len(asks))], some([]time.Duration{50 * time.Millisecond, time.Second}[lots.IntN(2)])
			if lots.IntN(4) > 0 { // it is left for that
				p.deleteAfter, p.keep, p.again = 0, 0, false
			}
		}
		all[i] = p
	}
	return all
}

// people carry out the plans. They talk to the API servers themselves, and try again while these are away.
type people struct {
	ctx     context.Context //nolint:containedctx // the life of the run
	log     *recorder.Log
	hub     dynamic.Interface
	wecs    map[string]dynamic.Interface
	started sync.WaitGroup
	// asking are those who ask something of a Workflow, as long as nobody has told them to stop.
	asking sync.WaitGroup
	asked  context.Context //nolint:containedctx // the part of the run in which people ask
	enough context.CancelFunc

	mu     sync.Mutex
	latest map[string]map[string]*unstructured.Unstructured // cluster, namespace/name -> the Workflow, decoys left out
}

func newPeople(ctx context.Context, log *recorder.Log, hub dynamic.Interface, wecs map[string]dynamic.Interface) *people {
	p := &people{ctx: ctx, log: log, hub: hub, wecs: wecs, latest: map[string]map[string]*unstructured.Unstructured{history.Hub: {}}}
	p.asked, p.enough = context.WithCancel(ctx)
	for name := range wecs {
		p.latest[name] = map[string]*unstructured.Unstructured{}
	}
	return p
}

// observe is told of every change.
func (p *people) observe(cluster string, object *unstructured.Unstructured, gone bool) {
	if object.GetLabels()[history.LabelDecoy] != "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if gone {
		delete(p.latest[cluster], object.GetNamespace()+"/"+object.GetName())
	} else {
		p.latest[cluster][object.GetNamespace()+"/"+object.GetName()] = object
	}
}

// forgetAll is called when a cluster's etcd was replaced.
func (p *people) forgetAll(cluster string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.latest[cluster] = map[string]*unstructured.Unstructured{}
}

func (p *people) get(cluster, namespace, name string) *unstructured.Unstructured {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.latest[cluster][namespace+"/"+name]
}

// list returns the Workflows of a cluster.
func (p *people) list(cluster string) []*unstructured.Unstructured {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]*unstructured.Unstructured, 0, len(p.latest[cluster]))
	for _, object := range p.latest[cluster] {
		all = append(all, object)
	}
	return all
}

// unfinished counts the hub copies that have not ended.
func (p *people) unfinished() int {
	n := 0
	for _, object := range p.list(history.Hub) {
		if !stellarflow.Completed(object) && object.GetDeletionTimestamp() == nil {
			n++
		}
	}
	return n
}

// persist tries until it works or the run ends. A Workflow that is gone, or that may not be changed so, is an answer.
func (p *people) persist(deed func() error) { persist(p.ctx, deed) }

func persist(ctx context.Context, deed func() error) {
	for ctx.Err() == nil {
		err := deed()
		if err == nil || apierrors.IsNotFound(err) || apierrors.IsForbidden(err) || apierrors.IsInvalid(err) {
			return
		}
		_ = pause(ctx, 100*time.Millisecond)
	}
}

// live carries out one plan, until the Workflow was deleted or is left to the end of the run.
func (p *people) live(plan plan) {
	p.create(plan, plan.name)
	p.started.Go(func() { p.onHub(plan) })
	p.started.Go(func() { p.onWEC(plan) })
	p.asking.Go(func() { p.ask(plan) })
	p.started.Go(func() {
		switch {
		case plan.deleteAfter > 0:
			_ = pause(p.ctx, plan.deleteAfter)
		case plan.keep > 0:
			p.until(func() bool {
				w := p.get(history.Hub, plan.namespace, plan.name)
				return w == nil || stellarflow.Completed(w)
			})
			_ = pause(p.ctx, plan.keep)
		default:
			return
		}
		p.delete(plan.namespace, plan.name)
		if plan.again {
			p.until(func() bool { return p.get(history.Hub, plan.namespace, plan.name) == nil })
			p.create(plan, plan.name)
		}
	})
}

// until waits for something, or the end of the run.
func (p *people) until(what func() bool) { until(p.ctx, what) }

func until(ctx context.Context, what func() bool) {
	for ctx.Err() == nil && !what() {
		_ = pause(ctx, 50*time.Millisecond)
	}
}

// heldPrefix begins the name of a namespace where the hub holds what policies select: nobody suspends it there.
const heldPrefix = "held-"

// newWorkflow is what people create.
func newWorkflow(namespace, name, to string) *unstructured.Unstructured {
	labels, spec := map[string]any{}, map[string]any{
		"entrypoint": "main", "templates": []any{map[string]any{"name": "main", "container": map[string]any{"image": "busybox"}}},
	}
	if to != "" {
		labels["kubestellar.io/cluster"] = to
		if !strings.HasPrefix(namespace, heldPrefix) {
			spec["suspend"] = true
		}
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": map[string]any{"name": name, "namespace": namespace, "labels": labels}, "spec": spec,
	}}
}

func (p *people) create(plan plan, name string) {
	w := newWorkflow(plan.namespace, name, plan.to)
	if held := strings.HasPrefix(plan.namespace, heldPrefix) && plan.to != ""; held && plan.hub != doResume {
		labels := w.GetLabels()
		labels[history.LabelHeld] = "true"
		w.SetLabels(labels)
	}
	p.persist(func() error { return p.createOnce(w) })
}

// createOnce tries to create a Workflow.
func (p *people) createOnce(w *unstructured.Unstructured) error {
	_, err := p.hub.Resource(stellarflow.Workflows).Namespace(w.GetNamespace()).Create(p.ctx, w, metav1.CreateOptions{})
	switch {
	case apierrors.IsAlreadyExists(err):
		return nil // of a try whose answer was lost
	case apierrors.IsForbidden(err):
		return errors.New(err.Error()) // nobody was there to hold it: it says that it is to be tried again
	}
	return err
}

func (p *people) delete(namespace, name string) {
	p.persist(func() error {
		return p.hub.Resource(stellarflow.Workflows).Namespace(namespace).Delete(p.ctx, name, metav1.DeleteOptions{})
	})
}

func (p *people) patch(client dynamic.Interface, namespace, name, patch string) {
	p.persist(func() error {
		_, err := client.Resource(stellarflow.Workflows).Namespace(namespace).Patch(p.ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		return err
	})
}

// onHub does on the hub what the plan says besides.
func (p *people) onHub(plan plan) {
	if plan.hub == "" || pause(p.ctx, plan.hubT) != nil {
		return
	}
	switch plan.hub {
	case doResume:
		p.patch(p.hub, plan.namespace, plan.name, `{"spec":{"suspend":null}}`)
	case doRelabel:
		p.patch(p.hub, plan.namespace, plan.name, `{"metadata":{"labels":{"kubestellar.io/cluster":"cluster2"}}}`)
	case doTouch:
		p.patch(p.hub, plan.namespace, plan.name, `{"metadata":{"annotations":{"a-user":"was here"}},"spec":{"priority":1}}`)
	case doStop:
		p.patch(p.hub, plan.namespace, plan.name, `{"spec":{"shutdown":"Stop"}}`)
	case doCopy: // as `kubectl get -o yaml`, renamed and created: our keys come along
		if w := p.get(history.Hub, plan.namespace, plan.name); w != nil {
			copied := newWorkflow(plan.namespace, plan.name+"-copy", plan.to)
			copied.SetAnnotations(w.GetAnnotations())
			labels := w.GetLabels()
			delete(labels, stellarflow.ArgoLabelCompleted)
			delete(labels, stellarflow.ArgoLabelPhase)
			copied.SetLabels(labels)
			p.persist(func() error { return p.createOnce(copied) })
		}
	}
}

// onWEC does on the cluster where it runs what the plan says.
func (p *people) onWEC(plan plan) {
	if plan.wec == "" {
		return
	}
	cluster, copied := p.findOnWEC(plan)
	if copied == nil || pause(p.ctx, plan.wecT) != nil {
		return
	}
	workflows := p.wecs[cluster].Resource(stellarflow.Workflows).Namespace(plan.namespace)
	uid := metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(copied.GetUID()))}
	switch plan.wec {
	case doDelete:
		p.persist(func() error { return ignoreConflict(workflows.Delete(p.ctx, plan.name, uid)) })
	case doForce:
		p.log.Acted(cluster, string(copied.GetUID()), history.ActForced)
		p.persist(func() error { return ignoreConflict(workflows.Delete(p.ctx, plan.name, uid)) })
		p.patch(p.wecs[cluster], plan.namespace, plan.name, fmt.Sprintf(`{"metadata":{"uid":%q,"finalizers":null}}`, copied.GetUID()))
	case doSwitch:
		if w := p.get(cluster, plan.namespace, plan.name); w != nil && w.GetUID() == copied.GetUID() {
			p.persist(func() error { return p.switchOnWEC(cluster, w, !stellarflow.Suspended(w)) })
		}
	case doRetry: // as `argo retry` on the WEC
		p.until(func() bool {
			w := p.get(cluster, plan.namespace, plan.name)
			return w == nil || stellarflow.Completed(w)
		})
		_ = pause(p.ctx, plan.wecT/2) // ends early with the run
		if w := p.get(cluster, plan.namespace, plan.name); w != nil && w.GetUID() == copied.GetUID() && w.GetDeletionTimestamp() == nil {
			p.log.Acted(cluster, string(w.GetUID()), history.ActRetried)
			p.patch(p.wecs[cluster], plan.namespace, plan.name, fmt.Sprintf(
				`{"metadata":{"uid":%q,"resourceVersion":%q,"labels":{"workflows.argoproj.io/completed":"false","workflows.argoproj.io/phase":"Running"}},`+
					`"status":{"phase":"Running","message":"%s, copy %s","finishedAt":null,"nodes":null}}`, w.GetUID(), w.GetResourceVersion(), history.RetriedThere, w.GetUID()))
		}
	}
}

// findOnWEC waits for the WEC copy of a plan; nil if the hub copy went or finished without one.
func (p *people) findOnWEC(plan plan) (cluster string, found *unstructured.Unstructured) {
	p.until(func() bool {
		for name := range p.wecs {
			if w := p.get(name, plan.namespace, plan.name); w != nil && w.GetAnnotations()[stellarflow.AnnotationHubUID] != "" {
				cluster, found = name, w
				return true
			}
		}
		w := p.get(history.Hub, plan.namespace, plan.name)
		return w == nil || stellarflow.Completed(w)
	})
	return cluster, found
}

// ignoreConflict: another object has the name now.
func ignoreConflict(err error) error {
	var status apierrors.APIStatus
	if errors.As(err, &status) && apierrors.IsConflict(err) {
		return nil
	}
	return err
}
