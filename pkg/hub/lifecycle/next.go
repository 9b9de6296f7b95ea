package lifecycle

import (
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/downsync"
	"stellarflow.io/stellarflow/pkg/hub/tombstone"
)

// Step is what comes next for a Workflow on a WEC.
type Step string

// The steps. Each is repeated until the views show that it is done.
const (
	// Nothing: both copies say what they should, or the Workflow is none of this WEC's business.
	Nothing Step = "Nothing"
	// SayUnreachable: the WEC has been away too long to keep silent on the hub copy.
	SayUnreachable Step = "SayUnreachable"
	// SayClusterChanged: behind the cluster's name is another cluster than the placement was made for.
	SayClusterChanged Step = "SayClusterChanged"
	// SayNameTaken: another of our Workflows has this name on the WEC.
	SayNameTaken Step = "SayNameTaken"
	// SayDisowned: the object with the recorded UID does not say any more that it is this Workflow's copy.
	SayDisowned Step = "SayDisowned"
	// SayRestored: the hub was restored from a backup since the placement, and no WEC copy is there: whether it has run is unknown.
	SayRestored Step = "SayRestored"
	// Create: placed, never seen on the WEC.
	Create Step = "Create"
	// RecordUID: created, but its UID is not in the placement yet and no status came to bring it along.
	RecordUID Step = "RecordUID"
	// RecordSeen: a WEC copy was seen, is not there any more, and its UID is not in the placement: it goes there before anything else.
	RecordSeen Step = "RecordSeen"
	// Mirror: the WEC copy or the hub copy differs from what was last observed, labels or annotations changed on the hub, or the WEC copy is
	// deleted there while it runs.
	Mirror Step = "Mirror"
	// ReleaseHarvest: the hub holds the terminal status; the WEC copy may go.
	ReleaseHarvest Step = "ReleaseHarvest"
	// RestoreHarvest: the WEC copy runs again (a retry there) and must not vanish unseen.
	RestoreHarvest Step = "RestoreHarvest"
	// RunAgain: a retry is asked for, and the WEC copy is gone.
	RunAgain Step = "RunAgain"
	// DeleteWECCopy: the hub copy is being deleted.
	DeleteWECCopy Step = "DeleteWECCopy"
	// SayHeld: the hub copy is being deleted, and somebody else's finalizer holds the WEC copy too long to keep silent.
	SayHeld Step = "SayHeld"
	// FinishCleanup: the hub copy is being deleted and the WEC copy seems gone.
	FinishCleanup Step = "FinishCleanup"
	// Vanished: the WEC copy was seen once and seems gone, unfinished as far as the hub knows.
	Vanished Step = "Vanished"
	// Orphaned: a WEC copy of our origin that no hub copy in the cache claims.
	Orphaned Step = "Orphaned"
	// Adopt: the hub was restored from a backup to before a later attempt, whose copy is there: the record is brought to that.
	Adopt Step = "Adopt"
	// Move: a person asks for another cluster, and the WEC copy was never seen.
	Move Step = "Move"
	// Bury: the WEC copy belongs to a Workflow that was given up.
	Bury Step = "Bury"
	// FinishBurial: the WEC copy that a tombstone names seems gone.
	FinishBurial Step = "FinishBurial"
	// LiftTombstone: a tombstone names the copy of a Workflow that was not given up after all.
	LiftTombstone Step = "LiftTombstone"
)

const (
	// Silence is how long a WEC may be away before its unfinished Workflows say so (DESIGN.md §4, Unreachable).
	Silence = 60 * time.Second
	// uidGrace is how long the UID of a new WEC copy waits for a first status to travel with (DESIGN.md §4, Downsync).
	uidGrace = 100 * time.Millisecond
	// maxForgotten is by how many attempts a WEC copy may be ahead of the record of a restored hub.
	maxForgotten = 100
)

