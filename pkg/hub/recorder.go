package hub

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
)

// maxNote is how long the API server lets an event's note be, in bytes (k8s.io/kubernetes pkg/apis/core/validation/events.go);
// a longer one is refused and nobody would see the event.
const maxNote = 1024

// recorder records events whose notes quote what clusters and people wrote, cut to what is accepted.
type recorder struct{ events.EventRecorder }

// Eventf records an event.
func (r recorder) Eventf(regarding, related runtime.Object, eventType, reason, action, note string, args ...any) {
	r.EventRecorder.Eventf(regarding, related, eventType, reason, action, "%s", shorten(fmt.Sprintf(note, args...)))
}

func shorten(note string) string {
	const more = "..."
	if len(note) <= maxNote {
		return note
	}
	return strings.ToValidUTF8(note[:maxNote-len(more)], "") + more
}
