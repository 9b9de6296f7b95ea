package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/flowcontrol"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/cleanup"
	"stellarflow.io/stellarflow/pkg/hub/cluster"
	"stellarflow.io/stellarflow/pkg/hub/downsync"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
	"stellarflow.io/stellarflow/pkg/hub/inventory"
	"stellarflow.io/stellarflow/pkg/hub/metrics"
	"stellarflow.io/stellarflow/pkg/hub/tombstone"
	"stellarflow.io/stellarflow/pkg/hub/upsync"
)

// Events on hub copies.
const (
	eventCreated  = "CreatedOnCluster"
	eventSkipped  = "TransformSkipped"
	eventVanished = "WECCopyVanished"
)

// retryRefused is how often a WEC that refused is asked again while no other cluster can take the Workflow.
const retryRefused = 30 * time.Second

// believed is how often a WEC copy is looked at that only our own last write shows: if it is gone, no event will tell.
const believed = time.Second

// Placer decides where a Workflow goes that a WEC does not take.
type Placer interface {
	// Refused is told what a WEC said, and whether it is certain that nothing of this attempt is there.
	Refused(ctx context.Context, key types.NamespacedName, placement stellarflow.Placement, why string, certain bool) error
	// Move places a Workflow elsewhere whose copy certainly is nowhere, as a person asked.
	Move(ctx context.Context, workflow *metav1.PartialObjectMetadata, placement stellarflow.Placement) error
	// HoldBack says that nobody knows whether a Workflow has run before the hub was restored from a backup.
	HoldBack(ctx context.Context, key types.NamespacedName, placement stellarflow.Placement) error
	// Refuse says why what a person asked is not done.
	Refuse(ctx context.Context, workflow *metav1.PartialObjectMetadata, why string) error
}

// Fleet knows the WEC copies on all clusters.
type Fleet interface {
	// FindByHubUID returns the WEC copy of the highest attempt that says it belongs to a hub copy, and where it is; the error is a
	// cluster.ErrAmbiguous if there are two.
	FindByHubUID(uid types.UID) (cluster.State, *metav1.PartialObjectMetadata, error)
	// Settled reports whether every cluster was tried since the start.
	Settled() bool
}

// Syncer brings the two copies of a Workflow together, one step a pass. It is a cluster.Handler.
type Syncer struct {
	Hub      *hubcopy.Store
	Cache    client.Reader
	Creator  *downsync.Creator
	Mirrorer *upsync.Mirrorer
	Gone     *cleanup.Gone
	Placer   Placer
	Fleet    Fleet
	// Tombstones name WEC copies that are removed when they are seen.
	Tombstones *tombstone.Store
	Recorder   record.EventRecorder
	Log        logr.Logger
	Now        func() time.Time
	// Away limits the writes that say a cluster is unreachable, so that an outage is no storm on the hub.
	Away flowcontrol.RateLimiter
	// Silence is how long a WEC may be away before its Workflows say so.
	Silence time.Duration
	// RestoredAt returns when the hub was restored from a backup, zero if it never was; nil for never.
	RestoredAt func() time.Time
	// Metrics count and time the steps; nil for none.
	Metrics *metrics.Metrics

	memory sync.Map // types.UID of a hub copy -> memory
}

// Keys returns the hub copies on a cluster that something is left to do for: the unfinished, the deleted, the given-up and the asked ones. For
// the others a WEC copy in the watch is the reason to look.
func (s *Syncer) Keys(ctx context.Context, name stellarflow.ClusterName) ([]types.NamespacedName, error) {
	var keys []types.NamespacedName
	for _, value := range []string{string(name), inventory.Ending(name)} {
		items, err := inventory.Indexed(ctx, s.Cache, value)
		if err != nil {
			return nil, err
		}
		for i := range items {
			keys = append(keys, types.NamespacedName{Namespace: items[i].Namespace, Name: items[i].Name})
		}
	}
	stones, err := s.Tombstones.On(ctx, name)
	if err != nil {
		return nil, err
	}
	for _, t := range stones {
		keys = append(keys, t.Workflow)
	}
	return keys, nil
}

