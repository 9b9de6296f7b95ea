// Command stellarflow is the CLI for people: it installs the hub, joins clusters to it, and says where Workflows run and why.
// Under the name kubectl-stellarflow in the PATH it is also `kubectl stellarflow`.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"stellarflow.io/stellarflow/pkg/cli"
)

func main() {
	log.SetLogger(logr.Discard()) // the client's own remarks are for developers
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Main(ctx, cli.Env{Out: os.Stdout, Err: os.Stderr, Now: time.Now, Name: os.Args[0]}, os.Args[1:])
	stop()
	os.Exit(code)
}
