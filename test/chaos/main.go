package chaos

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"stellarflow.io/stellarflow/test/chaos/history"
)

// perSecond is how many Workflows a run creates in a second, as far as the machine keeps up.
const perSecond = 15

// Main does one whole run on a fleet of its own: what `make chaos` does. The error says that a count is not zero, or that there was no
// run. What the run wrote is kept, in a directory that is named, only after an error.
func Main(ctx context.Context, seed uint64, n int, out io.Writer) error {
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	if assets == "" {
		return errors.New("KUBEBUILDER_ASSETS is not set to a directory with etcd and kube-apiserver: run `make chaos`")
	}
	dir, err := os.MkdirTemp("", "stellarflow-chaos-")
	if err != nil {
		return err
	}
	report, err := whole(ctx, assets, dir, Options{Seed: seed, N: n, Dir: dir, Out: out, PerSecond: perSecond, Tail: tail, Patience: patience}, out)
	if err != nil {
		return fmt.Errorf("%w (logs are in %s)", err, dir)
	}
	line := fmt.Sprintf("chaos: seed %d, %d Workflows: %s", seed, n, report.Line())
	if len(report.Findings) == 0 && os.Getenv("KEEP") == "" {
		fmt.Fprintln(out, line)
		return os.RemoveAll(dir)
	}
	const named = 20
	for i, finding := range report.Findings {
		if i == named {
			fmt.Fprintf(out, "and %d more\n", len(report.Findings)-named)
			break
		}
		fmt.Fprintf(out, "%s: %s %s: %s\n", finding.Count, finding.Time.Format("15:04:05.000"), finding.UID, finding.Text)
	}
	fmt.Fprintf(out, "history.jsonl, the fault log in it, and the logs of all processes are in %s\n", dir)
	fmt.Fprintln(out, line)
	if len(report.Findings) == 0 {
		return nil
	}
	return errors.New("a law was broken")
}

func whole(ctx context.Context, assets, dir string, options Options, out io.Writer) (history.Report, error) {
	manager, err := buildManager(ctx, dir)
	if err != nil {
		return history.Report{}, err
	}
	options.Manager = manager
	fleet, err := Start(ctx, assets, dir)
	defer fleet.Stop()
	if err != nil {
		return history.Report{}, err
	}
	options.Lanes = lanes(options.Seed, clusterNames)
	report, records, err := fleet.Run(ctx, options)
	if err != nil || len(report.Findings) > 0 || os.Getenv("KEEP") != "" {
		err = errors.Join(err, write(filepath.Join(dir, "history.jsonl"), records))
	}
	fmt.Fprintf(out, "%d hub copies, %d placed, %d runs started, %d ended, %d of %d asks done, %d second starts that nobody could know of; %d records\n",
		report.Workflows, report.Placed, report.Starts, report.Ended, report.Done, report.Asked, report.Unknowable, len(records))
	return report, err
}

// buildManager builds test/chaos/manager into a directory.
func buildManager(ctx context.Context, dir string, more ...string) (string, error) {
	path := filepath.Join(dir, "manager")
	build := exec.CommandContext(ctx, "go", append(append([]string{"build", "-o", path}, more...), "./test/chaos/manager")...)
	build.Dir = root()
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the manager: %w\n%s", err, out)
	}
	return path, nil
}

// write stores the records, one a line.
func write(path string, records []history.Record) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriter(file)
	encoder := json.NewEncoder(buffered)
	for _, record := range records {
		if err := encoder.Encode(record); err != nil {
			return errors.Join(err, file.Close())
		}
	}
	return errors.Join(buffered.Flush(), file.Close())
}
