package components

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const moduleLine = "module stellarflow.io/stellarflow"

// Root returns the root directory of this repository: the nearest directory at or above the working directory whose
// go.mod declares the main module.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	return rootAbove(dir)
}

func rootAbove(start string) (string, error) {
	for dir := start; ; dir = filepath.Dir(dir) {
		data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(data), moduleLine+"\n") {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("find the repository: no go.mod with %q at or above %s; run this inside a clone of stellarflow", moduleLine, start)
		}
	}
}

// CacheDir returns the directory in which everything is kept that is built: $STELLARFLOW_CACHE, else
// $XDG_CACHE_HOME/stellarflow, else ~/.cache/stellarflow. It need not exist yet.
func CacheDir() (string, error) {
	if dir := os.Getenv("STELLARFLOW_CACHE"); dir != "" {
		if !filepath.IsAbs(dir) {
			return "", fmt.Errorf("STELLARFLOW_CACHE=%q is not an absolute path; set it to one, or unset it to use ~/.cache/stellarflow", dir)
		}
		return filepath.Clean(dir), nil
	}
	if dir := os.Getenv("XDG_CACHE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "stellarflow"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the cache directory: %w; set STELLARFLOW_CACHE", err)
	}
	return filepath.Join(home, ".cache", "stellarflow"), nil
}

// ArgoManifests returns the directory of the manifests in Argo's module (base, cluster-install, namespace-install ...).
// It is read-only and shared. The module is downloaded first if it is not there.
func ArgoManifests(ctx context.Context) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	dir, err := moduleDir(ctx, filepath.Join(root, "hack", "tools", "argo"), argoModule)
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "manifests"), nil
}

// moduleDir returns where the module's files are in Go's module cache, downloading them if needed. The version is that
// of the go.mod in toolDir.
func moduleDir(ctx context.Context, toolDir, module string) (string, error) {
	out, err := retry(ctx, func() ([]byte, error) {
		return command{dir: toolDir, env: goEnv(), argv: []string{"go", "mod", "download", "-json", module}}.output(ctx)
	})
	if err != nil {
		return "", fmt.Errorf("download module %s: %w", module, err)
	}
	var info struct{ Dir string }
	if err := json.Unmarshal(out, &info); err != nil {
		return "", fmt.Errorf("download module %s: read go's answer: %w", module, err)
	}
	return info.Dir, nil
}

// requiredVersion reads from a go.mod which version of the module is required.
func requiredVersion(gomod []byte, module string) (string, error) {
	for line := range strings.Lines(string(gomod)) {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(fields) >= 2 && fields[0] == module {
			return fields[1], nil
		}
	}
	return "", fmt.Errorf("go.mod does not require %s; add it with go get -tool", module)
}
