package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"stellarflow.io/stellarflow/hack/fleet/node"
	"stellarflow.io/stellarflow/hack/fleet/serve"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "fleet: %v\n", err)
		return 1
	}
	return 0
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "fleet",
		Short:         "Run a local fleet of real Kubernetes clusters",
		Long:          "Environment: FLEET_NAME names a fleet beside the default one, CLUSTERS is the number of WECs (2), FLEET=kind uses kind.",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(
		verb("up", "Bring the fleet up, or back up", backend.up),
		verb("down", "Remove every trace of the fleet", backend.down),
		verb("status", "Show what is there; fails if something is not well", backend.status),
		verb("build", "Only build what a fleet needs", backend.build),
		verb("kill", "Kill -9 every process of the fleet and leave the rest, as a crash does", backend.kill),
		verb1("load-image IMAGE", "Make an image anew and push it", backend.loadImage),
		verb1("cut CLUSTER", "Drop a cluster's network to the other clusters", backend.cut),
		verb1("heal CLUSTER", "Undo cut", backend.heal),
		verb1("stop CLUSTER", "Stop a cluster's processes and pods", backend.stop),
		verb1("start CLUSTER", "Start a stopped cluster with its data", backend.start),
	)
	root.AddCommand(assets())
	root.AddCommand(internal()...)
	return root
}

func verb(use, short string, do func(backend, context.Context) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, err := openBackend(cmd.Name())
			if err != nil {
				return err
			}
			return do(b, cmd.Context())
		},
	}
}

func verb1(use, short string, do func(backend, context.Context, string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := openBackend(cmd.Name())
			if err != nil {
				return err
			}
			return do(b, cmd.Context(), args[0])
		},
	}
}

// internal are the processes of a fleet, which up starts.
func internal() []*cobra.Command {
	return []*cobra.Command{
		{
			Use: "node SPEC", Hidden: true, Args: cobra.ExactArgs(1),
			RunE: func(_ *cobra.Command, args []string) error { return node.Run(args[0]) },
		},
		{
			Use: "registry ADDRESS DIR", Hidden: true, Args: cobra.ExactArgs(2),
			RunE: func(cmd *cobra.Command, args []string) error { return serve.Registry(cmd.Context(), args[0], args[1]) },
		},
		{
			Use: "forward LISTEN=TARGET...", Hidden: true, Args: cobra.MinimumNArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error { return serve.Forward(cmd.Context(), args) },
		},
	}
}
