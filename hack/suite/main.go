// Command suite runs one suite of tests with go test and prints its time. Of tests that pass it prints a line for each package;
// the output of one that fails or is skipped comes whole. With -stream every line comes as it is written, for suites that take long, and what failed
// tests logged last comes again at the end.
// If the variable CI is set, a skipped test fails the suite: nothing that CI is meant to run may be left out in silence.
//
//	go run ./hack/suite [-stream] NAME [go test arguments]
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	stream := flag.Bool("stream", false, "print every line at once")
	flag.Parse()
	if flag.NArg() < 2 {
		fmt.Fprintln(os.Stderr, "suite: usage: go run ./hack/suite [-stream] NAME [go test arguments]")
		os.Exit(2)
	}
	// The tests get the signal too, and clean up; waiting for them is all that is left to do here.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	name := flag.Arg(0)
	started := time.Now()
	err := run(ctx, os.Stdout, flag.Args()[1:], *stream, os.Getenv("CI") != "")
	stop()
	took := time.Since(started).Round(time.Second)
	if err != nil {
		fmt.Printf("FAIL\tsuite %s\t%v: %v\n", name, took, err)
		os.Exit(1)
	}
	fmt.Printf("ok  \tsuite %s\t%v\n", name, took)
}

// run runs go test and prints what report makes of its output.
func run(ctx context.Context, out io.Writer, args []string, stream, noSkips bool) error {
	command := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, args...)...)
	command.Stderr = os.Stderr
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	output, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return fmt.Errorf("start go test: %w", err)
	}
	report := newReport(out, stream)
	readErr := report.read(output)
	if err := command.Wait(); err != nil {
		if stream {
			report.repeatFailures()
		}
		return fmt.Errorf("%s: %w", report.summary(), err)
	}
	if readErr != nil {
		return readErr
	}
	if noSkips && len(report.skipped) > 0 {
		return fmt.Errorf("%s; in CI a skipped test fails the suite: %s", report.summary(), strings.Join(report.skipped, ", "))
	}
	return nil
}