// View is what is known of one Workflow on one WEC when a step is chosen. Nothing in it is changed.
type View struct {
	// Hub and WEC are the cached metadata of the copies, nil if there is none.
	Hub, WEC *metav1.PartialObjectMetadata
	// Cluster is the WEC, ClusterID its identity by the last probe.
	Cluster   stellarflow.ClusterName
	ClusterID types.UID
	// Connected is false while the WEC cannot be used, since AwaySince.
	Connected bool
	AwaySince time.Time
	// CreatedAt is when this process created the WEC copy, zero if it did not.
	CreatedAt time.Time
	// Seen is the UID of a WEC copy of this attempt that this process created or saw, empty if there was none.
	Seen types.UID
	// Observed is what the hub copy says that it was last written from, zero if it does not.
	Observed stellarflow.Observed
	// Settled is the WEC and hub version (see Version) for which a pass found nothing to write.
	Settled string
	// Unseen says why pods of it are not shown on the hub, Said what the last pass of this process said of that.
	Unseen, Said string
	// Outlived says that the hub copy still says of pods that they are not shown and Unseen is empty; Waits, that not all of them have been looked
	// at: after a restart nothing of them is known for a while.
	Outlived, Waits bool
	// Tried is how this process last tried to pass labels and annotations on.
	Tried TriedKeys
	// Read is the generation of the hub copy whose spec the WEC copy is known to follow, zero if this process knows of none.
	Read int64
	// RestoredAt is when the hub was restored from a backup, zero if it never was.
	RestoredAt time.Time
	// Dedicated says that the hub copy's spec.suspend shall be as the WEC copy's.
	Dedicated bool
	// Tombstones name WEC copies of this name on this WEC that were given up.
	Tombstones []tombstone.Tombstone
	// Silence is how long a WEC may be away before that is said.
	Silence time.Duration
	Now     time.Time
}

// Version identifies the two objects of a view as far as a mirror pass depends on them.
func (v View) Version() string {
	if v.Hub == nil || v.WEC == nil {
		return ""
	}
	return string(v.WEC.UID) + "/" + v.WEC.ResourceVersion + "/" + strconv.FormatInt(v.Hub.Generation, 10)
}

// Next returns the next step for a view, and for Nothing after how long to look again (zero: when something changes).
func Next(v View) (Step, time.Duration) {
	step, after := next(v)
	if _, void := v.void(); void && v.Hub.Annotations[stellarflow.AnnotationRequest] != stellarflow.RequestAbandon {
		return LiftTombstone, 0
	}
	stone, found := v.stone()
	if !v.Connected || !found {
		return step, after
	}
	switch covered := stone.Covers(v.WEC); {
	case covered && (v.WEC.DeletionTimestamp == nil || slices.Contains(v.WEC.Finalizers, stellarflow.FinalizerHarvest)):
		return Bury, 0
	case covered && step == Orphaned: // deleted, and held by somebody else's finalizer
		return Nothing, 0
	case !covered && (step == Nothing || step == Create || step == SayRestored):
		return FinishBurial, 0
	}
	return step, after
}

// void returns a tombstone of a Workflow that was not given up after all.
func (v View) void() (tombstone.Tombstone, bool) {
	i := slices.IndexFunc(v.Tombstones, func(t tombstone.Tombstone) bool { return t.Void(v.Hub) })
	if i < 0 {
		return tombstone.Tombstone{}, false
	}
	return v.Tombstones[i], true
}

// stone returns the tombstone that counts now: the one of the WEC copy, or the first if it is none's.
func (v View) stone() (tombstone.Tombstone, bool) {
	standing := slices.DeleteFunc(slices.Clone(v.Tombstones), func(t tombstone.Tombstone) bool { return t.Void(v.Hub) })
	if len(standing) == 0 {
		return tombstone.Tombstone{}, false
	}
	return standing[max(0, slices.IndexFunc(standing, func(t tombstone.Tombstone) bool { return t.Covers(v.WEC) }))], true
}

func next(v View) (Step, time.Duration) {
	placement, placed := hubPlacement(v)
	switch {
	case v.Hub == nil && v.WEC == nil, !placed && v.WEC == nil:
		return Nothing, 0
	case !v.Connected:
		return whileAway(v, placed)
	case !placed:
		return Orphaned, 0
	case placement.ClusterID != v.ClusterID:
		if v.done() {
			return Nothing, 0
		}
		return SayClusterChanged, 0
	case v.WEC == nil:
		return withoutWECCopy(v, placement), 0
	case !placement.Owns(v.WEC):
		return withForeignCopy(v, placement), 0
	case v.Hub.DeletionTimestamp != nil:
		return whileDeleting(v)
	}
	return withBoth(v, placement)
}

