package events

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// How many bytes of a WEC's words an Event on the hub has at most. The first two are what an API server takes of an Event of the newer kind
// (k8s.io/kubernetes pkg/apis/core/validation/events.go), which the older kind is stored as too.
const (
	maxMessage   = 1024
	maxReason    = 128
	maxFieldPath = 256
)

// component is where an Event on the hub says that it comes from; its host is the WEC.
const component = "stellarflow"

// maxName is how many bytes a name may have.
const maxName = 253

// Render returns the Event on the hub about a mirrored pod for one of its WEC about the real pod. Its name is always the same for the same two
// objects, so that what happens again is counted in it. Of the WEC's Event only what people read is taken, cut, and without control characters:
// what it is about is the mirror. The input is not changed.
func Render(event corev1.Event, mirror *corev1.Pod, cluster stellarflow.ClusterName) *corev1.Event {
	first, last, count := times(&event)
	kind := corev1.EventTypeNormal
	if event.Type == corev1.EventTypeWarning {
		kind = corev1.EventTypeWarning
	}
	return &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: mirror.Namespace, Name: name(mirror, event.UID), Labels: map[string]string{stellarflow.LabelCluster: string(cluster)},
		},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: "v1", Kind: "Pod", Namespace: mirror.Namespace, Name: mirror.Name, UID: mirror.UID,
			FieldPath: stellarflow.OneLine(event.InvolvedObject.FieldPath, maxFieldPath),
		},
		Reason: stellarflow.OneLine(event.Reason, maxReason), Message: stellarflow.OneLine(event.Message, maxMessage), Type: kind,
		Source:         corev1.EventSource{Component: component, Host: string(cluster)},
		FirstTimestamp: first, LastTimestamp: last, Count: count,
	}
}

// name is that of the Event on the hub. A mirror that was made anew is another object: what was said of the pod is said of it again.
func name(mirror *corev1.Pod, event types.UID) string {
	sum := keyOf(mirror, event)
	prefix := mirror.Name[:min(len(mirror.Name), maxName-2*len(sum)-1)]
	return strings.TrimRight(prefix, ".-") + "." + hex.EncodeToString(sum[:])
}

// key tells the Events of one mirror apart.
type key [8]byte

func keyOf(mirror *corev1.Pod, event types.UID) key {
	sum := sha256.Sum256([]byte(string(mirror.UID) + "/" + string(event)))
	return key(sum[:len(key{})])
}

// times are the first and last time of an Event, and how often it happened, of the older kind and of the newer (events.k8s.io), which is read
// as one of the older too.
func times(event *corev1.Event) (first, last metav1.Time, count int32) {
	first, last, count = event.FirstTimestamp, event.LastTimestamp, event.Count
	if event.Series != nil {
		last, count = metav1.NewTime(event.Series.LastObservedTime.Time), max(count, event.Series.Count)
	}
	if first.IsZero() {
		first = metav1.NewTime(event.EventTime.Time)
	}
	if first.IsZero() {
		first = event.CreationTimestamp
	}
	if last.IsZero() {
		last = first
	}
	return first, last, max(1, count)
}

// Written is what is remembered of an Event on the hub.
type Written struct {
	last  int64 // its last time, in microseconds
	count int32
}

// Remember returns what is to be remembered of an Event that was written to the hub.
func Remember(event *corev1.Event) Written {
	return Written{event.LastTimestamp.UnixMicro(), event.Count}
}

// Newer reports whether an Event on the hub says more than what was written of it before: it has happened again. Anything else that differs is
// an older answer, or not worth a write.
func Newer(written Written, event *corev1.Event) bool {
	now := Remember(event)
	if now.last != written.last {
		return now.last > written.last
	}
	return now.count > written.count
}

// About reports whether an Event of a WEC is about the pod that a mirror shows: the hub knows which that is.
func About(event *corev1.Event, mirror *corev1.Pod, cluster stellarflow.ClusterName) bool {
	of := &event.InvolvedObject
	return of.Kind == "Pod" && of.Namespace == mirror.Namespace && of.Name == mirror.Name && event.Namespace == mirror.Namespace &&
		of.UID != "" && string(of.UID) == mirror.Labels[stellarflow.LabelMirrorOf] && mirror.Labels[stellarflow.LabelCluster] == string(cluster)
}