// Sync does the next step for a Workflow on a WEC.
func (s *Syncer) Sync(ctx context.Context, connection *cluster.Connection, key types.NamespacedName) (time.Duration, error) {
	connection.Lag.Begin(key)
	view, err := s.observe(ctx, connection, key)
	if err != nil {
		return 0, err
	}
	step, after := Next(view)
	if step != Orphaned && step != SayNameTaken && step != Adopt {
		connection.SetOrphan(ctx, key, false)
	}
	if step == Nothing {
		connection.Lag.End(key)
		if view.Hub == nil && view.WEC == nil {
			connection.Recent.Forget(key)
		}
		if after == 0 && connection.Believes(key) {
			after = believed
		}
		return after, nil
	}
	s.Log.V(1).Info("step", "cluster", connection.Name, "workflow", key, "step", step)
	after, err = s.act(ctx, connection, key, view, step)
	if errors.Is(err, hubcopy.ErrLostRace) {
		return 10 * time.Millisecond, nil // the caches will show what won; look again rather than back off
	}
	if err == nil && after == 0 && connection.Believes(key) {
		after = believed
	}
	if err != nil {
		s.Metrics.StepFailed(connection.Name, string(step))
		s.Log.Info("step failed", "cluster", connection.Name, "workflow", key, "step", step, "error", stellarflow.OneLine(err.Error(), maxSaid))
	}
	return after, err
}

func (s *Syncer) observe(ctx context.Context, connection *cluster.Connection, key types.NamespacedName) (View, error) {
	hubCopy, err := s.Hub.Cached(ctx, key)
	if err != nil {
		return View{}, err
	}
	state := connection.State()
	view := View{
		Hub: hubCopy, WEC: connection.WECCopy(key), Cluster: connection.Name, ClusterID: state.ID(),
		Connected: state.Connected, AwaySince: state.Since, Silence: s.Silence, Now: s.Now(),
		Dedicated: s.Mirrorer.Profile == stellarflow.ProfileDedicated,
	}
	if s.RestoredAt != nil {
		view.RestoredAt = s.RestoredAt()
	}
	if view.Tombstones, err = s.Tombstones.For(ctx, view.ClusterID, key); err != nil {
		return View{}, err
	}
	s.recall(ctx, &view)
	return view, nil
}

func (s *Syncer) act(ctx context.Context, c *cluster.Connection, key types.NamespacedName, v View, step Step) (time.Duration, error) {
	placement, _ := hubPlacement(v)
	switch step {
	case SayUnreachable, SayClusterChanged, SayDisowned, SayHeld, SayRestored:
		return s.tell(ctx, c, key, v, step)
	case SayNameTaken:
		return s.nameTaken(ctx, c, key, v, placement)
	case Create:
		return s.create(ctx, c, key, v, placement)
	case RecordSeen:
		return 0, s.recordSeen(ctx, key, v, placement)
	case RecordUID, Mirror:
		return s.mirror(ctx, c, key, v, placement)
	case ReleaseHarvest:
		return 0, s.onWEC(c, key, v.WEC)(cleanup.ReleaseHarvest(ctx, c.Clients.Metadata, v.WEC))
	case RestoreHarvest:
		return 0, s.onWEC(c, key, v.WEC)(cleanup.RestoreHarvest(ctx, c.Clients.Metadata, v.WEC))
	case DeleteWECCopy, Bury:
		return 0, s.onWEC(c, key, v.WEC)(cleanup.DeleteWECCopy(ctx, c.Clients.Metadata, v.WEC))
	case FinishCleanup, Vanished, RunAgain:
		return s.gone(ctx, c, key, v, placement, step)
	case Orphaned:
		return s.orphan(ctx, c, key, v)
	case Adopt:
		return s.adopt(ctx, c, key, v, placement)
	case Move:
		return s.move(ctx, c, key, v, placement)
	case FinishBurial, LiftTombstone:
		return s.endTombstone(ctx, c, key, v, step)
	case Nothing:
	}
	return 0, nil
}

