package hub

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
)

// maxNote is how long an event's message gets, in bytes: what events.k8s.io takes (k8s.io/kubernetes
// pkg/apis/core/validation/events.go), by which people read them too.
const maxNote = 1024

// recorder records events whose messages quote what clusters and people wrote, cut to maxNote.
type recorder struct{ record.EventRecorder }

// newRecorder returns a recorder of core/v1 events until ctx ends. A manager's own recorder is of events.k8s.io and sets no lastTimestamp:
// Argo's UI shows no event without one.
func newRecorder(ctx context.Context, client v1.EventsGetter, scheme *runtime.Scheme, log logr.Logger) recorder {
	broadcaster := record.NewBroadcaster(record.WithContext(ctx), record.WithCorrelatorOptions(correlation()))
	broadcaster.StartRecordingToSink(&v1.EventSinkImpl{Interface: client.Events("")})
	broadcaster.StartEventWatcher(func(event *corev1.Event) {
		log.V(1).Info(event.Message, "type", event.Type, "object", event.InvolvedObject, "reason", event.Reason)
	})
	return recorder{broadcaster.NewRecorder(scheme, corev1.EventSource{Component: "stellarflow"})}
}

// correlation bounds what is recorded about one object. By default 25 events of a type are, then one every five minutes, and of one reason
// nine in their own words: a Workflow has more pods than that, and what is said of one of them is said once.
func correlation() record.CorrelatorOptions {
	return record.CorrelatorOptions{BurstSize: maxBurst, QPS: 0.1, MaxEvents: maxNamed + 1, KeyFunc: similar}
}

const (
	// maxBurst is how many events of one type an object gets at once; after that, one every 10 s.
	maxBurst = 250
	// maxNamed is how many of one reason it gets that differ, until there were none for ten minutes. All others are one event, in the words of the last.
	maxNamed = 100
)

// similar is record.EventAggregatorByReasonFunc with a hash for the message: for each of 4096 objects and reasons so many are kept as may differ.
func similar(event *corev1.Event) (aggregate, local string) {
	aggregate, local = record.EventAggregatorByReasonFunc(event)
	sum := sha256.Sum256([]byte(local))
	return aggregate, string(sum[:16])
}

// Event records an event.
func (r recorder) Event(object runtime.Object, eventType, reason, message string) {
	r.EventRecorder.Event(object, eventType, reason, shorten(message))
}

// Eventf records an event.
func (r recorder) Eventf(object runtime.Object, eventType, reason, message string, args ...any) {
	r.Event(object, eventType, reason, fmt.Sprintf(message, args...))
}

func shorten(message string) string {
	const more = "..."
	if len(message) <= maxNote {
		return message
	}
	return strings.ToValidUTF8(message[:maxNote-len(more)], "") + more
}
