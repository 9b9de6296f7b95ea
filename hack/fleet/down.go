package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"stellarflow.io/stellarflow/hack/fleet/cgroup"
	"stellarflow.io/stellarflow/hack/fleet/network"
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
func (f *fleet) removeFiles() error {
	if !f.IsDefault() {
		if err := removeAll(f.Dir()); err != nil {
			return fmt.Errorf("remove the files of %s: %w", f, err)
		}
		_ = os.Remove(filepath.Dir(f.Dir())) // .fleet, if nothing else is in it
		return nil
	}
	paths := []string{f.BinDir(), f.LogDir(), f.StateDir(), f.EnvFile(), f.MinioEnvFile(), f.KubeletCAFile()}
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

// removeAll removes directories that may hold files of containers.
func removeAll(paths ...string) error {
	var errs []error
	for _, p := range paths {
		errs = append(errs, os.RemoveAll(p))
	}
	return errors.Join(errs...)
}
