package placement

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/lru"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/bindingpolicy"
	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/cluster"
	"stellarflow.io/stellarflow/pkg/hub/heartbeat"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
	"stellarflow.io/stellarflow/pkg/hub/inventory"
	"stellarflow.io/stellarflow/pkg/hub/metrics"
	"stellarflow.io/stellarflow/pkg/hub/tombstone"
)

// Events on hub copies.
const (
	eventPlaced   = "Placed"
	eventWaiting  = "WaitingForCluster"
	eventRestored = "PlacementRestored"
	eventRefused  = "ClusterRefused"
	eventCleaned  = "CopiedKeysRemoved"
	eventDeparted = "ClusterLeft"
	eventUnfit    = "NotPlaced"
	eventStopped  = "Stopped"
)

// Events on hub copies that a person asked something of.
const (
	eventAbandoned      = "Abandoned"
	eventMoved          = "Moved"
	eventRequestRefused = "RequestRefused"
)

const (
	// unsettled is how long to wait for the first probes after a start.
	unsettled = 500 * time.Millisecond
	// lookAgain is how often a waiting Workflow is looked at without a reason; changes bring it at once.
	lookAgain = time.Minute
)

// Fleet is what placement asks of the connections.
type Fleet interface {
	inventory.Connections
	FindByHubUID(types.UID) (cluster.State, *metav1.PartialObjectMetadata, error)
	Settled() bool
}

// Reconciler places Workflows.
type Reconciler struct {
	Hub *hubcopy.Store
	// Cache reads policies, clusters, namespaces and Workflow metadata; Live reads pods.
	Cache, Live client.Reader
	Fleet       Fleet
	// Profile says whether a Workflow has to be suspended to be placed, and stays so; shared if empty.
	Profile    stellarflow.Profile
	Tombstones *tombstone.Store
	Recorder   record.EventRecorder
	Now        func() time.Time
	// RestoredAt returns when the hub was restored from a backup, zero if it never was; nil for never.
	RestoredAt func() time.Time
	// Skew returns how far the clock of the hub's API server is ahead of Now; nil for not at all.
	Skew func() time.Duration
	// Recorded is told of each placement that was stored and of a time before that; nil for nobody.
	Recorded func(stellarflow.Placement, time.Time)
	// Metrics count and time placements; nil for none.
	Metrics *metrics.Metrics
	// Beats are told of each pass, for the health check; nil for nobody.
	Beats *heartbeat.Beats

	assumed assumed
	local   local
}

// local remembers which Workflows a full read showed not to be ours, by UID and generation.
type local struct {
	once  sync.Once
	known *lru.Cache
}

const localKnown = 10_000

func (l *local) cache() *lru.Cache {
	l.once.Do(func() { l.known = lru.New(localKnown) })
	return l.known
}

func (l *local) is(workflow metav1.Object) bool {
	generation, found := l.cache().Get(workflow.GetUID())
	return found && generation == workflow.GetGeneration()
}

func (l *local) add(workflow metav1.Object) {
	l.cache().Add(workflow.GetUID(), workflow.GetGeneration())
}

// Reconcile places one Workflow if it is to be placed.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	defer r.Beats.Begin("placement of "+request.String(), r.Now())()
	workflow, err := r.Hub.Cached(ctx, request.NamespacedName)
	if err != nil || workflow == nil {
		return ctrl.Result{}, err
	}
	result, err := r.reconcile(ctx, request.NamespacedName, workflow)
	if errors.Is(err, cluster.ErrAmbiguous) {
		result, err = r.ambiguous(ctx, request.NamespacedName, workflow, err)
	}
	if errors.Is(err, hubcopy.ErrLostRace) {
		return ctrl.Result{RequeueAfter: 10 * time.Millisecond}, nil
	}
	if why := refusedHere(err); why != "" { // not even a message can be written
		r.Recorder.Eventf(workflow, corev1.EventTypeWarning, eventUnfit, "%s", why)
		return ctrl.Result{RequeueAfter: lookAgain}, nil
	}
	if err == nil && result.RequeueAfter != unsettled {
		r.Metrics.Looked(workflow.UID) // after a record nothing is remembered of it
	}
	return result, err
}

