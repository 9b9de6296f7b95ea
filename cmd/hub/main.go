// Command hub is the manager that runs on the hub cluster. `stellarflow install` deploys it; see config/hub.
package main

import (
	"fmt"
	"os"

	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"stellarflow.io/stellarflow/pkg/hub"
	"stellarflow.io/stellarflow/pkg/hub/metrics"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "hub:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	options, err := parse(args)
	if err != nil {
		return err
	}
	ctrl.SetLogger(zap.New(zap.UseDevMode(false), zap.Level(options.level())))
	klog.SetLogger(ctrl.Log) // leader election and the watches log there
	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find the hub's API server: %w", err)
	}
	managerOptions, err := options.manager()
	if err != nil {
		return err
	}
	mgr, err := ctrl.NewManager(hub.Config(config), managerOptions)
	if err != nil {
		return fmt.Errorf("make the manager: %w", err)
	}
	counted := metrics.New()
	if err := ctrlmetrics.Registry.Register(counted); err != nil {
		return fmt.Errorf("register the metrics: %w", err)
	}
	ctx := ctrl.SetupSignalHandler()
	if err := hub.Setup(ctx, mgr, options.hub(counted)); err != nil {
		return err
	}
	return mgr.Start(ctx)
}
