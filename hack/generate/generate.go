package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"stellarflow.io/stellarflow/hack/generate/pinned"
)

// What is generated from what, relative to the work tree.
const (
	apiDir = "pkg/apis/control/v1alpha1"
	crdDir = "config/crd"
	// managedClusterModule has the CRD of the inventory; the hub installs it where Open Cluster Management is not.
	managedClusterModule = "open-cluster-management.io/api"
	managedClusterCRD    = "cluster/v1/0000_00_clusters.open-cluster-management.io_managedclusters.crd.yaml"
	managedClusterName   = "cluster.open-cluster-management.io_managedclusters.yaml"
)

// generate writes every generated file below out, at the path that it has in the work tree root.
func generate(ctx context.Context, root, out string) error {
	tool, err := pinned.Tool(ctx, root, "controller-tools", "controller-gen")
	if err != nil {
		return err
	}
	command := exec.CommandContext(ctx, tool, "object", "crd", "paths=./"+apiDir,
		"output:object:dir="+filepath.Join(out, apiDir), "output:crd:dir="+filepath.Join(out, crdDir))
	command.Dir, command.Stdout, command.Stderr = root, os.Stdout, os.Stderr
	if err := command.Run(); err != nil {
		return fmt.Errorf("run controller-gen for %s: %w", apiDir, err)
	}
	return copyManagedCluster(ctx, root, out)
}

// copyManagedCluster copies the CRD of ManagedCluster from the version of its module that go.mod requires.
func copyManagedCluster(ctx context.Context, root, to string) error {
	command := exec.CommandContext(ctx, "go", "mod", "download", "-json", managedClusterModule) // on a new machine nothing else has needed it yet
	command.Dir, command.Stderr = root, os.Stderr
	out, err := command.Output()
	if err != nil {
		return fmt.Errorf("download module %s: %w: %s", managedClusterModule, err, out)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		return fmt.Errorf("read where module %s is: %w", managedClusterModule, err)
	}
	raw, err := os.ReadFile(filepath.Join(module.Dir, managedClusterCRD))
	if err != nil {
		return fmt.Errorf("read the CRD of ManagedCluster: %w", err)
	}
	target := filepath.Join(to, crdDir, managedClusterName)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	return os.WriteFile(target, raw, 0o644)
}

// compare returns a line for each generated file of the work tree that is not as in fresh: different, missing or left over.
func compare(root, fresh string) ([]string, error) {
	var lines []string
	for _, pattern := range []string{apiDir + "/zz_generated.*.go", crdDir + "/*_*.yaml"} {
		names, err := namesOf(root, fresh, pattern)
		if err != nil {
			return nil, err
		}
		for name := range names {
			if line := difference(root, fresh, name); line != "" {
				lines = append(lines, line)
			}
		}
	}
	return lines, nil
}

// namesOf returns the names that match a pattern in either tree.
func namesOf(root, fresh, pattern string) (map[string]bool, error) {
	names := map[string]bool{}
	for _, tree := range []string{root, fresh} {
		paths, err := filepath.Glob(filepath.Join(tree, pattern))
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			name, err := filepath.Rel(tree, path)
			if err != nil {
				return nil, err
			}
			names[name] = true
		}
	}
	return names, nil
}

// difference says how one file differs; empty if it does not.
func difference(root, fresh, name string) string {
	committed, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		return name + " is missing"
	}
	generated, err := os.ReadFile(filepath.Join(fresh, name))
	switch {
	case err != nil:
		return name + " is not generated any more"
	case string(committed) != string(generated):
		return name + " differs from a fresh generation"
	default:
		return ""
	}
}
