package cluster

import (
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/wec"
)

func TestHighest(t *testing.T) {
	var h highest
	for _, step := range []struct {
		reason   string
		of       types.UID
		version  uint64
		observed uint64
		want     bool
	}{
		{"no version, nothing to say", "a", 0, 9, false},
		{"the first look, as far as what was mirrored", "a", 10, 10, false},
		{"it goes on", "a", 12, 0, false},
		{"below what this process saw", "a", 11, 0, true},
		{"still", "a", 11, 0, true},
		{"it has caught up", "a", 12, 0, false},
		{"another cluster has a count of its own", "b", 3, 0, false},
		{"and this one is behind what was mirrored before this process", "c", 3, 4, true},
	} {
		if got := h.restored(wec.Facts{ID: step.of, ResourceVersion: step.version}, func() uint64 { return step.observed }); got != step.want {
			t.Errorf("%s: %v", step.reason, got)
		}
	}
}
