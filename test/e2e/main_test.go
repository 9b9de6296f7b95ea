package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"stellarflow.io/stellarflow/hack/fleet/components"
)

const (
	// envFleet names, to the second process, the fleet that the first one brought up; envProgram is its copy of hack/fleet.
	envFleet   = "STELLARFLOW_E2E_FLEET"
	envProgram = "STELLARFLOW_E2E_PROGRAM"
	// envKeep, if it is set, leaves the fleet up.
	envKeep = "E2E_KEEP"
	// uiAddress is what install is told: links in Argo's UI lead there, and no test follows them.
	uiAddress = "https://argo.example.com"
	// takeDown is what is kept of -timeout for taking the fleet down.
	takeDown = 2 * time.Minute
	// sideBySide is how many tests run at once: they mostly wait, but a machine of two cores starts no more pods than a few in a minute.
	sideBySide = "8"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv(envFleet) != "" || flag.Lookup("test.list").Value.String() != "" {
		os.Exit(m.Run())
	}
	os.Exit(supervise())
}

// supervise brings a fleet up, runs the tests in a process of their own and takes the fleet down, and the second one that the tests may have
// brought up, also when that process panicked, ran out of time or was killed, and when this one gets a signal.
func supervise() int {
	s, err := newSupervisor()
	if err != nil {
		fmt.Println("e2e:", err)
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer stop()
	if s.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.timeout-takeDown)
		defer cancel()
	}
	code := 0
	if err := s.run(ctx); err != nil {
		s.say("FAIL: %v", err)
		code = 1
	}
	if err := s.end(); err != nil {
		s.say("FAIL: %v", err)
		code = 1
	}
	return code
}

// supervisor is the first process.
type supervisor struct {
	root, name, temp, program string
	timeout                   time.Duration
	begun                     time.Time
}

func newSupervisor() (*supervisor, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("real clusters need root: run sudo -E env \"PATH=$PATH\" make e2e")
	}
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		return nil, err
	}
	temp, err := os.MkdirTemp("", "stellarflow-e2e-")
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(root))
	timeout, _ := flag.Lookup("test.timeout").Value.(flag.Getter).Get().(time.Duration)
	return &supervisor{
		root: root, name: "e2e-" + hex.EncodeToString(sum[:3]), temp: temp, program: filepath.Join(temp, "fleet"),
		timeout: timeout, begun: time.Now(),
	}, nil
}

// run is everything but taking down.
func (s *supervisor) run(ctx context.Context) error {
	s.say("bringing up fleet %s", s.name)
	if _, err := components.Ensure(ctx, os.Stdout, components.Extra()...); err != nil { // while the machine is free
		return fmt.Errorf("build what only tests use: %w", ended(ctx, err))
	}
	build := []string{"go", "build", "-o", s.program, "./hack/fleet"}
	for _, step := range append([][]string{build}, bringUp(s.root, s.name, s.program)...) {
		if err := s.command(ctx, step[0], step[1:]...).Run(); err != nil {
			return fmt.Errorf("%s: %w", strings.Join(step, " "), ended(ctx, err))
		}
	}
	s.say("running the tests")
	args := append(os.Args[1:], "-test.parallel="+sideBySide) //nolint:gocritic // a new slice is meant
	if s.timeout > 0 {
		args = append(args, "-test.timeout="+max(s.timeout-takeDown-time.Since(s.begun), time.Second).String())
	}
	tests := s.command(ctx, os.Args[0], args...)
	tests.Dir = "" // where go test started us
	tests.Env = append(tests.Env, envFleet+"="+s.name, envProgram+"="+s.program)
	if err := tests.Run(); err != nil {
		return fmt.Errorf("tests: %w", ended(ctx, err))
	}
	return nil
}

// secondOf is the name of the second fleet of a run.
func secondOf(name string) string { return name + "-2" }

// bringUp are the commands, in the work tree, that bring up a fleet, install Stellarflow and join the clusters.
func bringUp(root, fleet, program string) [][]string {
	dir := filepath.Join(root, ".fleet", fleet)
	hub, kubectl, stellarflow := filepath.Join(dir, "hub.kubeconfig"), filepath.Join(dir, "bin", "kubectl"), filepath.Join(dir, "bin", "stellarflow")
	steps := [][]string{
		{program, "up"},
		{program, "load-image", "stellarflow/hub:latest"},
		{kubectl, "--kubeconfig", hub, "apply", "-f", filepath.Join(dir, "kubelet-ca.yaml")}, // docs/operations.md
		{stellarflow, "install", "--kubeconfig", hub, "--artifact-store", filepath.Join(dir, "minio.env"), "--argo-url", uiAddress, "--restart"},
	}
	apply := []string{kubectl, "--kubeconfig", hub, "apply", "-f", "samples/customtransform.yaml"}
	for _, cluster := range wecNames {
		steps = append(steps, []string{
			stellarflow, "join", cluster, "--kubeconfig", filepath.Join(dir, cluster+".kubeconfig"), "--namespaces", "argo", "--hub-kubeconfig", hub,
		})
		apply = append(apply, "-f", "samples/bindingpolicy-"+cluster+".yaml")
	}
	return append(steps, apply)
}

// ended says why a command ended early.
func ended(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("%w (%w)", cause, err)
	}
	return err
}

// end takes the fleets down, whatever came before. Signals are not listened to.
func (s *supervisor) end() error {
	defer func() { _ = os.RemoveAll(s.temp) }()
	ctx, cancel := context.WithTimeout(context.Background(), takeDown)
	defer cancel()
	return errors.Join(s.endFleet(ctx, s.name), s.endFleet(ctx, secondOf(s.name)))
}

// endFleet takes one fleet down, if it was brought up.
func (s *supervisor) endFleet(ctx context.Context, name string) error {
	if _, err := os.Stat(filepath.Join(s.root, ".fleet", name)); errors.Is(err, os.ErrNotExist) && name != s.name {
		return nil
	}
	if os.Getenv(envKeep) != "" {
		s.say("fleet %s stays up; FLEET_NAME=%s go run ./hack/fleet down ends it", name, name)
		return nil
	}
	s.say("taking down fleet %s", name)
	command := s.command(ctx, s.program, "down")
	if _, err := os.Stat(s.program); err != nil { // it was never built, but there may be a fleet of an earlier run
		command = s.command(ctx, "go", "run", "./hack/fleet", "down")
	}
	command.Env = append(command.Env, "FLEET_NAME="+name)
	command.SysProcAttr.Setpgid = true // a terminal's Ctrl-C goes to the whole group
	if err := command.Run(); err != nil {
		return fmt.Errorf("fleet %s is not down: %w; FLEET_NAME=%s go run ./hack/fleet down", name, err, name)
	}
	return nil
}

// command is a command in the work tree for the first fleet, with our output, that ends when the context or this process does.
func (s *supervisor) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, name, args...)
	command.Dir, command.Stdout, command.Stderr = s.root, os.Stdout, os.Stderr
	command.Env = append(os.Environ(), "FLEET_NAME="+s.name, "FLEET=", "CLUSTERS=")
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = 30 * time.Second
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	return command
}

func (s *supervisor) say(format string, args ...any) {
	fmt.Printf("e2e %4.0fs  %s\n", time.Since(s.begun).Seconds(), fmt.Sprintf(format, args...))
}
