package chaos

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/test/chaos/history"
)

// argo is a simulated Argo controller: it moves every Workflow of its cluster that is not suspended through its phases, by updates of
// the whole object, terminal status and completed label in one; it ignores a deletionTimestamp until spec.shutdown says Terminate
// (argo-workflows v3.7.18 workflow/controller/operator.go). What it is told comes from the recorder, its writes go to the API server.
type argo struct {
	ctx     context.Context //nolint:containedctx // the life of the controller
	cluster string
	seed    uint64
	objects dynamic.Interface
	skew    atomic.Int64 // nanoseconds that its clock is wrong by
	running chan struct{}

	mu    sync.Mutex
	lives map[string]*life // by UID
	seq   atomic.Int64
}

// life is one Workflow that the controller looks after.
type life struct {
	latest    *unstructured.Unstructured
	scheduled bool
}

// parallel is how many Workflows a controller writes at once.
const parallel = 8

func newArgo(ctx context.Context, cluster string, seed uint64, objects dynamic.Interface) *argo {
	return &argo{ctx: ctx, cluster: cluster, seed: seed, objects: objects, running: make(chan struct{}, parallel), lives: map[string]*life{}}
}

// observe is told of every change.
func (a *argo) observe(object *unstructured.Unstructured, gone bool) {
	if object.GetLabels()[history.LabelDecoy] != "" {
		return
	}
	uid := string(object.GetUID())
	a.mu.Lock()
	defer a.mu.Unlock()
	if gone {
		delete(a.lives, uid)
		return
	}
	if a.lives[uid] == nil {
		a.lives[uid] = &life{}
	}
	a.lives[uid].latest = object
	a.schedule(uid, a.delay(object))
}

// forgetAll is called when the cluster's etcd was replaced: what was known is not so any more.
func (a *argo) forgetAll() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lives = map[string]*life{}
}

// schedule asks for a look at a Workflow, unless one is due already. The caller holds the lock.
func (a *argo) schedule(uid string, after time.Duration) {
	known := a.lives[uid]
	if known == nil || known.scheduled {
		return
	}
	known.scheduled = true
	time.AfterFunc(after, func() {
		select {
		case a.running <- struct{}{}:
		case <-a.ctx.Done():
			return
		}
		defer func() { <-a.running }()
		again := a.look(uid)
		a.mu.Lock()
		defer a.mu.Unlock()
		if known := a.lives[uid]; known != nil {
			known.scheduled = false
			if again > 0 {
				a.schedule(uid, again)
			}
		}
	})
}

// lots are drawn for a Workflow by its name, so that the same seed gives it the same life; its namespace is another in each run.
func (a *argo) lots(object *unstructured.Unstructured) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(object.GetName()))
	return rand.New(rand.NewPCG(a.seed, h.Sum64()))
}

func (a *argo) delay(object *unstructured.Unstructured) time.Duration {
	return 20*time.Millisecond + time.Duration(a.lots(object).Int64N(int64(800*time.Millisecond)))
}

// look does what is next for a Workflow and returns after how long to look again, zero for when it changes.
func (a *argo) look(uid string) time.Duration {
	a.mu.Lock()
	known := a.lives[uid]
	var object *unstructured.Unstructured
	if known != nil {
		object = known.latest
	}
	a.mu.Unlock()
	if object == nil || a.ctx.Err() != nil {
		return 0
	}
	const retry = 100 * time.Millisecond
	next := a.next(object)
	if next == nil {
		return 0
	}
	_, err := a.objects.Resource(stellarflow.Workflows).Namespace(next.GetNamespace()).Update(a.ctx, next, metav1.UpdateOptions{})
	switch {
	case err == nil:
		return a.delay(object)
	case apierrors.IsNotFound(err), apierrors.IsForbidden(err) && object.GetLabels()[stellarflow.LabelCluster] != "":
		return 0 // the guard; an API server that has just started forbids for other reasons too
	}
	return retry
}

