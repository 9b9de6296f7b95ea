package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap/zapcore"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/metrics"
)

func TestParse(t *testing.T) {
	t.Setenv(envPodIP, "")
	elected := election{true, 15 * time.Second, 10 * time.Second, 2 * time.Second}
	defaults := options{storeSecret: "artifact-store", profile: "shared", archive: "none", election: elected, metricsAddress: ":8080", healthAddress: ":8081", webhookAddress: ":9443", kubeletAddress: ":10250"}
	cases := map[string]struct {
		reason string
		args   []string
		want   options
	}{
		"Defaults": {"what config/hub relies on", nil, defaults},
		"All": {
			"every flag", strings.Fields("--artifact-store-secret=s --profile=dedicated --archive=all --leader-elect=false --leader-elect-lease-duration=1m --leader-elect-renew-deadline=40s --leader-elect-retry-period=500ms --metrics-bind-address=0 --health-probe-bind-address=127.0.0.1:1 --pprof-bind-address=:6060 --webhook-bind-address=:7 --kubelet-bind-address=:8 --kubelet-address=fd00::1 --v=1"),
			options{storeSecret: "s", profile: "dedicated", archive: "all", election: election{false, time.Minute, 40 * time.Second, 500 * time.Millisecond}, metricsAddress: "0", healthAddress: "127.0.0.1:1", pprofAddress: ":6060", webhookAddress: ":7", kubeletAddress: ":8", kubeletHost: "fd00::1", verbosity: 1},
		},
		"Archive": {
			"a selector as Argo's ConfigMap has it",
			[]string{"--archive=a in (b,c)"},
			options{storeSecret: "artifact-store", profile: "shared", archive: "a in (b,c)", election: elected, metricsAddress: ":8080", healthAddress: ":8081", webhookAddress: ":9443", kubeletAddress: ":10250"},
		},
		"Nowhere": {
			"0 serves nothing", strings.Fields("--health-probe-bind-address 0 --pprof-bind-address 0 --webhook-bind-address 0 --kubelet-bind-address 0"),
			options{storeSecret: "artifact-store", profile: "shared", archive: "none", election: elected, metricsAddress: ":8080", healthAddress: "0", pprofAddress: "0", webhookAddress: "0", kubeletAddress: "0"},
		},
		"IPv6": {
			"an address in brackets", strings.Fields("--metrics-bind-address [::1]:8080"),
			options{storeSecret: "artifact-store", profile: "shared", archive: "none", election: elected, metricsAddress: "[::1]:8080", healthAddress: ":8081", webhookAddress: ":9443", kubeletAddress: ":10250"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := parse(tc.args)
			if err != nil {
				t.Fatalf("%s: %v", tc.reason, err)
			}
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(options{}, election{})); diff != "" {
				t.Errorf("%s: -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	const subdomain = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character " +
		"(e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
	const archives = "it is none (the hub's Argo controller archives no Workflows), all, or the selector of the labels of those that it archives"
	cases := map[string]struct {
		reason string
		args   string
		err    string
	}{
		"Secret":    {"no Secret has this name", "--artifact-store-secret=Artifact_Store", `--artifact-store-secret "Artifact_Store" is no Secret's name: ` + subdomain},
		"Profile":   {"there are two", "--profile=both", `--profile "both": it is shared (an Argo controller of the hub runs local Workflows) or dedicated (none acts on the hub's Workflows)`},
		"Archive":   {"no selector", "--archive=a=b=c", `--archive "a=b=c": ` + archives},
		"Nobody":    {"an empty selector is not taken for all", "--archive=", `--archive "": ` + archives},
		"Metrics":   {"a port alone is no address", "--metrics-bind-address=8080", `--metrics-bind-address "8080" is not HOST:PORT, :PORT or 0`},
		"Health":    {"empty is nowhere only for pprof", "--health-probe-bind-address=", `--health-probe-bind-address "" is not HOST:PORT, :PORT or 0`},
		"Pprof":     {"an address without a port", "--pprof-bind-address=localhost", `--pprof-bind-address "localhost" is not HOST:PORT, :PORT or 0`},
		"Kubelet":   {"an address without a port", "--kubelet-bind-address=10250", `--kubelet-bind-address "10250" is not HOST:PORT, :PORT or 0`},
		"HostName":  {"an API server's certificate check wants an address", "--kubelet-address=hub.example.com", `--kubelet-address "hub.example.com" is no IP address of a host: write one such as 10.0.0.1 or fd00::1, or leave it empty`},
		"AnyHost":   {"nobody can be reached there", "--kubelet-address=0.0.0.0", `--kubelet-address "0.0.0.0" is no IP address of a host: write one such as 10.0.0.1 or fd00::1, or leave it empty`},
		"Verbosity": {"there are two", "--v=2", `-v 2: it is 0 or 1`},
		"Negative":  {"there are two", "--v=-1", `-v -1: it is 0 or 1`},
		"Short":     {"a Lease of less has no seconds", "--leader-elect-lease-duration=500ms", `--leader-elect-lease-duration 500ms: it is 1s at least and 10m0s at most`},
		"Long":      {"nobody would act for that long", "--leader-elect-lease-duration=1h", `--leader-elect-lease-duration 1h0m0s: it is 1s at least and 10m0s at most`},
		"Never":     {"no time is no try", "--leader-elect-retry-period=0s", `--leader-elect-retry-period 0s: it is 100ms at least and 10m0s at most`},
		"Parts":     {"the API has whole seconds", "--leader-elect-lease-duration=15500ms", `--leader-elect-lease-duration 15.5s: a Lease has whole seconds`},
		"Overlap": {
			"the old leader must end first", "--leader-elect-renew-deadline=15s",
			`--leader-elect-renew-deadline 15s must be shorter than --leader-elect-lease-duration 15s: else two would act at once`,
		},
		"OneTry": {
			"one lost request is no reason to end", "--leader-elect-retry-period=9s",
			`--leader-elect-renew-deadline 10s must be longer than 10.8s, 1.2 times --leader-elect-retry-period 9s: else one failed try ends the leader`,
		},
		"NoTime": {"not a time", "--leader-elect-retry-period=2", `read the flags: invalid value "2" for flag -leader-elect-retry-period: parse error`},
		"All": {
			"all at once, in the order of the flags", "--artifact-store-secret=a_b --metrics-bind-address=x --health-probe-bind-address=y --pprof-bind-address=z --v=7",
			`--artifact-store-secret "a_b" is no Secret's name: ` + subdomain + "\n" +
				`--metrics-bind-address "x" is not HOST:PORT, :PORT or 0` + "\n" + `--health-probe-bind-address "y" is not HOST:PORT, :PORT or 0` + "\n" +
				`--pprof-bind-address "z" is not HOST:PORT, :PORT or 0` + "\n" + `-v 7: it is 0 or 1`,
		},
		"Argument": {"a forgotten dash", "leader-elect", `argument "leader-elect" is not expected: all settings are flags, see --help`},
		"Unknown":  {"a flag that is none", "--kubeconfi=x", `read the flags: flag provided but not defined: -kubeconfi`},
		"NoNumber": {"not a number", "--v=x", `read the flags: invalid value "x" for flag -v: parse error`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			for range 5 { // in the same order each time
				_, err := parse(strings.Fields(tc.args))
				if err == nil {
					t.Fatalf("%s: it is accepted", tc.reason)
				}
				if diff := cmp.Diff(tc.err, err.Error()); diff != "" {
					t.Fatalf("%s: -want +got:\n%s", tc.reason, diff)
				}
			}
		})
	}
}

// TestPodIP: a pod knows its address from its environment.
func TestPodIP(t *testing.T) {
	t.Setenv(envPodIP, "10.1.2.3")
	for host, args := range map[string][]string{"10.1.2.3": nil, "10.0.0.1": {"--kubelet-address=10.0.0.1"}, "": {"--kubelet-address="}} {
		o, err := parse(args)
		if err != nil || o.hub(nil).KubeletHost != host || o.hub(nil).KubeletAddress != ":10250" {
			t.Errorf("%v: the address is %q, %v, want %q", args, o.kubeletHost, err, host)
		}
	}
}

func TestLevel(t *testing.T) {
	for verbosity, want := range map[int]zapcore.Level{0: zapcore.InfoLevel, 1: zapcore.DebugLevel} {
		if got := (options{verbosity: verbosity}).level(); got != want {
			t.Errorf("-v %d logs from %s on, want %s", verbosity, got, want)
		}
	}
}

func TestManagerOptions(t *testing.T) {
	o := options{election: election{true, 4 * time.Second, 3 * time.Second, time.Second}, metricsAddress: ":1", healthAddress: ":2", pprofAddress: ":3", webhookAddress: ":4", storeSecret: "s", profile: "dedicated", archive: "a=b"}
	m, err := o.manager()
	if err != nil {
		t.Fatal(err)
	}
	if !m.LeaderElection || m.LeaderElectionID != "stellarflow-hub" || m.LeaderElectionNamespace != "stellarflow-system" {
		t.Errorf("two hubs could act at once: %v, Lease %s/%s", m.LeaderElection, m.LeaderElectionNamespace, m.LeaderElectionID)
	}
	if *m.LeaseDuration != 4*time.Second || *m.RenewDeadline != 3*time.Second || *m.RetryPeriod != time.Second {
		t.Errorf("the election is timed %s, %s, %s", m.LeaseDuration, m.RenewDeadline, m.RetryPeriod)
	}
	if !m.LeaderElectionReleaseOnCancel || *m.GracefulShutdownTimeout != stopWithin {
		t.Error("a process that is told to stop does not finish its work, or makes the standby wait")
	}
	if m.Metrics.BindAddress != ":1" || m.HealthProbeBindAddress != ":2" || m.PprofBindAddress != ":3" {
		t.Errorf("addresses are %q, %q and %q", m.Metrics.BindAddress, m.HealthProbeBindAddress, m.PprofBindAddress)
	}
	counted := metrics.New()
	h := o.hub(counted)
	if h.Metrics != counted {
		t.Error("the hub counts into other metrics than those that are served")
	}
	if h.StoreSecret != "s" || h.Profile != stellarflow.ProfileDedicated || h.Archive.String() != "a=b" || h.WebhookAddress != ":4" || h.Kubeconfig.AllowLoopback || h.Now == nil || h.Timing.Settle == 0 {
		t.Errorf("the hub gets %+v", h)
	}
}