// whileDeleting decides while the hub copy is being deleted and its own WEC copy is there.
func whileDeleting(v View) (Step, time.Duration) {
	if v.WEC.DeletionTimestamp == nil || slices.Contains(v.WEC.Finalizers, stellarflow.FinalizerHarvest) {
		return DeleteWECCopy, 0
	}
	if wait := v.Silence - v.Now.Sub(v.Hub.DeletionTimestamp.Time); wait > 0 {
		return Nothing, wait
	}
	return SayHeld, 0
}

func hubPlacement(v View) (stellarflow.Placement, bool) {
	if v.Hub == nil {
		return stellarflow.Placement{}, false
	}
	placement, ok := stellarflow.PlacementOf(v.Hub)
	return placement, ok && placement.Cluster == v.Cluster && !stellarflow.Abandoned(v.Hub)
}

// ifAsked returns the step for an ended Workflow whose WEC copy is not there.
func (v View) ifAsked() Step {
	if v.Hub.Annotations[stellarflow.AnnotationIntents] != "" {
		return RunAgain
	}
	return Nothing
}

// done reports whether a hub copy waits for nothing from its cluster.
func (v View) done() bool {
	return stellarflow.Completed(v.Hub) && v.Hub.DeletionTimestamp == nil && v.Hub.Annotations[stellarflow.AnnotationIntents] == ""
}

// asked reports whether a person asks for another cluster.
func (v View) asked() bool {
	return v.Hub.Annotations[stellarflow.AnnotationRequest] == stellarflow.RequestMove
}

func whileAway(v View, placed bool) (Step, time.Duration) {
	if !placed || v.done() || strings.HasPrefix(v.Hub.Annotations[stellarflow.AnnotationSync], unreachable(v.Cluster)) {
		return Nothing, 0
	}
	if wait := v.Silence - v.Now.Sub(v.AwaySince); wait > 0 {
		return Nothing, wait
	}
	return SayUnreachable, 0
}

// unreachable is how the sync annotation of a Workflow on a cluster that is away begins.
func unreachable(name stellarflow.ClusterName) string {
	return "cluster " + string(name) + " cannot be reached"
}

func withoutWECCopy(v View, placement stellarflow.Placement) Step {
	switch {
	case v.Hub.DeletionTimestamp != nil:
		return FinishCleanup
	case stellarflow.Completed(v.Hub):
		return v.ifAsked()
	case placement.WECUID != "":
		return Vanished
	case v.Seen != "":
		return RecordSeen
	case !v.RestoredAt.IsZero() && !placement.Time.After(v.RestoredAt):
		return SayRestored
	case v.asked():
		return Move
	}
	return Create
}

// withForeignCopy decides while the name is held by an object that is not, or says that it is not, this placement's copy. A hub
// copy whose WEC copy was seen once never becomes Pending again.
func withForeignCopy(v View, placement stellarflow.Placement) Step {
	if step := withAnotherCopy(v, placement); step != Nothing {
		return step
	}
	seen, ending, ended := placement.WECUID != "", v.Hub.DeletionTimestamp != nil, stellarflow.Completed(v.Hub)
	switch {
	case seen && v.WEC.UID != placement.WECUID: // ours is gone and what is there came later: recreated, or restored from a backup
		return withoutWECCopy(v, placement)
	case ending && !seen:
		return FinishCleanup
	case ended && !ending:
		return v.ifAsked()
	case seen:
		return SayDisowned
	case v.Seen != "":
		return RecordSeen
	case v.asked():
		return Move
	}
	return SayNameTaken
}

// withAnotherCopy decides while the name is held by another object than the recorded one that says it is a copy of this Workflow: of the
// same attempt if somebody made it anew there, or a manager died before it was told of the first; of a later one if the hub was restored
// from a backup. It is Nothing if that makes no difference.
func withAnotherCopy(v View, placement stellarflow.Placement) Step {
	if v.WEC.UID == placement.WECUID || v.WEC.Annotations[stellarflow.AnnotationHubUID] != string(placement.UID) {
		return Nothing
	}
	attempt, err := strconv.Atoi(v.WEC.Annotations[stellarflow.AnnotationAttempt])
	same := err == nil && attempt == placement.Attempt
	ending, ended := v.Hub.DeletionTimestamp != nil, stellarflow.Completed(v.Hub)
	switch {
	case err == nil && v.forgot(placement, attempt):
		return Adopt
	case same && ending:
		return DeleteWECCopy
	case same && ended, ended && !ending && v.ifAsked() == Nothing: // nobody shows it: a person has to know
		return Orphaned
	}
	return Nothing
}

