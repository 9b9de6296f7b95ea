// Package pinned builds the tools that the project's own programs need, each from a module of its own under hack/tools, so that
// everybody has the same version and the project's module stays free of their dependencies.
//
// The programs under hack call it. It keeps binaries in the cache and builds one only if its module or the Go version changed.
package pinned

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// CacheDir returns the directory outside the work tree for what can be made again: $STELLARFLOW_CACHE, else stellarflow in
// $XDG_CACHE_HOME, else in ~/.cache.
func CacheDir() (string, error) {
	if dir := os.Getenv("STELLARFLOW_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" {
		return filepath.Join(dir, "stellarflow"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the cache: set STELLARFLOW_CACHE to a directory: %w", err)
	}
	return filepath.Join(home, ".cache", "stellarflow"), nil
}

// Tool returns the path of a binary that the module hack/tools/<module> pins, and builds it first if the cache has none of this
// module and Go version. root is the work tree.
func Tool(ctx context.Context, root, module, binary string) (string, error) {
	dir := filepath.Join(root, "hack", "tools", module)
	key, err := moduleKey(dir)
	if err != nil {
		return "", err
	}
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	home := filepath.Join(cache, "tools", module+"-"+key)
	path := filepath.Join(home, binary)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("look for %s: %w", path, err)
	}
	if err := build(ctx, dir, home); err != nil {
		return "", fmt.Errorf("build %s from %s: %w", binary, dir, err)
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("hack/tools/%s has no tool %s: add it to its go.mod with `go get -tool`: %w", module, binary, err)
	}
	return path, nil
}

// build makes every tool of the module and puts them in place together.
func build(ctx context.Context, dir, home string) error {
	if err := os.MkdirAll(filepath.Dir(home), 0o755); err != nil {
		return err
	}
	partial, err := os.MkdirTemp(filepath.Dir(home), ".partial-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(partial) }() // gone already if it was put in place
	fmt.Fprintf(os.Stderr, "building %s (first time only, takes a few minutes)\n", filepath.Base(dir))
	command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", partial+"/", "tool")
	command.Dir, command.Stdout, command.Stderr = dir, os.Stderr, os.Stderr
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	if err := command.Run(); err != nil {
		return err
	}
	if err := os.Rename(partial, home); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

// moduleKey names the contents of a tool's module and the Go that builds it.
func moduleKey(dir string) (string, error) {
	sum := sha256.New()
	_, _ = fmt.Fprintln(sum, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	for _, name := range []string{"go.mod", "go.sum"} {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return "", fmt.Errorf("read the tool's module: %w", err)
		}
		_, _ = sum.Write(raw)
	}
	return hex.EncodeToString(sum.Sum(nil))[:12], nil
}
