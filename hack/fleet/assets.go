package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"stellarflow.io/stellarflow/hack/fleet/components"
)

// assets is the command that `make integration` takes its API servers from: no cluster, only the programs.
func assets() *cobra.Command {
	return &cobra.Command{
		Use: "assets", Short: "Print a folder with kube-apiserver, etcd, kubectl and minio, for tests without a fleet", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			names := []components.Name{components.KubeAPIServer, components.Etcd, components.Kubectl, components.MinIO}
			paths, err := components.Ensure(cmd.Context(), os.Stderr, names...)
			if err != nil {
				return err
			}
			cache, err := components.CacheDir()
			if err != nil {
				return err
			}
			dir := filepath.Join(cache, "assets")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("make the folder of the programs: %w", err)
			}
			for _, name := range names {
				if err := link(paths[name], filepath.Join(dir, string(name))); err != nil {
					return err
				}
			}
			fmt.Println(dir)
			return nil
		},
	}
}

// link makes a symbolic link, or points an old one to the new target, without a moment in which there is none.
func link(target, path string) error {
	if have, err := os.Readlink(path); err == nil && have == target {
		return nil
	}
	fresh := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := os.Symlink(target, fresh); err != nil {
		return fmt.Errorf("link %s: %w", path, err)
	}
	if err := os.Rename(fresh, path); err != nil {
		return fmt.Errorf("link %s: %w", path, err)
	}
	return nil
}
