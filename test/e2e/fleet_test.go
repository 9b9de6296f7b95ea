package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/artifact"
	"stellarflow.io/stellarflow/pkg/cli/diagnosis"
)

// wecNames are the WECs of the fleet.
var wecNames = []string{"cluster1", "cluster2"}

// commandLimit bounds a command of a test; those that start clusters take longest.
const commandLimit = 4 * time.Minute

// fleet is a fleet that tests share.
type fleet struct {
	root, name, dir, program string

	hub     *cluster
	wecs    map[string]*cluster
	store   artifact.Store
	objects *minio.Client

	// held is the namespace of what holdDeletion made. Suites that use it run one by one.
	held string

	// profile is the hub's; shared if empty. Suites that change it run one by one.
	profile stellarflow.Profile

	// direct is what the Workflows of testdata/truth come to without us, once somebody has run them. Suites that use it run one by one.
	direct map[string]map[string]any

	common *common

	mu   sync.Mutex
	vars map[string]string // of the fleet's env file
}

// common is what the fleets of a run have in common.
type common struct {
	mu     sync.Mutex
	obeyed map[diagnosis.ID]bool // the findings of doctor whose command was run
	cut    int                   // logs that lack an end
}

// cluster is one cluster, for its administrator.
type cluster struct {
	name, kubeconfig string
	workflows        dynamic.NamespaceableResourceInterface
	dynamic          dynamic.Interface
	core             kubernetes.Interface
}

// openFleet opens the fleet that the first process brought up.
func openFleet(t *testing.T) *fleet {
	t.Helper()
	f, err := readFleet(os.Getenv(envFleet), os.Getenv(envProgram))
	if err != nil {
		t.Fatalf("open the fleet: %v", err)
	}
	f.common = &common{obeyed: map[diagnosis.ID]bool{}}
	return f
}

// openSecond brings up a second fleet beside this one.
func (f *fleet) openSecond(ctx context.Context) (*fleet, error) {
	second := &fleet{root: f.root, name: secondOf(f.name), program: f.program}
	for _, step := range bringUp(second.root, second.name, second.program) {
		if _, err := second.try(ctx, nil, step[0], step[1:]...); err != nil {
			return nil, err
		}
	}
	second, err := readFleet(second.name, second.program)
	if err != nil {
		return nil, err
	}
	second.common = f.common
	return second, nil
}

func readFleet(name, program string) (*fleet, error) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		return nil, err
	}
	f := &fleet{root: root, name: name, dir: filepath.Join(root, ".fleet", name), program: program, wecs: map[string]*cluster{}}
	if err := f.readVars(); err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(filepath.Join(f.dir, "minio.env"))
	if err != nil {
		return nil, err
	}
	if f.store, err = artifact.ParseEnv(raw); err != nil {
		return nil, err
	}
	if f.objects, err = artifact.Client(f.store); err != nil {
		return nil, err
	}
	if f.hub, err = f.open("hub"); err != nil {
		return nil, err
	}
	for _, name := range wecNames {
		if f.wecs[name], err = f.open(name); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// readVars reads the fleet's env file, whose ports change when the fleet comes up again.
func (f *fleet) readVars() error {
	raw, err := os.ReadFile(filepath.Join(f.dir, "env"))
	if err != nil {
		return err
	}
	vars := map[string]string{}
	for _, line := range strings.Split(string(raw), "\n") {
		if name, value, found := strings.Cut(line, "="); found {
			vars[name] = value
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.vars = vars
	return nil
}

// setting is a value of the fleet's env file.
func (f *fleet) setting(name string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.vars[name]
}

func (f *fleet) open(name string) (*cluster, error) {
	c := &cluster{name: name, kubeconfig: filepath.Join(f.dir, name+".kubeconfig")}
	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", name, err)
	}
	config.QPS = -1
	if c.core, err = kubernetes.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("cluster %s: %w", name, err)
	}
	if c.dynamic, err = dynamic.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("cluster %s: %w", name, err)
	}
	c.workflows = c.dynamic.Resource(workflowResource)
	return c, nil
}

