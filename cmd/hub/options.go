package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"time"

	"go.uber.org/zap/zapcore"
	"k8s.io/apimachinery/pkg/util/validation"
	ctrl "sigs.k8s.io/controller-runtime"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub"
	"stellarflow.io/stellarflow/pkg/hub/metrics"
)

// options are the flags.
type options struct {
	storeSecret    string
	leaderElect    bool
	metricsAddress string
	healthAddress  string
	pprofAddress   string
	verbosity      int
}

// parse reads and validates the flags.
func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("hub", flag.ContinueOnError)
	flags.StringVar(&o.storeSecret, "artifact-store-secret", "artifact-store", "Secret in "+stellarflow.SystemNamespace+" with the shared artifact store")
	flags.BoolVar(&o.leaderElect, "leader-elect", true, "act only while holding the Lease stellarflow-hub")
	flags.StringVar(&o.metricsAddress, "metrics-bind-address", ":8080", "where /metrics is served; 0 for nowhere")
	flags.StringVar(&o.healthAddress, "health-probe-bind-address", ":8081", "where /healthz and /readyz are served; 0 for nowhere")
	flags.StringVar(&o.pprofAddress, "pprof-bind-address", "", "where /debug/pprof is served; empty for nowhere")
	flags.IntVar(&o.verbosity, "v", 0, "0 logs changes, 1 also why")
	if err := flags.Parse(args); err != nil {
		return o, fmt.Errorf("read the flags: %w", err)
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("argument %q is not expected: all settings are flags, see --help", flags.Arg(0))
	}
	return o, o.validate()
}

func (o options) validate() error {
	var problems []error
	if errs := validation.IsDNS1123Subdomain(o.storeSecret); len(errs) > 0 {
		problems = append(problems, fmt.Errorf("--artifact-store-secret %q is no Secret's name: %s", o.storeSecret, errs[0]))
	}
	for _, flag := range []struct{ name, address string }{
		{"--metrics-bind-address", o.metricsAddress}, {"--health-probe-bind-address", o.healthAddress}, {"--pprof-bind-address", o.pprofAddress},
	} {
		if _, _, err := net.SplitHostPort(flag.address); err != nil && flag.address != "0" && (flag.address != "" || flag.name != "--pprof-bind-address") {
			problems = append(problems, fmt.Errorf("%s %q is not HOST:PORT, :PORT or 0", flag.name, flag.address))
		}
	}
	if o.verbosity < 0 || o.verbosity > 1 {
		problems = append(problems, fmt.Errorf("-v %d: it is 0 or 1", o.verbosity))
	}
	return errors.Join(problems...)
}

func (o options) level() zapcore.Level { return zapcore.Level(-o.verbosity) } //nolint:gosec // validated to be 0 or 1

func (o options) manager() (ctrl.Options, error) {
	scheme, err := hub.NewScheme()
	return ctrl.Options{
		Scheme: scheme, Cache: hub.CacheOptions(), Metrics: metricsserver.Options{BindAddress: o.metricsAddress},
		HealthProbeBindAddress: o.healthAddress, PprofBindAddress: o.pprofAddress,
		LeaderElection: o.leaderElect, LeaderElectionID: "stellarflow-hub", LeaderElectionNamespace: stellarflow.SystemNamespace,
		LeaderElectionReleaseOnCancel: true,
	}, err
}

func (o options) hub(counted *metrics.Metrics) hub.Options {
	return hub.Options{StoreSecret: o.storeSecret, Now: time.Now, Timing: hub.DefaultTiming(), Metrics: counted}
}