// tell says on the hub copy what is in the way and who can do something about it; nothing changes on the cluster.
func (s *Syncer) tell(ctx context.Context, c *cluster.Connection, key types.NamespacedName, v View, step Step) (time.Duration, error) {
	placement, _ := hubPlacement(v)
	switch step {
	case SayUnreachable:
		consequence := "what is shown is the last known state"
		if v.Hub.DeletionTimestamp != nil {
			consequence = "it is being deleted and stays until its copy there is gone"
		}
		return 0, s.say(ctx, c, v, sayUnreachable, fmt.Sprintf("%s since %s: %s; %s",
			unreachable(c.Name), v.AwaySince.UTC().Format(time.RFC3339), c.State().Message, consequence))
	case SayClusterChanged:
		return retryRefused, s.say(ctx, c, v, sayChanged, fmt.Sprintf("behind the name %s is another cluster now than the one this Workflow was placed on: nothing is known of it; "+
			"bring the old cluster back, or give this Workflow up with `stellarflow abandon`", c.Name))
	case SayDisowned:
		return retryRefused, s.say(ctx, c, v, sayDisowned, fmt.Sprintf("the Workflow of this name on cluster %s does not say any more that it is the copy of this one: "+
			"put its annotations %s=%s and %s=%d back, or delete it there", c.Name, stellarflow.AnnotationHubUID, placement.UID, stellarflow.AnnotationAttempt, placement.Attempt))
	case SayHeld:
		return 0, s.sayHeld(ctx, c, v)
	default: // SayRestored
		return retryRefused, s.Placer.HoldBack(ctx, key, placement)
	}
}

func (s *Syncer) create(ctx context.Context, c *cluster.Connection, key types.NamespacedName, v View, placement stellarflow.Placement) (time.Duration, error) {
	target := downsync.Target{Name: c.Name, ID: v.ClusterID, Clients: c.Clients, Namespaces: c.Namespaces()}
	result, err := s.Creator.Create(ctx, target, key, placement)
	var refusal *downsync.Refusal
	if errors.As(err, &refusal) {
		s.Metrics.Refused(c.Name, refusal.Reason)
		since := c.State().LeaseSince
		after := retryRefused
		if pending := s.Creator.Attempts.Pending(placement, since, s.Now()); pending > 0 {
			after = min(after, pending)
		}
		return after, s.Placer.Refused(ctx, key, placement, refusal.Message, s.Creator.Attempts.Certain(placement, since, s.Now()))
	}
	if err != nil || result.WECCopy == nil {
		return 0, err
	}
	s.Metrics.Created(placement, s.Now())
	c.Recent.Put(result.WECCopy, s.Now())
	s.memory.Store(placement.UID, memory{attempt: placement.Attempt, seen: result.WECCopy.UID, createdAt: s.Now(), read: result.Generation})
	s.Recorder.Eventf(v.Hub, corev1.EventTypeNormal, eventCreated, "created on cluster %s", string(c.Name))
	for _, skipped := range result.Skipped {
		s.Recorder.Eventf(v.Hub, corev1.EventTypeWarning, eventSkipped, "%s", skipped.Error())
	}
	return uidGrace, nil
}

// mirror reads the WEC copy once and makes the hub copy show it.
func (s *Syncer) mirror(ctx context.Context, c *cluster.Connection, key types.NamespacedName, v View, placement stellarflow.Placement) (time.Duration, error) {
	wecCopy, err := upsync.Read(ctx, c.Clients.Core, key)
	if err == nil && !placement.Owns(&wecCopy.Metadata) {
		return time.Second, nil // replaced since the cache saw it: the watch will tell
	}
	if apierrors.IsNotFound(err) && c.Believes(key) { // only our own last write shows it: without that it is looked for as one that is gone
		c.Recent.Forget(key)
		return time.Millisecond, nil
	}
	var told shutdown
	var written *metav1.PartialObjectMetadata
	if err == nil {
		told, written, err = s.bothWays(ctx, c, v, upsync.Pass{Key: key, HubCopy: v.Hub, Placement: placement, WECCopy: wecCopy})
	}
	switch {
	case errors.Is(err, upsync.ErrNotMirrorable), errors.Is(err, upsync.ErrRestored):
		s.Metrics.NotMirrored(c.Name)
		c.Lag.End(key) // it is said
		return retryRefused, s.say(ctx, c, v, sayNotMirrored, fmt.Sprintf("what cluster %s says is not shown: %s", c.Name, err))
	case err != nil:
		return 0, fmt.Errorf("mirror from %q: %w", c.Name, err)
	}
	seen, shown := c.Lag.End(key), v.Hub
	if seen.IsZero() {
		seen = v.Now // this pass has read the change before its event came
	}
	if written != nil {
		shown = written
		if wecCopy.HasStatus() {
			s.Metrics.Mirrored(c.Name, seen, s.Now())
		}
	}
	if lingers(wecCopy) {
		return 0, s.onWEC(c, key, v.WEC)(cleanup.Terminate(ctx, c.Clients.Metadata, v.WEC, wecCopy.Spec.Shutdown, wecCopy.Spec.Suspend)) // not settled until this is done
	}
	if told.behind != nil {
		return told.again()
	}
	settled := View{Hub: shown, WEC: &metav1.PartialObjectMetadata{ObjectMeta: wecCopy.Metadata}}
	s.remember(placement, func(known *memory) {
		known.seen, known.createdAt, known.settled, known.read = wecCopy.Metadata.UID, v.CreatedAt, settled.Version(), v.Hub.Generation
		known.unseen = v.Unseen
	})
	return time.Millisecond, nil // the next step (releasing harvest, say) need not wait for an event
}