// forgot reports whether this hub was restored from a backup to before an attempt that is on the cluster of the record. Only then is a
// WEC believed that there has been one, and only on that cluster: at any other time the hub's record is what counts. A retry that the
// backup has, and that made this attempt, is recorded as it was the first time (see retried).
func (v View) forgot(placement stellarflow.Placement, attempt int) bool {
	ahead := attempt - placement.Attempt
	if v.RestoredAt.IsZero() || placement.Time.After(v.RestoredAt) || ahead < 1 || ahead > maxForgotten {
		return false
	}
	retried := stellarflow.Completed(v.Hub) && v.Hub.DeletionTimestamp == nil && v.ifAsked() == RunAgain
	return ahead > 1 || !retried
}

func withBoth(v View, placement stellarflow.Placement) (Step, time.Duration) {
	if placement.WECUID == "" {
		if _, hasPhase := v.WEC.Labels[stellarflow.ArgoLabelPhase]; !hasPhase {
			if wait := uidGrace - v.Now.Sub(v.CreatedAt); wait > 0 {
				return Nothing, wait
			}
			return RecordUID, 0
		}
		return Mirror, 0
	}
	held := slices.Contains(v.WEC.Finalizers, stellarflow.FinalizerHarvest)
	ended := stellarflow.Completed(v.WEC)
	if v.toMirror() {
		return Mirror, 0
	}
	switch {
	case held && ended && stellarflow.Completed(v.Hub):
		return ReleaseHarvest, 0
	case !held && !ended && v.WEC.DeletionTimestamp == nil:
		return RestoreHarvest, 0
	case v.keysBehind(): // after the harvest: a WEC that refuses this must not keep that
		return Mirror, 0
	}
	if wait := v.keysWait(); wait > 0 || !v.Waits || ended {
		return Nothing, wait
	}
	return Nothing, retryRefused
}

// toMirror reports whether a pass has something to do before anything else.
func (v View) toMirror() bool {
	ended := stellarflow.Completed(v.WEC)
	dying := v.WEC.DeletionTimestamp != nil && !ended // a pass sees to it that it is terminated, mirrored or not
	return v.Settled != v.Version() && (dying || !mirrored(v)) || v.toAnswer() || !ended && (v.keysBehind() || v.unsaid())
}

// unsaid reports whether the hub copy says something else of pods that are not shown than is known.
func (v View) unsaid() bool {
	if v.Unseen == "" {
		return v.Outlived && !v.Waits
	}
	return v.Unseen != v.Said
}

// keysDiffer reports whether labels or annotations of the hub copy have changed since the WEC copy was given them. A copy that an earlier
// version created does not say what it was given; if it has ended it is left alone.
func (v View) keysDiffer() bool {
	given, known := v.WEC.Annotations[stellarflow.AnnotationPassedOn]
	return v.WEC.DeletionTimestamp == nil && (known || !stellarflow.Completed(v.WEC)) && given != downsync.Keys(v.Hub)
}

// keysBehind reports whether they are to be passed on now.
func (v View) keysBehind() bool { return v.keysDiffer() && !v.rests(downsync.Keys(v.Hub)) }

// keysWait returns after how long they are passed on if not now, zero for never.
func (v View) keysWait() time.Duration {
	if !v.keysDiffer() || v.Tried.Ended && stellarflow.Completed(v.WEC) {
		return 0
	}
	return max(0, v.Tried.Until.Sub(v.Now))
}

// rests reports whether passing on what a note says was tried, and is not tried again yet.
func (v View) rests(note string) bool {
	return v.Tried.Note == note && (v.Tried.Ended && stellarflow.Completed(v.WEC) || v.Now.Before(v.Tried.Until))
}

// toAnswer reports whether a pass has something to do for what the hub copy itself says.
func (v View) toAnswer() bool {
	said := v.Hub.Annotations[stellarflow.AnnotationSync] + v.Hub.Annotations[stellarflow.AnnotationIntents]
	shared := v.Dedicated && !stellarflow.FollowsWECCopy(v.Hub) && !stellarflow.Completed(v.Hub) // placed when the hub was that
	return said != "" || shared
}

func mirrored(v View) bool {
	return v.Observed.WECUID == v.WEC.UID && v.Observed.ResourceVersion == v.WEC.ResourceVersion && v.Observed.Generation == v.Hub.Generation
}
