package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// hubImage is the image of the hub manager, built from the work tree.
const hubImage = "stellarflow/hub:latest"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	d, err := newDemo()
	if err != nil {
		return err
	}
	switch {
	case len(args) == 0:
		return d.up(ctx)
	case len(args) == 1 && args[0] == "down":
		return d.command(ctx, "go", "run", "./hack/fleet", "down")
	}
	return fmt.Errorf("unknown arguments %q: give none, or down", strings.Join(args, " "))
}

// demo is one run of it.
type demo struct {
	root  string // the work tree
	fleet string // the fleet's directory, relative to it
	start time.Time
}

func newDemo() (*demo, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "stellarflow.io/stellarflow").Output()
	if err != nil {
		return nil, errors.New("this is not the work tree of Stellarflow: run `make demo` in it")
	}
	return &demo{root: strings.TrimSpace(string(out)), fleet: filepath.Join(".fleet", os.Getenv("FLEET_NAME")), start: time.Now()}, nil
}

// up does the whole demo.
func (d *demo) up(ctx context.Context) error {
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"Clusters", func(ctx context.Context) error { return d.command(ctx, "go", "run", "./hack/fleet", "up") }},
		{"Image of the hub manager", func(ctx context.Context) error {
			return d.command(ctx, "go", "run", "./hack/fleet", "load-image", hubImage)
		}},
		{"Stellarflow on the hub", d.install},
		{"Workflow clusters", d.join},
		{"Policies and transform", d.policies},
	} {
		d.title(step.what)
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", strings.ToLower(step.what[:1])+step.what[1:], err)
		}
	}
	return d.workflows(ctx)
}

func (d *demo) install(ctx context.Context) error {
	// The hub's API server verifies kubelets, and trusts this CA for logs of pods that run elsewhere. Clusters of kind do not verify.
	ca := filepath.Join(d.fleet, "kubelet-ca.yaml")
	if _, err := os.Stat(filepath.Join(d.root, ca)); err == nil {
		if err := d.command(ctx, d.bin("kubectl"), "--kubeconfig", d.kubeconfig("hub"), "apply", "-f", ca); err != nil {
			return err
		}
	}
	// The image behind the tag may be new, so the manager starts anew; what it does is all in Kubernetes objects.
	return d.command(ctx, d.bin("stellarflow"), "install", "--kubeconfig", d.kubeconfig("hub"), "--artifact-store", filepath.Join(d.fleet, "minio.env"), "--restart")
}

func (d *demo) join(ctx context.Context) error {
	for _, cluster := range d.clusters() {
		err := d.command(ctx, d.bin("stellarflow"), "join", cluster, "--kubeconfig", d.kubeconfig(cluster), "--namespaces", "argo", "--hub-kubeconfig", d.kubeconfig("hub"))
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) policies(ctx context.Context) error {
	args := []string{"--kubeconfig", d.kubeconfig("hub"), "apply", "-f", "samples/customtransform.yaml"}
	for _, cluster := range d.sampled() {
		args = append(args, "-f", "samples/bindingpolicy-"+cluster+".yaml")
	}
	return d.command(ctx, d.bin("kubectl"), args...)
}

// clusters are the fleet's WECs.
func (d *demo) clusters() []string {
	var found []string
	for _, name := range strings.Split(d.setting("CLUSTERS"), ",") {
		if name != "" && name != "hub" {
			found = append(found, name)
		}
	}
	return found
}

// sampled are the WECs that samples/ has a policy for.
func (d *demo) sampled() []string {
	var found []string
	for _, cluster := range d.clusters() {
		if _, err := os.Stat(filepath.Join(d.root, "samples", "bindingpolicy-"+cluster+".yaml")); err == nil {
			found = append(found, cluster)
		}
	}
	return found
}

// setting is a value of the fleet's env file.
func (d *demo) setting(name string) string {
	raw, err := os.ReadFile(filepath.Join(d.root, d.fleet, "env"))
	if err != nil {
		return ""
	}
	for _, line := range strings.Split(string(raw), "\n") {
		if value, found := strings.CutPrefix(line, name+"="); found {
			return value
		}
	}
	return ""
}

func (d *demo) bin(name string) string { return filepath.Join(d.fleet, "bin", name) }

func (d *demo) kubeconfig(cluster string) string {
	return filepath.Join(d.fleet, cluster+".kubeconfig")
}

// title begins a step.
func (d *demo) title(text string) {
	fmt.Printf("\n== %s (%s)\n", text, time.Since(d.start).Round(time.Second))
}

// command prints and runs a command in the work tree, its output to ours.
func (d *demo) command(ctx context.Context, name string, args ...string) error {
	fmt.Printf("$ %s %s\n", name, strings.Join(args, " "))
	command := d.prepare(ctx, name, args...)
	command.Stdout = os.Stdout
	if err := command.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return nil
}

// output runs a command in the work tree and returns its output.
func (d *demo) output(ctx context.Context, name string, args ...string) ([]byte, error) {
	out, err := d.prepare(ctx, name, args...).Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return out, nil
}

// prepare makes a command that is asked to end when the context is done, and given time for it.
func (d *demo) prepare(ctx context.Context, name string, args ...string) *exec.Cmd {
	if strings.HasPrefix(name, d.fleet) {
		name = filepath.Join(d.root, name)
	}
	command := exec.CommandContext(ctx, name, args...) //nolint:gosec // commands of this program
	command.Dir, command.Stdin, command.Stderr = d.root, os.Stdin, os.Stderr
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = 30 * time.Second
	return command
}
