package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"stellarflow.io/stellarflow/hack/fleet/cgroup"
	"stellarflow.io/stellarflow/hack/fleet/network"
	"stellarflow.io/stellarflow/hack/fleet/plan"
	"stellarflow.io/stellarflow/hack/fleet/process"
)

// down removes every trace of the fleet, also of one whose processes or
// records are gone: everything is found by the fleet's ID.
func (f *local) down(ctx context.Context) error {
	if _, err := os.Stat(f.Dir()); errors.Is(err, os.ErrNotExist) && f.quiet() {
		f.say.line("nothing is left of %s", f)
		return nil
	}
	return f.locked(ctx, "down", func(ctx context.Context) error {
		// Without TERM first: nothing of it is needed any more.
		if err := f.killProcesses(); err != nil {
			return err
		}
		tree, err := cgroup.Current()
		if err != nil {
			return err
		}
		if err := removeCgroup(tree, f.CgroupRoot()); err != nil {
			return err
		}
		if err := f.removeNetwork(ctx); err != nil {
			return err
		}
		if err := f.removeFiles(); err != nil {
			return err
		}
		f.say.line("%s is gone", f)
		return nil
	})
}

// quiet tells that nothing on the machine bears the fleet's ID.
func (f *local) quiet() bool {
	found, err := network.Leftovers(f.Fleet)
	if err != nil || len(found.Links)+len(found.Netns) > 0 {
		return false
	}
	tree, err := cgroup.Current()
	return err == nil && len(tree.Exists(f.CgroupRoot())) == 0 && len(process.Find(f.ID)) == 0
}

// killProcesses kills everything that carries the fleet's ID in its
// environment or its cgroup, until nothing does.
func (f *local) killProcesses() error {
	tree, err := cgroup.Current()
	if err != nil {
		return err
	}
	return process.KillAll(func() ([]int, error) {
		pids, err := tree.Pids(f.CgroupRoot())
		return append(pids, process.Find(f.ID)...), err
	}, stopLimit)
}

func (f *local) removeNetwork(ctx context.Context) error {
	unlock, err := lockNetwork(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	found, err := network.Leftovers(f.Fleet)
	if err != nil {
		return err
	}
	if len(found.Links)+len(found.Netns) == 0 {
		return nil
	}
	if err := f.findTools(ctx); err != nil {
		return err
	}
	return f.tools.Remove(ctx, f.Fleet)
}

// removeFiles removes the fleet's own files; other fleets' directories may lie
// beside them.
func (f *local) removeFiles() error {
	if !f.IsDefault() {
		if err := removeAll(f.Dir()); err != nil {
			return fmt.Errorf("remove the files of %s: %w", f, err)
		}
		_ = os.Remove(filepath.Dir(f.Dir())) // .fleet, if nothing else is in it
		return nil
	}
	paths := []string{f.BinDir(), f.LogDir(), f.StateDir(), f.EnvFile(), f.MinioEnvFile()}
	kubeconfigs, err := filepath.Glob(filepath.Join(f.Dir(), "*.kubeconfig"))
	if err != nil {
		return err
	}
	if err := removeAll(append(paths, kubeconfigs...)...); err != nil {
		return fmt.Errorf("remove the files of %s: %w", f, err)
	}
	_ = os.Remove(f.Dir()) // if nothing else is in it
	return nil
}

// kill is a crash: every process of the fleet ends at once, nothing is cleaned.
func (f *local) kill(ctx context.Context) error {
	return f.locked(ctx, "kill", func(context.Context) error {
		if err := f.killProcesses(); err != nil {
			return err
		}
		f.say.line("every process of %s was killed; fleet up brings it back", f)
		return nil
	})
}

// status prints a line per cluster and fails if something is not well.
func (f *local) status(ctx context.Context) error {
	if !f.rec.Subnet.IsValid() {
		return fmt.Errorf("%s is not up: run fleet up", f)
	}
	if err := requireRoot("status"); err != nil {
		return err
	}
	if err := f.findTools(ctx); err != nil {
		return err
	}
	clusters := f.clusters()
	rows := make([][]string, len(clusters))
	sick := make([]bool, len(clusters))
	var g errgroup.Group
	for i, c := range clusters {
		g.Go(func() error {
			rows[i], sick[i] = f.clusterRow(ctx, c)
			return nil
		})
	}
	_ = g.Wait() // the functions return no errors
	fmt.Fprint(f.say, table(append([][]string{{"CLUSTER", "API", "NODE", "PODS", "ARGO", "NETWORK", "ADDRESS", "KUBECONFIG"}}, rows...)))
	var unwell []string
	for i, c := range clusters {
		if sick[i] {
			unwell = append(unwell, c.Name)
		}
	}
	fmt.Fprintln(f.say)
	unwell = append(unwell, f.serviceRows(ctx)...)
	if len(unwell) > 0 {
		return fmt.Errorf("not well: %s; fleet up repairs, logs are in %s", strings.Join(unwell, ", "), f.relative(f.LogDir()))
	}
	return nil
}

func (f *local) serviceRows(ctx context.Context) []string {
	rows := [][]string{{"SERVICE", "STATE", "ADDRESS"}}
	var unwell []string
	for _, s := range []struct{ name, probe, address string }{
		{"registry", "http://" + f.registry() + "/v2/", f.registry()},
		{"minio", "http://" + f.store().Endpoint + "/minio/health/ready", f.store().Endpoint + "  " + f.minioURL()},
		{"argo", f.argoURL() + "/", f.argoURL()},
	} {
		state := "ok"
		if err := get(ctx, s.probe); err != nil {
			state = "does not answer"
			unwell = append(unwell, s.name)
		}
		rows = append(rows, []string{s.name, state, s.address})
	}
	fmt.Fprint(f.say, table(rows))
	return unwell
}

// clusterRow is a cluster's line, and whether it is not well.
func (f *local) clusterRow(ctx context.Context, c plan.Cluster) ([]string, bool) {
	row := []string{c.Name, "-", "-", "-", "-", "connected", c.Server(), f.relative(c.Kubeconfig)}
	rec := f.recordOf(c.Name)
	if !rec.Alive() {
		row[1] = "stopped"
		return row, true
	}
	if f.tools.IsCut(ctx, c) {
		row[5] = "cut"
	}
	cs, err := client(c)
	if err == nil {
		err = apiReady(ctx, cs)
	}
	if err != nil {
		row[1] = "down"
		return row, true
	}
	row[1] = "ok"
	nodeErr := nodeReady(ctx, cs, c, rec.Since)
	row[2] = okOr(nodeErr, "not ready")
	row[3] = podCount(ctx, cs)
	argoErr := argoReady(ctx, cs, rec.Since)
	row[4] = okOr(argoErr, "not ready")
	if argoErr == nil {
		row[4] = argoVersion(ctx, cs)
	}
	return row, nodeErr != nil || argoErr != nil || row[5] == "cut"
}