// next returns what the controller makes of a Workflow, nil if it leaves it alone.
func (a *argo) next(object *unstructured.Unstructured) *unstructured.Unstructured {
	suspended, _, _ := unstructured.NestedBool(object.Object, "spec", "suspend")
	if stellarflow.Completed(object) {
		return nil
	}
	lots := a.lots(object)
	next := object.DeepCopy()
	if suspended {
		return a.onSuspended(next, lots)
	}
	phase, _, _ := unstructured.NestedString(object.Object, "status", "phase")
	nodes, _, _ := unstructured.NestedMap(object.Object, "status", "nodes")
	shutdown, _, _ := unstructured.NestedString(object.Object, "spec", "shutdown")
	steps := 1 + lots.IntN(3)
	end := []string{"Succeeded", "Succeeded", "Failed", "Error"}[lots.IntN(4)]
	switch {
	case shutdown != "":
		a.write(next, "Failed", len(nodes), "stopped with strategy '"+shutdown+"'")
	case phase == "Running" && len(nodes) >= steps:
		a.write(next, end, len(nodes), end)
	default:
		a.write(next, "Running", len(nodes)+1, "running")
	}
	return next
}

// onSuspended starts the clock of a suspended Workflow: on a WEC always, and sometimes, since it is none of its business, on the hub. There it
// finds of one that is mirrored from elsewhere that the pods are missing. The guard refuses that.
func (a *argo) onSuspended(object *unstructured.Unstructured, lots *rand.Rand) *unstructured.Unstructured {
	phase, _, _ := unstructured.NestedString(object.Object, "status", "phase")
	switch {
	case a.cluster != history.Hub && phase == "":
		nodes, _, _ := unstructured.NestedMap(object.Object, "status", "nodes")
		a.write(object, "Running", len(nodes), "suspended")
		return object
	case a.cluster != history.Hub || lots.IntN(3) > 0:
		return nil
	case phase == "" && object.GetLabels()[stellarflow.LabelCluster] == "":
		_ = unstructured.SetNestedField(object.Object, "Running", "status", "phase")
		_ = unstructured.SetNestedField(object.Object, a.now(), "status", "startedAt")
		return object
	case phase == "Running" && object.GetLabels()[stellarflow.LabelCluster] != "":
		a.write(object, "Error", 1, "pod deleted")
		return object
	}
	return nil
}

func (a *argo) now() string {
	return time.Now().Add(time.Duration(a.skew.Load())).UTC().Format(time.RFC3339)
}

// write fills in a status with a message that no other status has.
func (a *argo) write(object *unstructured.Unstructured, phase string, nodes int, what string) {
	completed := phase != "Running"
	where := "runs on " + a.cluster
	if a.cluster == history.Hub && what != "pod deleted" {
		where = history.RanOnHub
	}
	all := map[string]any{}
	for i := range nodes {
		id, ended := fmt.Sprintf("%s-%d", object.GetName(), i), "Succeeded"
		if completed && i == nodes-1 { // what a retry runs again
			ended = phase
		}
		all[id] = map[string]any{"id": id, "name": id, "displayName": id, "type": "Pod", "phase": ended, "templateName": "main", "startedAt": a.now()}
	}
	status := map[string]any{
		"phase": phase, "message": fmt.Sprintf("%s: %s, write %d, copy %s", where, what, a.seq.Add(1), object.GetUID()),
		"startedAt": a.now(), "progress": fmt.Sprintf("%d/%d", nodes, nodes), "nodes": all,
	}
	labels := object.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[stellarflow.ArgoLabelPhase], labels[stellarflow.ArgoLabelCompleted] = phase, "false"
	if completed {
		labels[stellarflow.ArgoLabelCompleted], status["finishedAt"] = "true", a.now()
	}
	object.SetLabels(labels)
	object.Object["status"] = status
}
