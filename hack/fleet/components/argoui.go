package components

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	// uiRecipe changes when the way in which Argo's UI is built changes.
	uiRecipe = "ui 1"
	// uiLibrary is what stands in for a library that upstream takes from a commit on GitHub: its last release. The UI
	// differs from upstream's in this only.
	uiLibrary        = "argo-ui"
	uiLibraryVersion = "1.0.0"
	// uiUUID is the last release with the paths that uiLibrary imports.
	uiUUID         = "3.4.0"
	yarn           = "yarn@1.22.22"
	lockedRegistry = "https://registry.yarnpkg.com"
)

// argoUI builds Argo's UI from the sources in its module: node, npm and the npm registry in use are needed. Its key holds
// nothing of Go's, so that a new Go or a new dependency of the server does not build it again.
func (e *environment) argoUI(toolDir, version string) *unit {
	return &unit{
		title: "Argo's UI " + version, estimate: 100 * time.Second, disk: 2,
		dir: fmt.Sprintf("ui/argo-%s-%s", version, hashKey(uiRecipe, uiLibraryVersion, uiUUID, yarn)),
		build: func(ctx context.Context, dir string) error {
			module, err := moduleDir(ctx, toolDir, argoModule)
			if err != nil {
				return err
			}
			work := filepath.Join(dir, "work")
			defer os.RemoveAll(work) //nolint:errcheck // publish removes the rest
			for _, part := range []string{"ui", "api"} {
				if err := copyTree(filepath.Join(module, part), filepath.Join(work, part)); err != nil {
					return err
				}
			}
			registry, err := npmRegistry(ctx)
			if err != nil {
				return err
			}
			if err := prepareUI(filepath.Join(work, "ui"), registry); err != nil {
				return err
			}
			if err := bundleUI(ctx, work, registry); err != nil {
				return err
			}
			if err := os.Rename(filepath.Join(work, "ui", "dist", "app"), filepath.Join(dir, "app")); err != nil {
				return fmt.Errorf("webpack made no dist/app: %w", err)
			}
			return os.RemoveAll(work)
		},
	}
}

func bundleUI(ctx context.Context, work, registry string) error {
	ui := filepath.Join(work, "ui")
	env := []string{
		"npm_config_registry=" + registry, "YARN_CACHE_FOLDER=" + filepath.Join(work, "yarn"),
		"npm_config_cache=" + filepath.Join(work, "npm"), "npm_config_update_notifier=false",
	}
	_, err := retry(ctx, func() ([]byte, error) {
		return command{dir: ui, env: env, argv: []string{
			"npx", "--yes", yarn, "install", "--ignore-scripts", "--non-interactive", "--network-timeout", "300000",
		}}.output(ctx)
	})
	if err != nil {
		return err
	}
	env = append(env, "NODE_ENV=production", "NODE_OPTIONS=--max-old-space-size=3072")
	_, err = command{dir: ui, env: env, argv: []string{"npx", "webpack", "--mode", "production"}}.output(ctx)
	return err
}

// npmRegistry returns the address of the npm registry in use, without a slash at its end.
func npmRegistry(ctx context.Context) (string, error) {
	out, err := command{dir: os.TempDir(), argv: []string{"npm", "config", "get", "registry"}}.output(ctx)
	if err != nil {
		return "", fmt.Errorf("ask npm for its registry: %w", err)
	}
	return strings.TrimRight(strings.TrimSpace(string(out)), "/"), nil
}

// prepareUI changes the sources in dir so that they need nothing but an npm registry: the library from GitHub becomes a
// release, and the addresses that yarn.lock holds become those of the registry.
func prepareUI(dir, registry string) error {
	manifest := filepath.Join(dir, "package.json")
	data, err := os.ReadFile(manifest)
	if err != nil {
		return err
	}
	if data, err = patchPackage(data); err != nil {
		return fmt.Errorf("%s: %w", manifest, err)
	}
	if err := os.WriteFile(manifest, data, 0o644); err != nil {
		return err
	}
	lockfile := filepath.Join(dir, "yarn.lock")
	if data, err = os.ReadFile(lockfile); err != nil {
		return err
	}
	if err := os.WriteFile(lockfile, patchLock(data, registry), 0o644); err != nil {
		return err
	}
	// It demands a lock file that is complete, which ours is not without the library.
	return os.Remove(filepath.Join(dir, ".yarnrc"))
}

func patchPackage(data []byte) ([]byte, error) {
	var pkg map[string]any
	if err := json.Unmarshal(data, &pkg); err != nil {
		return nil, err
	}
	for section, entry := range map[string][2]string{"dependencies": {uiLibrary, uiLibraryVersion}, "resolutions": {"uuid", uiUUID}} {
		entries, ok := pkg[section].(map[string]any)
		if !ok {
			return nil, fmt.Errorf("has no %s; this version of Argo needs another recipe", section)
		}
		entries[entry[0]] = entry[1]
	}
	return json.MarshalIndent(pkg, "", "  ")
}

func patchLock(data []byte, registry string) []byte {
	blocks := bytes.Split(data, []byte("\n\n"))
	kept := blocks[:0]
	for _, block := range blocks {
		if !bytes.HasPrefix(bytes.TrimSpace(block), []byte(`"`+uiLibrary+"@")) {
			kept = append(kept, block)
		}
	}
	return bytes.ReplaceAll(bytes.Join(kept, []byte("\n\n")), []byte(lockedRegistry), []byte(registry))
}
