package cluster

import (
	"context"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/wec"
)

// hubVersion is the hub's resourceVersion, read once a round for all connections.
type hubVersion struct {
	read func(context.Context) (uint64, error)
	seen atomic.Uint64
}

// Seen returns the one that was read last.
func (h *hubVersion) Seen() uint64 { return h.seen.Load() }

// Read reads it.
func (h *hubVersion) Read(ctx context.Context) (uint64, error) {
	version, err := h.read(ctx)
	if err == nil {
		h.seen.Store(version)
	}
	return version, err
}

// follow reads the hub's version until ctx ends.
func (f *Fleet) follow(ctx context.Context) {
	tick := time.NewTicker(f.Timing.orDefault().Probe)
	defer tick.Stop()
	for {
		if _, err := f.version.Read(ctx); err != nil && ctx.Err() == nil {
			f.Log.Info("cannot read the hub's resourceVersion", "error", err.Error())
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// RestoredAt returns when the hub was last found to have been restored from a backup, as the Leases on the WECs say: zero if never.
// It is known of a WEC once its connection was tried.
func (f *Fleet) RestoredAt() time.Time {
	var last time.Time
	for _, c := range f.Connections() {
		if at := c.lease.RestoredAt(); at.After(last) {
			last = at
		}
	}
	return last
}

// highest is the highest resourceVersion that was seen of a WEC. A lower one later means that it was restored from a backup.
type highest struct {
	of      types.UID
	version uint64
}

// restored reports whether a WEC's version is below the highest seen; observed returns the highest that the hub copies hold.
func (h *highest) restored(facts wec.Facts, observed func() uint64) bool {
	if facts.ResourceVersion == 0 {
		return false
	}
	if h.of != facts.ID {
		*h = highest{facts.ID, observed()}
	}
	h.version = max(h.version, facts.ResourceVersion)
	return facts.ResourceVersion < h.version
}

// Observed returns the highest resourceVersion of a WEC that hub copies hold.
type Observed func(ctx context.Context, name stellarflow.ClusterName, id types.UID) uint64
