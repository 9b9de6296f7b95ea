package wec

import (
	"context"
	"strconv"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// HubVersion says how far the hub's store has come, as its resourceVersion.
type HubVersion interface {
	// Seen returns the one that was read last, 0 if none was.
	Seen() uint64
	// Read reads it now.
	Read(ctx context.Context) (uint64, error)
}

// stampEvery bounds how often a Lease is told a higher version.
const stampEvery = 10 * time.Second

// RestoredAt returns when the hub was last found to have been restored from a backup, by this process or an earlier one; zero if
// never.
func (l *Lease) RestoredAt() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.restored
}

// stamp puts what is known of the hub's version on a Lease that is about to be written. A lower one than was recorded is believed
// only if it is read now: what was read earlier may be older than the record.
func (l *Lease) stamp(ctx context.Context, lease *coordinationv1.Lease) {
	if l.Hub == nil {
		return
	}
	recorded, err := strconv.ParseUint(lease.Annotations[stellarflow.AnnotationHubVersion], 10, 64)
	current := l.Hub.Seen()
	if err == nil && current < recorded {
		if current, err = l.Hub.Read(ctx); err != nil {
			return
		}
	}
	now := l.Now()
	l.mu.Lock()
	due := now.Sub(l.stamped) >= stampEvery
	if due || current < recorded {
		l.stamped = now
	}
	l.mu.Unlock()
	if current == 0 || current == recorded || current > recorded && !due {
		return
	}
	if lease.Annotations == nil {
		lease.Annotations = map[string]string{}
	}
	lease.Annotations[stellarflow.AnnotationHubVersion] = strconv.FormatUint(current, 10)
	if current < recorded {
		lease.Annotations[stellarflow.AnnotationHubRestored] = now.UTC().Format(time.RFC3339)
	}
}

// restoredAt returns what a Lease says of the hub's last restore.
func restoredAt(lease *coordinationv1.Lease) time.Time {
	at, err := time.Parse(time.RFC3339, lease.Annotations[stellarflow.AnnotationHubRestored])
	if err != nil {
		return time.Time{}
	}
	return at
}
