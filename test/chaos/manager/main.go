package main

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub"
	"stellarflow.io/stellarflow/pkg/wec"
	"stellarflow.io/stellarflow/test/chaos/fault"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "manager:", err)
		os.Exit(1)
	}
}

func run() error {
	ctrl.SetLogger(zap.New(zap.UseDevMode(false)))
	klog.SetLogger(ctrl.Log)
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv(fault.EnvKubeconfig))
	if err != nil {
		return fmt.Errorf("find the hub's API server: %w", err)
	}
	seed, err := strconv.ParseUint(os.Getenv(fault.EnvSeed), 10, 64)
	if err != nil {
		return fmt.Errorf("%s: %w", fault.EnvSeed, err)
	}
	injector, err := fault.NewInjector(os.Getenv(fault.EnvFile), os.Getenv(fault.EnvExit), seed)
	if err != nil {
		return err
	}
	config = hub.Config(config)
	config.Wrap(injector.Wrap)
	mgr, err := newManager(config)
	if err != nil {
		return err
	}
	ctx := ctrl.SetupSignalHandler()
	if err := hub.Setup(ctx, mgr, hub.Options{
		StoreSecret: "artifact-store", Now: time.Now, Timing: fault.Timing(), WebhookAddress: os.Getenv(fault.EnvWebhook), WebhookHost: fault.WebhookHost,
		KubeletAddress: os.Getenv(fault.EnvKubelet), KubeletHost: fault.WebhookHost,
		Kubeconfig: wec.KubeconfigOptions{AllowLoopback: true}, WECTransport: injector.Wrap,
	}); err != nil {
		return err
	}
	return mgr.Start(ctx)
}

func newManager(config *rest.Config) (ctrl.Manager, error) {
	scheme, err := hub.NewScheme()
	if err != nil {
		return nil, err
	}
	lease, renew, retry := 4*time.Second, 3*time.Second, 500*time.Millisecond
	return ctrl.NewManager(config, ctrl.Options{
		Scheme: scheme, Cache: hub.CacheOptions(), Metrics: metricsserver.Options{BindAddress: "0"},
		LeaderElection: os.Getenv(fault.EnvAlone) == "", LeaderElectionID: "stellarflow-hub", LeaderElectionNamespace: stellarflow.SystemNamespace,
		LeaseDuration: &lease, RenewDeadline: &renew, RetryPeriod: &retry,
	})
}
