package wec

import (
	"context"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// store is a hub whose store was read once and may have gone on since, or back.
type store struct{ seen, now uint64 }

func (v store) Seen() uint64                         { return v.seen }
func (v store) Read(context.Context) (uint64, error) { return v.now, nil }

func TestStamp(t *testing.T) {
	const at = "2026-03-04T05:06:07Z"
	for name, tc := range map[string]struct {
		reason            string
		hub               store
		recorded          string
		stamped           time.Duration
		version, restored string
	}{
		"First":     {"nothing was recorded", store{7, 7}, "", time.Hour, "7", ""},
		"Grown":     {"the store goes on", store{9, 9}, "7", time.Hour, "9", ""},
		"Soon":      {"not with every renewal", store{9, 9}, "7", time.Second, "7", ""},
		"Same":      {"nothing to say", store{7, 7}, "7", time.Hour, "7", ""},
		"Back":      {"restored, and that is not put off", store{5, 5}, "7", time.Second, "5", at},
		"OldRead":   {"another leader has recorded what came after our last read", store{5, 8}, "7", time.Hour, "8", ""},
		"Unknown":   {"the hub could not be read yet", store{}, "", time.Hour, "", ""},
		"NotNumber": {"somebody's words", store{7, 7}, "x", time.Hour, "7", ""},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
			l := NewLease(LeaseOptions{Hub: tc.hub, Now: func() time.Time { return now }})
			l.stamped = now.Add(-tc.stamped)
			lease := &coordinationv1.Lease{}
			if tc.recorded != "" {
				lease.Annotations = map[string]string{stellarflow.AnnotationHubVersion: tc.recorded}
			}
			l.stamp(t.Context(), lease)
			if got := lease.Annotations; got[stellarflow.AnnotationHubVersion] != tc.version || got[stellarflow.AnnotationHubRestored] != tc.restored {
				t.Errorf("%s: %v", tc.reason, got)
			}
		})
	}
}
