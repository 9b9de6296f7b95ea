// Command run is `make chaos`: a fault run of N Workflows on a fleet of its own. The last line has the seven counts; the exit code is
// not zero if any of them is not. See test/chaos.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"stellarflow.io/stellarflow/test/chaos"
)

func main() {
	ctrl.SetLogger(logr.Discard()) // envtest says what it does
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	seed, err := number("SEED", uint64(os.Getpid())) //nolint:gosec // a process id is positive
	if err != nil {
		return err
	}
	n, err := number("N", 10_000)
	if err != nil {
		return err
	}
	fmt.Printf("chaos: seed %d, %d Workflows: SEED=%d N=%d make chaos runs this again\n", seed, n, seed, n)
	return chaos.Main(ctx, seed, int(n), os.Stdout) //nolint:gosec // a count of Workflows
}

// number reads an environment variable.
func number(name string, otherwise uint64) (uint64, error) {
	text := os.Getenv(name)
	if text == "" {
		return otherwise, nil
	}
	value, err := strconv.ParseUint(text, 10, 32)
	if err != nil || value == 0 {
		return 0, fmt.Errorf("%s=%q is no positive number", name, text)
	}
	return value, nil
}
