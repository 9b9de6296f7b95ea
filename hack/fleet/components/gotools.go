package components

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// goTool is a program of a Go module that is pinned in hack/tools.
type goTool struct {
	name     Name
	tool     string // directory under hack/tools
	module   string
	pkg      string
	estimate time.Duration
	disk     float64
}

const kubernetesModule = "k8s.io/kubernetes"

// goTools are built in this order: the first of a module pays for what the rest shares with it, and etcd for the
// standard library.
var goTools = []goTool{
	{Etcd, "etcd", "go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/server/v3", 40 * time.Second, 1},
	{KubeAPIServer, "kubernetes", kubernetesModule, kubernetesModule + "/cmd/kube-apiserver", 4 * time.Minute, 4},
	{KubeControllerManager, "kubernetes", kubernetesModule, kubernetesModule + "/cmd/kube-controller-manager", 30 * time.Second, 1},
	{KubeScheduler, "kubernetes", kubernetesModule, kubernetesModule + "/cmd/kube-scheduler", 10 * time.Second, 0.5},
	{Kubelet, "kubernetes", kubernetesModule, kubernetesModule + "/cmd/kubelet", 40 * time.Second, 1},
	{KubeProxy, "kubernetes", kubernetesModule, kubernetesModule + "/cmd/kube-proxy", 10 * time.Second, 0.5},
	{Kubectl, "kubernetes", kubernetesModule, kubernetesModule + "/cmd/kubectl", 25 * time.Second, 1},
	{MinIO, "minio", "github.com/minio/minio", "github.com/minio/minio", 105 * time.Second, 4},
	{CoreDNS, "coredns", "github.com/coredns/coredns", "github.com/coredns/coredns", 2 * time.Minute, 4},
	{ArgoEvents, "argo-events", "github.com/argoproj/argo-events", "github.com/argoproj/argo-events/cmd", 5 * time.Minute, 5},
}

// goRecipe changes when the way in which Go programs are built changes.
const goRecipe = "go 1"

// goEnv is what every call of go gets. Cgo is off: the programs run in images without a C library.
func goEnv() []string { return []string{"CGO_ENABLED=0", "GOWORK=off"} }

// goUnits returns the units of goTools.
func (e *environment) goUnits() (map[Name]*unit, error) {
	units := make(map[Name]*unit, len(goTools))
	for _, t := range goTools {
		u, err := e.goUnit(t)
		if err != nil {
			return nil, err
		}
		units[t.name] = u
	}
	return units, nil
}

func (e *environment) goUnit(t goTool) (*unit, error) {
	pins, err := e.readPins(t.tool)
	if err != nil {
		return nil, err
	}
	version, err := requiredVersion(pins.mod, t.module)
	if err != nil {
		return nil, fmt.Errorf("hack/tools/%s: %w", t.tool, err)
	}
	flags := "-s -w" + stamps(t.module, version)
	key := hashKey(goRecipe, e.goVersion, t.pkg, flags, string(pins.mod), string(pins.sum))
	return &unit{
		title: string(t.name) + " " + version, dir: fmt.Sprintf("bin/%s-%s-%s", t.name, version, key),
		estimate: t.estimate, disk: t.disk,
		build: func(ctx context.Context, dir string) error {
			return goBuild(ctx, pins.dir, filepath.Join(dir, string(t.name)), "-ldflags", flags, t.pkg)
		},
	}, nil
}

// goBuild builds a program in dir. Downloads of modules that fail are tried again.
func goBuild(ctx context.Context, dir, out string, args ...string) error {
	argv := append([]string{"go", "build", "-trimpath", "-buildvcs=false", "-o", out}, args...)
	_, err := retry(ctx, func() ([]byte, error) {
		return command{dir: dir, env: goEnv(), argv: argv}.output(ctx)
	})
	return err
}

// stamps returns the linker flags that tell the programs of a module their version; without, they say v0.0.0.
func stamps(module, version string) string {
	var b strings.Builder
	stamp := func(variable, value string) { fmt.Fprintf(&b, " -X %s=%s", variable, value) }
	switch module {
	case kubernetesModule:
		const in = "k8s.io/component-base/version."
		number := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
		stamp(in+"gitVersion", version)
		stamp(in+"gitMajor", number[0])
		if len(number) > 1 {
			stamp(in+"gitMinor", number[1])
		}
		stamp(in+"gitTreeState", "clean")
	case argoModule:
		// Argo adds "+unknown" to its version unless it has a tag and a commit; a module has no commit to tell.
		stamp(argoModule+".version", version)
		stamp(argoModule+".gitTag", version)
		stamp(argoModule+".gitCommit", "go-module")
		stamp(argoModule+".gitTreeState", "clean")
	}
	return b.String()
}

// pins are the files that pin a module under hack/tools.
type pins struct {
	dir      string
	mod, sum []byte
}

func (e *environment) readPins(tool string) (pins, error) {
	dir := filepath.Join(e.root, "hack", "tools", tool)
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return pins{}, fmt.Errorf("read what pins %s: %w", tool, err)
	}
	sum, err := os.ReadFile(filepath.Join(dir, "go.sum"))
	if err != nil {
		return pins{}, fmt.Errorf("read what pins %s: %w", tool, err)
	}
	return pins{dir: dir, mod: mod, sum: sum}, nil
}
