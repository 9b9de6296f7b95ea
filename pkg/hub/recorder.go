package hub

import (
	"context"
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
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	broadcaster.StartRecordingToSink(&v1.EventSinkImpl{Interface: client.Events("")})
	broadcaster.StartEventWatcher(func(event *corev1.Event) {
		log.V(1).Info(event.Message, "type", event.Type, "object", event.InvolvedObject, "reason", event.Reason)
	})
	return recorder{broadcaster.NewRecorder(scheme, corev1.EventSource{Component: "stellarflow"})}
}

// Eventf records an event.
func (r recorder) Eventf(object runtime.Object, eventType, reason, message string, args ...any) {
	r.Event(object, eventType, reason, shorten(fmt.Sprintf(message, args...)))
}

func shorten(message string) string {
	const more = "..."
	if len(message) <= maxNote {
		return message
	}
	return strings.ToValidUTF8(message[:maxNote-len(more)], "") + more
}
