package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
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
	profile        string
	archive        string
	election       election
	metricsAddress string
	healthAddress  string
	pprofAddress   string
	webhookAddress string
	kubeletAddress string
	kubeletHost    string
	verbosity      int
}

// envPodIP is where config/hub puts the address of the pod.
const envPodIP = "POD_IP"

// parse reads and validates the flags.
func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("hub", flag.ContinueOnError)
	flags.StringVar(&o.storeSecret, "artifact-store-secret", "artifact-store", "Secret in "+stellarflow.SystemNamespace+" with the shared artifact store")
	flags.StringVar(&o.profile, "profile", string(stellarflow.ProfileShared), "shared: an Argo controller of the hub runs local Workflows; dedicated: none acts on the hub's Workflows")
	flags.StringVar(&o.archive, "archive", stellarflow.Archive{}.String(), "which Workflows the hub's Argo controller archives: none, all, or a selector of their labels; "+
		"none unless its ConfigMap has persistence.archive")
	o.election.addFlags(flags)
	flags.StringVar(&o.metricsAddress, "metrics-bind-address", ":8080", "where /metrics is served; 0 for nowhere")
	flags.StringVar(&o.healthAddress, "health-probe-bind-address", ":8081", "where /healthz and /readyz are served; 0 for nowhere")
	flags.StringVar(&o.pprofAddress, "pprof-bind-address", "", "where /debug/pprof is served; empty for nowhere")
	flags.StringVar(&o.webhookAddress, "webhook-bind-address", ":9443", "where the admission webhook is served; 0 for nowhere")
	flags.StringVar(&o.kubeletAddress, "kubelet-bind-address", ":10250", "where the API server of the hub gets the logs of mirrored pods; 0 for nowhere, and no pods are mirrored")
	flags.StringVar(&o.kubeletHost, "kubelet-address", os.Getenv(envPodIP), "IP address by which that API server reaches this process; empty, and no pods are mirrored (default: environment "+envPodIP+")")
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
		problems = append(problems, fmt.Errorf("--artifact-store-secret %s is no Secret's name: %s", shorten(o.storeSecret), errs[0]))
	}
	if _, err := stellarflow.ParseProfile(o.profile); err != nil {
		problems = append(problems, fmt.Errorf("--profile %s: %w", shorten(o.profile), err))
	}
	if _, err := stellarflow.ParseArchive(o.archive); err != nil {
		problems = append(problems, fmt.Errorf("--archive %s: %w", shorten(o.archive), err))
	}
	used := map[string]string{}
	for _, flag := range []struct{ name, address string }{
		{"--metrics-bind-address", o.metricsAddress},
		{"--health-probe-bind-address", o.healthAddress},
		{"--pprof-bind-address", o.pprofAddress},
		{"--webhook-bind-address", o.webhookAddress},
		{"--kubelet-bind-address", o.kubeletAddress},
	} {
		if flag.address == "0" || flag.address == "" && flag.name == "--pprof-bind-address" {
			continue
		}
		if err := checkAddress(flag.address); err != nil {
			problems = append(problems, fmt.Errorf("%s %s %w", flag.name, shorten(flag.address), err))
		} else if other, taken := used[flag.address]; taken {
			problems = append(problems, fmt.Errorf("%s %s is the address of %s too: give each its own, or 0 for nowhere", flag.name, shorten(flag.address), other))
		}
		used[flag.address] = flag.name
	}
	if !isHost(o.kubeletHost) {
		problems = append(problems, fmt.Errorf("--kubelet-address %s is no IP address of a host: write one such as 10.0.0.1 or fd00::1, or leave it empty", shorten(o.kubeletHost)))
	}
	if o.verbosity < 0 || o.verbosity > 1 {
		problems = append(problems, fmt.Errorf("-v %d: it is 0 or 1", o.verbosity))
	}
	return errors.Join(append(problems, o.election.validate()...)...)
}

// checkAddress says what is wrong with an address to listen at.
func checkAddress(address string) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return errors.New("is not HOST:PORT, :PORT or 0")
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return errors.New("has no port from 1 to 65535: write HOST:PORT, :PORT, or 0 for nowhere")
	}
	return nil
}

// isHost reports whether an address is empty or one that others can reach a host by.
func isHost(address string) bool {
	parsed, err := netip.ParseAddr(address)
	return address == "" || err == nil && !parsed.IsUnspecified() && parsed.Zone() == ""
}

// shorten quotes a value, cut if it is long.
func shorten(value string) string { return stellarflow.Quote(value, 128) }

func (o options) level() zapcore.Level { return zapcore.Level(-o.verbosity) } //nolint:gosec // validated to be 0 or 1

func (o options) manager() (ctrl.Options, error) {
	scheme, err := hub.NewScheme()
	e, within := o.election, stopWithin
	return ctrl.Options{
		Scheme: scheme, Cache: hub.CacheOptions(), Metrics: metricsserver.Options{BindAddress: o.metricsAddress},
		HealthProbeBindAddress: o.healthAddress, PprofBindAddress: o.pprofAddress,
		LeaderElection: e.enabled, LeaderElectionID: "stellarflow-hub", LeaderElectionNamespace: stellarflow.SystemNamespace,
		LeaseDuration: &e.lease, RenewDeadline: &e.renew, RetryPeriod: &e.retry,
		// The Lease is given back after the last pass has ended, so a standby need not wait for it to expire.
		LeaderElectionReleaseOnCancel: true, GracefulShutdownTimeout: &within,
	}, err
}

func (o options) hub(counted *metrics.Metrics) hub.Options {
	archive, _ := stellarflow.ParseArchive(o.archive) // it was validated
	return hub.Options{
		Profile: stellarflow.Profile(o.profile), Archive: archive, WebhookAddress: o.webhookAddress, KubeletAddress: o.kubeletAddress, KubeletHost: o.kubeletHost, StoreSecret: o.storeSecret, Now: time.Now, Timing: hub.DefaultTiming(), Metrics: counted,
	}
}