func (r *Reconciler) reconcile(ctx context.Context, key types.NamespacedName, workflow *metav1.PartialObjectMetadata) (ctrl.Result, error) {
	placement, placed := stellarflow.PlacementOf(workflow)
	if placed {
		r.assumed.drop(workflow.UID)
	}
	switch _, asked := workflow.Annotations[stellarflow.AnnotationRequest]; {
	case placed && r.Profile != stellarflow.ProfileDedicated && stellarflow.FollowsWECCopy(workflow): // before anything else
		return ctrl.Result{}, r.keepSuspended(ctx, key, workflow)
	case asked:
		return r.answer(ctx, key, workflow, placement)
	case placed && stellarflow.Abandoned(workflow) && !stellarflow.Completed(workflow): // retried here, where nothing of it runs
		return ctrl.Result{}, r.abandon(ctx, key, placement)
	case placed && stellarflow.Completed(workflow) && workflow.DeletionTimestamp != nil:
		return ctrl.Result{RequeueAfter: lookAgain}, r.departed(ctx, key, workflow, placement)
	}
	if placed {
		return ctrl.Result{}, r.refuseIntents(ctx, key, workflow, placement)
	}
	if _, adopts := workflow.Annotations[stellarflow.AnnotationAdopts]; adopts {
		return r.adopt(ctx, key, workflow)
	}
	r.Metrics.Arrived(workflow.UID, r.Now())
	return r.place(ctx, key, workflow)
}

func (r *Reconciler) place(ctx context.Context, key types.NamespacedName, workflow *metav1.PartialObjectMetadata) (ctrl.Result, error) {
	copied := carriesKeys(workflow)
	var q request
	if (!stellarflow.Completed(workflow) || r.failedAtSight(workflow)) && workflow.DeletionTimestamp == nil && !r.local.is(workflow) {
		var err error
		if q, err = r.observe(ctx, workflow); err != nil {
			return ctrl.Result{}, err
		}
	}
	if !copied && !q.selected {
		return ctrl.Result{}, nil
	}
	if !r.Fleet.Settled() {
		return ctrl.Result{RequeueAfter: unsettled}, nil
	}
	if restored, err := r.restore(ctx, key, workflow); restored || err != nil {
		return ctrl.Result{}, err
	}
	if q.selected {
		if result, ours, err := r.placeSelected(ctx, key, workflow.UID, q); ours || err != nil {
			return result, err
		}
	}
	if copied {
		return ctrl.Result{}, r.disown(ctx, key, workflow)
	}
	return ctrl.Result{}, nil
}

// placeSelected decides about a Workflow that a policy selects, from a live read, and reports whether it is ours.
func (r *Reconciler) placeSelected(ctx context.Context, key types.NamespacedName, uid types.UID, q request) (ctrl.Result, bool, error) {
	live, err := r.unplaced(ctx, key, uid)
	if err != nil || live == nil {
		return ctrl.Result{}, true, err
	}
	ours, err := r.ours(ctx, live)
	if err != nil {
		return ctrl.Result{}, false, err
	}
	if !ours {
		r.local.add(live)
		if why := unreadable(live); why != "" {
			r.Recorder.Eventf(live, corev1.EventTypeWarning, eventUnfit, "%s", why)
		}
		return ctrl.Result{}, false, nil
	}
	result, err := r.decide(ctx, live, q)
	return result, true, err
}

// request is what one decision is made from.
type request struct {
	selected  bool
	policies  []v1alpha1.BindingPolicy
	workflow  bindingpolicy.Workflow
	inventory []bindingpolicy.Cluster
}

// hidden reports whether a policy lets nobody see the pods of what it places, or, without a name, any one that may have placed the Workflow.
func (q request) hidden(policy string) bool {
	for i := range q.policies {
		one := &q.policies[i]
		selected, _ := bindingpolicy.Selects(one, q.workflow)
		if stellarflow.HidesPods(one) && (one.Name == policy || policy == "" && selected) {
			return true
		}
	}
	return false
}

// observe reads policies and namespace; only a Workflow that a policy selects costs more than that.
func (r *Reconciler) observe(ctx context.Context, workflow metav1.Object) (request, error) {
	var policies v1alpha1.BindingPolicyList
	if err := r.Cache.List(ctx, &policies); err != nil {
		return request{}, fmt.Errorf("list the binding policies: %w", err)
	}
	q := request{policies: policies.Items, workflow: bindingpolicy.Workflow{Namespace: workflow.GetNamespace(), Name: workflow.GetName(), Labels: workflow.GetLabels()}}
	if len(q.policies) == 0 {
		return q, nil
	}
	namespace := stellarflow.NewNamespaceMetadata()
	if err := r.Cache.Get(ctx, types.NamespacedName{Name: workflow.GetNamespace()}, namespace); err != nil {
		return q, fmt.Errorf("read namespace %q: %w", workflow.GetNamespace(), err)
	}
	q.workflow.NamespaceLabels = namespace.Labels
	for i := range q.policies {
		if selected, _ := bindingpolicy.Selects(&q.policies[i], q.workflow); selected {
			q.selected = true
		}
	}
	if !q.selected {
		return q, nil
	}
	var err error
	q.inventory, err = inventory.List(ctx, r.Cache, r.Fleet)
	return q, err
}