// all are the hub and the WECs.
func (f *fleet) all() []*cluster {
	clusters := []*cluster{f.hub}
	for _, name := range wecNames {
		clusters = append(clusters, f.wecs[name])
	}
	return clusters
}

// try runs a program in the work tree and returns what it wrote.
func (f *fleet) try(ctx context.Context, env []string, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	var both bytes.Buffer
	command := exec.CommandContext(ctx, name, args...)
	command.Dir, command.Stdout, command.Stderr = f.root, &both, &both
	command.Env = append(os.Environ(), append(env, "FLEET_NAME="+f.name, "FLEET=", "CLUSTERS=")...)
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = 15 * time.Second
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	err := command.Run()
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %s", filepath.Base(name), strings.Join(args, " "), err, strings.TrimSpace(both.String()))
	}
	return both.String(), err
}

// bin is a program of the fleet's bin directory.
func (f *fleet) bin(name string) string { return filepath.Join(f.dir, "bin", name) }

// kubectl runs kubectl on a cluster; it must succeed.
func (f *fleet) kubectl(t *testing.T, c *cluster, args ...string) string {
	t.Helper()
	out, err := f.tryKubectl(t, c, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (f *fleet) tryKubectl(t *testing.T, c *cluster, args ...string) (string, error) {
	t.Helper()
	return f.try(t.Context(), nil, f.bin("kubectl"), append([]string{"--kubeconfig", c.kubeconfig}, args...)...)
}

// stellarflow runs our CLI against the hub.
func (f *fleet) stellarflow(t *testing.T, args ...string) (string, error) {
	t.Helper()
	return f.try(t.Context(), []string{"KUBECONFIG=" + f.hub.kubeconfig}, f.bin("stellarflow"), args...)
}

// argo runs Argo's CLI against the hub's API server.
func (f *fleet) argo(t *testing.T, args ...string) (string, error) {
	t.Helper()
	return f.try(t.Context(), []string{"KUBECONFIG=" + f.hub.kubeconfig}, f.bin("argo"), args...)
}

// do runs a command of hack/fleet on this fleet; it must succeed.
func (f *fleet) do(t *testing.T, args ...string) {
	t.Helper()
	begun := time.Now()
	if _, err := f.try(t.Context(), nil, f.program, args...); err != nil {
		t.Fatal(err)
	}
	t.Logf("fleet %s took %.0f s", strings.Join(args, " "), time.Since(begun).Seconds())
}

// clusterInfo is what `stellarflow clusters -o json` says of one.
type clusterInfo struct {
	Name       string `json:"name"`
	Status     string `json:"status"`
	Message    string `json:"message"`
	Kubernetes string `json:"kubernetes"`
	Argo       string `json:"argo"`
}

// clusterInfos are by name.
func (f *fleet) clusterInfos(t *testing.T) (map[string]clusterInfo, error) {
	t.Helper()
	out, err := f.stellarflow(t, "clusters", "-o", "json")
	if err != nil {
		return nil, err
	}
	var list []clusterInfo
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, fmt.Errorf("read the output of stellarflow clusters: %w: %s", err, out)
	}
	infos := map[string]clusterInfo{}
	for _, info := range list {
		infos[info.Name] = info
	}
	return infos, nil
}

// eventually tries until the check passes, and fails the test with its last error after the limit.
func eventually(t *testing.T, limit time.Duration, what string, check func(context.Context) error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := check(t.Context())
		if err == nil {
			return
		}
		if time.Now().After(deadline) || isFinal(err) {
			t.Fatalf("%s (waited at most %s): %v", what, limit, err)
		}
		select {
		case <-t.Context().Done():
			t.Fatalf("%s: %v", what, err)
		case <-time.After(300 * time.Millisecond):
		}
	}
}
