package podmirror

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

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
	// Archived says of the real pod with the UID and resourceVersion in Read since when it is finished and its log is archived, zero if it is not.
	Archived time.Time
	// Read is the version of the real pod that was last read, empty for none.
	Read string
	// Deleted is the UID of a real pod whose mirror a person has deleted, and that has gone already.
	Deleted types.UID
	// Cordoned says that the Node is: whoever deletes pods of it now drains it.
	Cordoned bool
	// Complete is false while not all pods of the WEC are known.
	Complete bool
	Now      time.Time
}

// Next returns the next step for a view, and for Nothing after how long to look again (zero: when something changes).
func Next(v View) (Step, time.Duration) {
	if v.Mirror != nil && v.Mirror.Labels[stellarflow.LabelMirrorOf] == "" {
		if v.Real == nil || !v.Wanted {
			return Nothing, 0
		}
		return Taken, 0
	}
	if v.Mirror != nil && v.Mirror.Labels[stellarflow.LabelCluster] != string(v.Cluster) { // another WEC's, which looks after it
		if v.Real == nil || !v.Wanted {
			return Nothing, 0
		}
		return Nothing, time.Second
	}
	if v.Real != nil && v.Wanted && (v.Archived.IsZero() || v.Read != Version(v.Real) || v.Now.Sub(v.Archived) < Lingers) {
		return show(v)
	}
	switch {
	case v.Mirror == nil, !v.Complete && v.Real == nil:
		return Nothing, 0
	}
	return Remove, 0
}

// show decides for a pod that is to be seen on the hub.
func show(v View) (Step, time.Duration) {
	uid, going := v.Real.GetUID(), v.Real.GetDeletionTimestamp() != nil
	switch mirror := v.Mirror; {
	case mirror == nil && v.Deleted == uid && going:
		return Nothing, 0
	case mirror == nil && v.Deleted == uid && !v.Cordoned:
		return Delete, 0
	case mirror == nil:
		return Show, 0
	case mirror.Labels[stellarflow.LabelMirrorOf] != string(uid):
		return Remove, 0
	case mirror.DeletionTimestamp != nil && !Asked(mirror):
		return Remove, 0
	case mirror.DeletionTimestamp != nil && !going && v.passes():
		return Delete, 0
	case mirror.DeletionTimestamp != nil && !going:
		return Remove, 0
	case mirror.Annotations[stellarflow.AnnotationMirrored] != v.Real.GetResourceVersion(),
		v.Read != Version(v.Real): // by a manager before this one: whether it is archived is to be seen
		return Show, 0
	case !v.Archived.IsZero():
		return Nothing, Lingers - v.Now.Sub(v.Archived)
	}
	return Nothing, 0
}

// stale is how old a deletion may be that is passed on. A manager that comes back later leaves the real pod alone.
const stale = time.Minute

// passes reports whether the deletion of the mirror that somebody asked for reaches the real pod.
func (v View) passes() bool {
	ask, ok := AskOf(v.Mirror)
	return ok && !v.Cordoned && v.Now.Sub(ask.Time) < stale
}

// Version identifies what was read of a pod.
func Version(pod metav1.Object) string { return string(pod.GetUID()) + "/" + pod.GetResourceVersion() }