// unplaced reads a Workflow that the cache shows without a record. It is nil if it is gone, replaced or placed by now: the cache will
// show it. Another manager may have placed it, a leader that was taken for dead or the one before us; its copy may run already.
func (r *Reconciler) unplaced(ctx context.Context, key types.NamespacedName, uid types.UID) (*unstructured.Unstructured, error) {
	live, err := r.Hub.Live(ctx, key)
	if err != nil || live == nil || live.GetUID() != uid {
		return nil, err
	}
	if _, placed := stellarflow.PlacementOf(live); placed {
		return nil, nil //nolint:nilnil // as in hubcopy.Store.Live
	}
	return live, nil
}

// ours reports whether a selected Workflow is to run elsewhere and has not started here.
func (r *Reconciler) ours(ctx context.Context, live *unstructured.Unstructured) (bool, error) {
	meant := stellarflow.Suspended(live) || r.Profile == stellarflow.ProfileDedicated && untouched(live)
	if live.GetDeletionTimestamp() != nil || !meant || started(live) {
		return false, nil
	}
	if stellarflow.Completed(live) && (!r.failedAtSight(live) || !unbegun(live)) {
		return false, nil
	}
	var pods corev1.PodList // whole ones: whether a pod is a mirrored one its Node says
	err := r.Live.List(ctx, &pods, client.InNamespace(live.GetNamespace()), client.MatchingLabels{stellarflow.ArgoLabelWorkflow: live.GetName()})
	if err != nil {
		return false, fmt.Errorf("list the pods of workflow %s/%s: %w", live.GetNamespace(), live.GetName(), err)
	}
	return !ran(pods.Items, live.GetUID()), nil
}

