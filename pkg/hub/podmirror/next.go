package podmirror

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// Step is what comes next for one pod.
type Step string

// The steps. Each is repeated until the view shows that it is done.
const (
	// Nothing: the mirror shows the real pod, or there is to be none and is none.
	Nothing Step = "Nothing"
	// Show: the real pod is read, and the mirror made or brought up to date.
	Show Step = "Show"
	// Remove: the mirror goes, at once. If it is still wanted the next step makes it again.
	Remove Step = "Remove"
	// Clear: the mirror is said to be deleted and was not.
	Clear Step = "Clear"
	// Delete: a person has deleted the mirror, and so the real pod.
	Delete Step = "Delete"
	// Taken: the name is somebody else's on the hub.
	Taken Step = "Taken"
)

// Lingers is how long the mirror of a finished and archived pod stays: whoever follows the logs of a Workflow finds a step that has
// run for a moment, and the archived log is on the hub by then.
const Lingers = 15 * time.Second

// View is what is known of one pod when a step is chosen. Nothing in it is changed.
type View struct {
	// Real is the metadata of the pod on the WEC, nil if there is none that belongs to a Workflow placed there.
	Real metav1.Object
	// Mirror is the Pod of that name on the hub, nil if there is none.
	Mirror *corev1.Pod
	// Cluster is the WEC.
	Cluster stellarflow.ClusterName
	// Wanted is false if the pods of its Workflow are not to be mirrored.
	Wanted bool
	// Archived says of the real pod with the UID and resourceVersion in Read since when it is finished and its log is archived, as Since does; zero
	// if it is not.
	Archived time.Time
	// Read is the version of the real pod that was last read, zero for none, and ReadAt when that was.
	Read   Version
	ReadAt time.Time
	// Refused is that the real pod could not be shown when that was tried last; zero if it could, or was not tried.
	Refused Refusal
	// Deleted is a real pod whose mirror a person has deleted, and that has gone already.
	Deleted Deletion
	// Noted is since when this manager knows that the mirror is said to be deleted, zero if it is not said to be.
	Noted time.Time
	// Removed says that this manager has removed the mirror itself, and that its end is not seen yet.
	Removed bool
	// Failed is why the deletion could not be passed on when that was tried last, empty if it was not.
	Failed string
	// Stray says that no record places the Workflow that the mirror belongs to on the WEC.
	Stray bool
	// Cordoned says that the Node is: whoever deletes pods of it now drains it.
	Cordoned bool
	// Complete is false while not all pods of the WEC are known.
	Complete bool
	Now      time.Time
}

// Refusal is that a pod cannot be shown: the hub does not take it, or may not read it.
type Refusal struct {
	// UID is that of the real pod.
	UID types.UID
	// Until is when it is tried again, however often it changes.
	Until time.Time
	// Why is what is said of it, empty for nothing.
	Why string
}

// of returns the refusal if it is of a pod, else none.
func (r Refusal) of(pod metav1.Object) Refusal {
	if r.UID != pod.GetUID() {
		return Refusal{}
	}
	return r
}

// Deletion is what a person has asked for whose mirrored pod had no time to end.
type Deletion struct {
	// Mirror is the UID of the mirrored pod.
	Mirror types.UID
	// UID is that of the real pod.
	UID types.UID
	// At is when admission saw it asked for.
	At time.Time
	// Grace is how long the pod was to have for its end, in seconds; nil for as long as it says itself.
	Grace *int64
	// Unsure says that it may be another deletion than the one that was asked for.
	Unsure bool
}

// Next returns the next step for a view, and for Nothing after how long to look again (zero: when something changes).
func Next(v View) (Step, time.Duration) {
	step, after := next(v)
	if left := kept - v.Now.Sub(v.Noted); step == Nothing && !v.Noted.IsZero() && left > 0 && (after == 0 || left < after) {
		after = left
	}
	return step, after
}

func next(v View) (Step, time.Duration) {
	wanted := v.Real != nil && v.Wanted && !v.archived()
	if v.Mirror == nil {
		if wanted {
			return begin(v), 0
		}
		return Nothing, 0
	}
	switch cluster, ours := MirrorOf(v.Mirror); {
	case !ours && wanted, ours && cluster != v.Cluster && wanted: // another WEC's looks after it
		return Taken, 0
	case !ours, cluster != v.Cluster, v.Removed:
		return Nothing, 0
	case v.refused():
		return Clear, 0
	case wanted:
		return keep(v)
	case v.Real == nil && !v.Complete && !v.Stray:
		return Nothing, 0
	}
	return Remove, 0
}

// archived reports whether the log of the pod as it is now has been archived for long enough.
func (v View) archived() bool {
	return !v.Archived.IsZero() && v.current() && v.Now.Sub(v.Archived) >= Lingers
}

