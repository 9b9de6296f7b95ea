package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"

	"stellarflow.io/stellarflow/pkg/hub/heartbeat"
)

// syncWithin bounds one question for readiness.
const syncWithin = time.Second

// named is how much of what is stuck the log names: the oldest, for which the others may wait.
const named = 10

// addChecks registers what /healthz and /readyz answer.
func (h *hub) addChecks() error {
	if err := h.mgr.AddHealthzCheck("work", h.works(cmp.Or(h.options.Timing.Stuck, heartbeat.Limit))); err != nil {
		return fmt.Errorf("add the health check: %w", err)
	}
	if err := h.mgr.AddReadyzCheck("cache", cacheSynced(h.mgr)); err != nil {
		return fmt.Errorf("add the readiness check: %w", err)
	}
	return nil
}

// works returns the check of /healthz. It fails while a piece of work has taken longer than the limit: some lock is not given back,
// and only a restart helps. A standby has no work and is well. A WEC that is away, slow or hanging never fails it, because every
// request to one ends long before (law 7); that the hub's API server is away ends the process through the leader election.
// The answer withholds the reason (sigs.k8s.io/controller-runtime/pkg/healthz); the log has it.
func (h *hub) works(limit time.Duration) healthz.Checker {
	return func(*http.Request) error {
		stuck := h.beats.Stuck(h.options.Now(), limit)
		if len(stuck) == 0 {
			return nil
		}
		h.log.Info("the process is stuck and has to be restarted: work has not ended in time", "limit", limit, "count", len(stuck), "oldest", stuck[:min(len(stuck), named)])
		return fmt.Errorf("%d pieces of work have not ended within %s", len(stuck), limit)
	}
}

// cacheSynced returns the check of /readyz. It fails until the manager's caches hold the first lists; a standby has them too, so
// that it can take over at once.
func cacheSynced(mgr ctrl.Manager) healthz.Checker {
	return func(request *http.Request) error {
		ctx, cancel := context.WithTimeout(request.Context(), syncWithin)
		defer cancel()
		if !mgr.GetCache().WaitForCacheSync(ctx) {
			return errors.New("the first lists from the API server are not complete")
		}
		return nil
	}
}
