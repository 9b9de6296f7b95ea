package components

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const argoModule = "github.com/argoproj/argo-workflows/v3"

// argoRecipe changes when the way in which Argo's sources are put together changes.
const argoRecipe = "argo 1"

// argoPrograms are built in this order: the server first, it holds most of what the others need.
var argoPrograms = []struct {
	name     Name
	estimate time.Duration
}{
	{Argo, 190 * time.Second},
	{WorkflowController, 30 * time.Second},
	{ArgoExec, 20 * time.Second},
}

// argoUnits returns Argo's programs and what they are built from.
func (e *environment) argoUnits() (map[Name]*unit, error) {
	pins, err := e.readPins("argo")
	if err != nil {
		return nil, err
	}
	version, err := requiredVersion(pins.mod, argoModule)
	if err != nil {
		return nil, fmt.Errorf("hack/tools/argo: %w", err)
	}
	ui := e.argoUI(pins.dir, version)
	source := e.argoSource(pins, version, ui)
	units := map[Name]*unit{}
	for _, p := range argoPrograms {
		flags := "-s -w" + stamps(argoModule, version)
		units[p.name] = &unit{
			title: string(p.name) + " " + version, estimate: p.estimate, disk: 1.5, needs: []*unit{source},
			dir: fmt.Sprintf("bin/%s-%s-%s", p.name, version, hashKey(goRecipe, e.goVersion, flags, source.dir)),
			build: func(ctx context.Context, dir string) error {
				return goBuild(ctx, e.path(source), filepath.Join(dir, string(p.name)),
					"-mod=vendor", "-ldflags", flags, argoModule+"/cmd/"+string(p.name))
			},
		}
	}
	units[ArgoFiles] = e.argoFiles(pins.dir, version)
	return units, nil
}

// argoSource is a directory with Argo and all it needs in vendor/. It exists because the zip of Argo's module lacks two
// things: the built UI, which argo embeds, and a source file that is a symbolic link upstream (zips of modules have none).
func (e *environment) argoSource(pins pins, version string, ui *unit) *unit {
	return &unit{
		title: "sources of Argo " + version, estimate: 30 * time.Second, disk: 2, needs: []*unit{ui},
		dir: fmt.Sprintf("src/argo-%s-%s", version, hashKey(argoRecipe, ui.dir, string(pins.mod), string(pins.sum))),
		build: func(ctx context.Context, dir string) error {
			for name, data := range map[string][]byte{"go.mod": pins.mod, "go.sum": pins.sum} {
				if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
					return err
				}
			}
			_, err := retry(ctx, func() ([]byte, error) {
				return command{dir: dir, env: goEnv(), argv: []string{"go", "mod", "vendor", "-e"}}.output(ctx)
			})
			if err != nil {
				return err
			}
			argo := filepath.Join(dir, "vendor", filepath.FromSlash(argoModule))
			signals := filepath.Join(argo, "workflow", "executor", "osspecific")
			if err := copyFile(filepath.Join(signals, "signal_darwin.go"), filepath.Join(signals, "signal_linux.go")); err != nil {
				return err
			}
			return copyTree(filepath.Join(e.path(ui), "app"), filepath.Join(argo, "ui", "dist", "app"))
		},
	}
}

// argoFiles are the files that Argo's images take from its sources.
func (e *environment) argoFiles(toolDir, version string) *unit {
	return &unit{
		title: "files of Argo's images " + version, estimate: time.Second, disk: 0.3,
		dir: fmt.Sprintf("src/argo-files-%s-%s", version, hashKey(argoRecipe)),
		build: func(ctx context.Context, dir string) error {
			module, err := moduleDir(ctx, toolDir, argoModule)
			if err != nil {
				return err
			}
			for _, name := range []string{"nsswitch.conf", "ssh_known_hosts"} {
				if err := copyFile(filepath.Join(module, "hack", name), filepath.Join(dir, string(ArgoFiles), name)); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
