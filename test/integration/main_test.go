package integration

import (
	"os"
	"testing"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"stellarflow.io/stellarflow/hack/suite/sidebyside"
)

// processes is how many run at once, with three API servers each.
const processes = 3

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard()) // each manager logs to its test
	os.Exit(sidebyside.Run(m, processes, func(int) {
		if shared.clusters == nil {
			return
		}
		for _, s := range []*server{shared.hub, shared.wecs["cluster1"], shared.wecs["cluster2"]} {
			if s != nil {
				_ = s.env.Stop()
			}
		}
	}))
}