// lingers reports whether a WEC copy is deleted and will not end unless it is told to. It asks the copy that was read and not the cache's,
// which may be the older: what was read is settled then, and its event would bring no other pass.
func lingers(wecCopy upsync.WECCopy) bool {
	return wecCopy.Metadata.DeletionTimestamp != nil && !stellarflow.Completed(&wecCopy.Metadata) && (wecCopy.Spec.Shutdown == "" || wecCopy.Spec.Suspend)
}

// bothWays lets the WEC copy follow the hub copy's labels, annotations and spec.shutdown and what people ask of it, and the hub copy show
// the WEC copy.
func (s *Syncer) bothWays(ctx context.Context, c *cluster.Connection, v View, pass upsync.Pass) (shutdown, *metav1.PartialObjectMetadata, error) {
	said, err := s.passOnKeys(ctx, c, v, pass)
	if err != nil {
		return shutdown{}, nil, err
	}
	told, err := s.passOn(ctx, c, pass.Key, v, pass.WECCopy)
	if err != nil {
		return told, nil, err
	}
	asked := s.carryOut(ctx, c, v, pass)
	if asked.again {
		return told, nil, errAgain(pass.Key)
	}
	if told.behind == nil {
		told.behind = asked.failed
	}
	pass.Live, pass.Behind, pass.Sync, pass.Retried, pass.Settled = told.live, told.behind != nil, told.refused, told.retried, asked.settled
	if stellarflow.Completed(&pass.WECCopy.Metadata) { // it is not to be looked at again for this
		said = ""
	}
	if standing := v.Hub.Annotations[stellarflow.AnnotationSync]; pass.Behind && pass.Sync == "" && strings.HasPrefix(standing, keepsFailing(c.Name)) {
		pass.Sync = standing // until it does not
	}
	pass.Sync = cmp.Or(pass.Sync, said)
	written, err := s.Mirrorer.Mirror(ctx, pass)
	if err == nil {
		s.report(c, v, asked)
	}
	if told.behind == nil && said != "" {
		told.behind, told.refused = errors.New(said), said
	}
	return told, written, err
}

// errAgain says that a WEC copy was changed as the hub copy asks: it is read again before anything of it is shown.
func errAgain(key types.NamespacedName) error {
	return fmt.Errorf("workflow %s: %w: its copy was changed as the hub copy asks", key, hubcopy.ErrLostRace)
}

// onWEC remembers what a write on a WEC returned.
func (s *Syncer) onWEC(c *cluster.Connection, key types.NamespacedName, before *metav1.PartialObjectMetadata) func(*metav1.PartialObjectMetadata, error) error {
	return func(written *metav1.PartialObjectMetadata, err error) error {
		switch {
		case err != nil:
			return fmt.Errorf("workflow %s on %q: %w", key, c.Name, err)
		case written != nil && (written.DeletionTimestamp == nil || len(written.Finalizers) > 0) && written.UID == before.UID:
			c.Recent.Put(written, s.Now())
		}
		return nil
	}
}
