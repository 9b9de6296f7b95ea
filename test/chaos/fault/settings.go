package fault

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"stellarflow.io/stellarflow/pkg/hub"
	"stellarflow.io/stellarflow/pkg/hub/cluster"
	"stellarflow.io/stellarflow/pkg/wec"
)

// Environment of the manager process.
const (
	// EnvKubeconfig names the hub's kubeconfig, EnvFile the file with Settings, EnvSeed the seed of what is drawn by lot.
	EnvKubeconfig = "CHAOS_KUBECONFIG"
	EnvFile       = "CHAOS_FAULTS"
	EnvSeed       = "CHAOS_SEED"
	// EnvExit is before:K or after:K: die by SIGKILL before the Kth write is sent, or after it was answered.
	EnvExit = "CHAOS_EXIT"
	// EnvAlone set means no leader election: the process acts whoever else does.
	EnvAlone = "CHAOS_ALONE"
	// EnvWebhook is the address at which admission is served.
	EnvWebhook = "CHAOS_WEBHOOK"
	// EnvKubelet is the address at which the manager answers in a kubelet's place. Nobody asks; without it no pods are mirrored.
	EnvKubelet = "CHAOS_KUBELET"
	// EnvMutant names the mutations that are on, each between commas, in a manager that was built with them.
	EnvMutant = "CHAOS_MUTANT"
)

// WebhookHost is what the certificates of the webhooks and of what is served in a kubelet's place are for.
const WebhookHost = "127.0.0.1"

// Late is the longest time by which a request arrives late. Timing().Settle is longer.
const Late = 2 * time.Second

// Notice is how long it takes at most until a process obeys new settings.
const Notice = 100 * time.Millisecond

// Timing returns the times of the managers in a run, shortened as far as the faults allow.
func Timing() hub.Timing {
	return hub.Timing{
		Gone: 300 * time.Millisecond, Settle: 6 * time.Second, Silence: 2 * time.Second,
		Connection: cluster.Timing{Probe: time.Second, Lease: wec.LeaseTiming{Duration: 2 * time.Second, Deadline: 1500 * time.Millisecond, Retry: 200 * time.Millisecond}},
	}
}

// Settings say what is broken, by address (host:port) of an API server as the manager knows it.
type Settings map[string]Setting

// Setting is what is broken in the traffic with one API server. The rates are between 0 and 1, and each request draws its lot.
type Setting struct {
	// Answer is a status that a proxy answers instead of passing the request on, at the rate Rate.
	Answer int
	Rate   float64
	// Named answers the first GET of each Workflow with a 404 that names it, as only the API server itself does: one such answer may
	// be wrong, two that are apart may not.
	Named bool
	// Missing answers each GET of a Workflow with a proxy's 404.
	Missing bool
	// Empty answers each list of Workflows with none, as a cluster does whose CRD was just installed anew.
	Empty bool
	// Lose: the request arrives and the answer is lost. Drop: the request is lost. Delay: it arrives late, and the answer is lost.
	Lose, Drop, Delay float64
	// Stale: a GET of a Workflow is answered with what an earlier one was, as by a proxy that caches.
	Stale float64
	// Skew is added to the Date of each answer.
	Skew time.Duration
}

// Write stores settings so that a process never reads half of them.
func Write(path string, settings Settings) error {
	raw, err := json.Marshal(settings)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", raw, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func read(path string) (Settings, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var settings Settings
	if err := json.Unmarshal(raw, &settings); err != nil {
		return nil, fmt.Errorf("read the faults in %s: %w", path, err)
	}
	return settings, nil
}