// decide chooses a cluster and records it, or says why there is none.
func (r *Reconciler) decide(ctx context.Context, live *unstructured.Unstructured, q request) (ctrl.Result, error) {
	if why := heldBack(r.createdAt(live), r.restoredAt()); why != "" {
		return ctrl.Result{RequeueAfter: lookAgain}, r.wait(ctx, live, why)
	}
	if asked := stellarflow.Shutdown(live); asked != "" {
		return ctrl.Result{}, r.stop(ctx, live, asked)
	}
	synchronization, err := r.synchronization(ctx, live) // once: what is checked is what is held
	if err != nil {
		return ctrl.Result{}, err
	}
	if why := deadlocked(synchronization); why != "" {
		return ctrl.Result{RequeueAfter: lookAgain}, r.wait(ctx, live, why)
	}
	decision := r.assumed.decide(live.GetUID(), q.inventory, func(clusters []bindingpolicy.Cluster) bindingpolicy.Decision {
		return bindingpolicy.Resolve(q.policies, q.workflow, clusters)
	})
	if decision.Cluster == "" {
		again := lookAgain
		if stellarflow.Completed(live) { // it is young only for a while, and no change brings it back
			again = young / 10
		}
		return ctrl.Result{RequeueAfter: again}, r.wait(ctx, live, decision.Message())
	}
	placement := stellarflow.Placement{Policy: decision.Policy, Cluster: decision.Cluster, Attempt: 1, Hidden: q.hidden(decision.Policy)}
	if err := r.record(ctx, live, placement, synchronization); err != nil {
		r.assumed.drop(live.GetUID())
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, nil
}

// stop ends a Workflow that is to be stopped or terminated and that certainly runs nowhere.
func (r *Reconciler) stop(ctx context.Context, live *unstructured.Unstructured, strategy string) error {
	operations := append(hubcopy.Unchanged(live), hubcopy.Maps(live)...)
	operations = append(operations, hubcopy.Set(live, "annotations", map[string]*string{
		stellarflow.AnnotationWaiting: nil, stellarflow.AnnotationSync: nil, stellarflow.AnnotationRequest: nil,
	})...)
	written, err := r.Hub.Patch(ctx, keyOf(live), append(operations, r.Hub.Stopped(live, strategy, r.Now())...)...)
	if err == nil {
		r.Recorder.Eventf(written, corev1.EventTypeNormal, eventStopped, "ended before it was created on a cluster, as spec.shutdown: %s asks", strategy)
	}
	return err
}

// wait says why a Workflow is not placed. One that the hub's controller has failed stays so, with an event: it would end it again as often as
// that is said in its status.
func (r *Reconciler) wait(ctx context.Context, live *unstructured.Unstructured, why string) error {
	if stellarflow.Completed(live) {
		r.Recorder.Eventf(live, corev1.EventTypeWarning, eventWaiting, "%s", why)
		return nil
	}
	written, err := r.Hub.SayPending(ctx, live, why)
	if err == nil && written != nil {
		r.Recorder.Eventf(written, corev1.EventTypeWarning, eventWaiting, "%s", why)
	}
	return err
}

// record writes a placement, of which Policy, Cluster, Attempt and Refused are decided, from a live object that nobody has changed since, with the
// locks that the hub's controller takes for it.
func (r *Reconciler) record(ctx context.Context, live *unstructured.Unstructured, placement stellarflow.Placement, synchronization wfv1.Synchronization) error {
	connection, found := r.Fleet.Get(placement.Cluster)
	if !found || connection.State().ID() == "" {
		return fmt.Errorf("place workflow %s/%s on %q: its connection ended", live.GetNamespace(), live.GetName(), placement.Cluster)
	}
	placement.UID, placement.ClusterID, placement.Time = live.GetUID(), connection.State().ID(), r.Now().UTC().Truncate(time.Second)
	message := fmt.Sprintf("placed on cluster %s by policy %s", placement.Cluster, placement.Policy)
	locks, err := r.locks(ctx, live, synchronization)
	if err != nil {
		return err
	}
	operations := append(hubcopy.Unchanged(live), keys(live, placement)...)
	if stellarflow.Completed(live) {
		operations = append(operations, unfailed(live)...)
	}
	operations = append(operations, hubcopy.Pending(live, message)...)
	operations = append(operations, lockOperations(live, locks)...)
	operations = append(operations, r.suspension(live)...)
	if r.Profile == stellarflow.ProfileDedicated && placement.Attempt == 1 { // what was asked since then counts in later attempts
		begins, err := r.begins(live)
		if err != nil {
			return err
		}
		operations = append(operations, begins...)
	}
	arrived, began := r.Metrics.ArrivedAt(placement.UID), r.Now()
	written, err := r.Hub.Patch(ctx, client.ObjectKeyFromObject(live), operations...)
	if err != nil {
		return err
	}
	if r.Recorded != nil {
		r.Recorded(placement, began)
	}
	r.Metrics.Placed(placement.UID, arrived, r.Now())
	r.Recorder.Eventf(written, corev1.EventTypeNormal, eventPlaced, "placed on cluster %s by policy %s, attempt %s", placement.Cluster, placement.Policy, strconv.Itoa(placement.Attempt))
	return nil
}

// keys returns the operations that put a placement on an object: label, annotations and finalizer. The finalizer by which Argo
// removes a Workflow's artifacts goes: the hub's controller puts it on at first sight of a suspended Workflow (argo-workflows
// controller/artifact_gc.go, addArtifactGCFinalizer), and would, once it has ended, remove the artifacts with pods here, or keep it
// for ever. The WEC's controller does that with the WEC copy.
func keys(object metav1.Object, placement stellarflow.Placement) []hubcopy.Operation {
	cluster, record, observed := string(placement.Cluster), placement.String(), ""
	operations := append(hubcopy.Maps(object), hubcopy.Set(object, "labels", map[string]*string{stellarflow.LabelCluster: &cluster})...)
	operations = append(operations, hubcopy.Set(object, "annotations", map[string]*string{
		stellarflow.AnnotationPlacement: &record, stellarflow.AnnotationObserved: &observed,
		stellarflow.AnnotationSync: nil, stellarflow.AnnotationWaiting: nil, stellarflow.AnnotationRequest: nil, stellarflow.AnnotationAbandoned: nil,
		stellarflow.AnnotationAdopts: nil, stellarflow.AnnotationDependencies: nil,
	})...)
	if placement.Attempt == 1 { // what was asked of another Workflow came with a copy of it
		operations = append(operations, hubcopy.Set(object, "annotations", map[string]*string{
			stellarflow.AnnotationIntents: nil, stellarflow.AnnotationRefused: nil, stellarflow.AnnotationActions: nil, stellarflow.AnnotationSuspended: nil,
		})...)
	}
	operations = append(operations, hubcopy.AddFinalizer(object, stellarflow.FinalizerCleanup)...)
	return append(operations, hubcopy.RemoveFinalizer(object, stellarflow.ArgoFinalizerArtifactGC)...)
}