// current reports whether what was read of the pod holds: it is what the watch knows, or a later version that the watch has yet to tell of. For
// that a pod waits as long as it would without a change: a cluster that was restored from a backup counts from an earlier version.
func (v View) current() bool {
	if v.Read == VersionOf(v.Real) {
		return true
	}
	order, err := resourceversion.CompareResourceVersion(v.Read.ResourceVersion, v.Real.GetResourceVersion())
	return v.Read.UID == v.Real.GetUID() && err == nil && order > 0 && v.Now.Sub(v.ReadAt) < every
}

// begin decides for a pod that is to be shown and is not.
func begin(v View) Step {
	switch {
	case v.deleted() && !v.Cordoned && v.ends(v.Deleted.Grace):
		return Delete
	case v.deleted() && v.Real.GetDeletionTimestamp() != nil:
		return Nothing
	}
	return Show
}

// deleted reports whether a person has deleted the mirror at once. Another may have been made before that was known.
func (v View) deleted() bool {
	return v.Deleted.UID == v.Real.GetUID() && !v.Deleted.Unsure && v.fresh(v.Deleted.At)
}

// keep decides for a pod that is to be shown, and has a mirror.
func keep(v View) (Step, time.Duration) {
	switch {
	case v.Mirror.Labels[stellarflow.LabelMirrorOf] != string(v.Real.GetUID()):
		return Remove, 0
	case v.Mirror.DeletionTimestamp != nil && !v.passes():
		return Remove, 0
	case v.Mirror.DeletionTimestamp != nil && v.reaches() && v.ends(v.Mirror.DeletionGracePeriodSeconds):
		return Delete, 0
	case v.deleted() && !v.Cordoned && v.ends(v.Deleted.Grace):
		return Delete, 0
	case v.outdated():
		return Show, 0
	case !v.current(): // by a manager before this one: only its log may be archived by now
		if saved(v.Mirror) {
			return Show, 0
		}
	case !v.Archived.IsZero():
		return Nothing, Lingers - v.Now.Sub(v.Archived)
	}
	return Nothing, 0
}

// outdated reports whether the mirror shows the real pod as it was before.
func (v View) outdated() bool {
	if v.Mirror == nil {
		return false
	}
	shown := v.Mirror.Annotations[stellarflow.AnnotationMirrored]
	return shown != v.Real.GetResourceVersion() && (!v.current() || v.Read != Version{v.Real.GetUID(), shown})
}

// young is how long after its creation a pod is shown as soon as what has changed.
const young = time.Minute

// Rank returns the priority of a Show: 0, or less for one that can wait until all else is shown. That is of a pod that this manager has not read
// and that was there before: after a restart a WEC still has its finished pods, maybe thousands. The youngest come first: those that began while
// no manager ran. One that was refused waits too, for a while: there may be as many, and
// most are refused again.
func Rank(v View) int {
	age := v.Now.Sub(v.Real.GetCreationTimestamp().Time)
	refused := v.Refused != (Refusal{}) && v.Mirror == nil && v.Now.Sub(v.Refused.Until) < lastBackoff
	if !refused && (v.outdated() || v.Refused != (Refusal{}) || v.Read != (Version{}) || age < young) {
		return 0
	}
	return -max(1, int(age/time.Second))
}

// stale is how old a deletion may be that is passed on. A manager that comes back later leaves the real pod alone.
const stale = time.Minute

// fresh reports whether a deletion that was asked for at a time may be passed on still.
func (v View) fresh(at time.Time) bool { return v.Now.Sub(at) < stale }

// reaches reports whether the deletion of the mirror may be passed on now.
func (v View) reaches() bool {
	ask, _ := AskOf(v.Mirror)
	return Asked(v.Mirror) && !v.Cordoned && v.fresh(ask.Time)
}

// passes reports whether the deletion of the mirror reaches the real pod, or has.
func (v View) passes() bool {
	return v.reaches() || Asked(v.Mirror) && v.Real.GetDeletionTimestamp() != nil
}

// refused reports whether no deletion has followed the note on the mirror.
func (v View) refused() bool {
	return v.Mirror.DeletionTimestamp == nil && !v.Noted.IsZero() && v.Now.Sub(v.Noted) >= kept
}

// ends reports whether a deletion with a grace period would do something: the real pod does not go yet, or would go sooner.
func (v View) ends(grace *int64) bool {
	given := v.Real.GetDeletionGracePeriodSeconds()
	return v.Real.GetDeletionTimestamp() == nil || grace != nil && given != nil && *grace < *given
}

// Version identifies what was read of a pod.
type Version struct {
	UID             types.UID
	ResourceVersion string
}

// VersionOf returns the version of a pod.
func VersionOf(pod metav1.Object) Version { return Version{pod.GetUID(), pod.GetResourceVersion()} }
