package podmirror

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// TestEnds: what is deleted of a cluster that cannot be used waits for it only while the deletion may still be passed on.
func TestEnds(t *testing.T) {
	now := ended.Add(time.Hour)
	for name, tc := range map[string]struct {
		reason   string
		mirror   *corev1.Pod
		cordoned bool
		want     bool
	}{
		"Stays":        {"nobody deletes it", mirror(t), false, false},
		"Noted":        {"a deletion was refused by another webhook", mirror(t, asked(now.Add(-time.Hour))), false, false},
		"Evicted":      {"nobody asks anything of the real pod", mirror(t, going(now)), false, true},
		"Person":       {"the cluster may come back", mirror(t, asked(now.Add(-59*time.Second)), going(now.Add(-59*time.Second))), false, false},
		"PersonLate":   {"then it is not passed on any more", mirror(t, asked(now.Add(-stale)), going(now.Add(-stale))), false, true},
		"Drained":      {"whoever deletes it drains", mirror(t, asked(now), going(now)), true, true},
		"CordonedOnly": {"nobody deletes it", mirror(t), true, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := ends(tc.mirror, tc.cordoned, now); got != tc.want {
				t.Errorf("%s: got %v", tc.reason, got)
			}
		})
	}
}
