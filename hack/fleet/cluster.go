package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"stellarflow.io/stellarflow/hack/fleet/cgroup"
	"stellarflow.io/stellarflow/hack/fleet/network"
	"stellarflow.io/stellarflow/hack/fleet/node"
	"stellarflow.io/stellarflow/hack/fleet/pki"
	"stellarflow.io/stellarflow/hack/fleet/plan"
	"stellarflow.io/stellarflow/hack/fleet/process"
	"stellarflow.io/stellarflow/hack/fleet/render"
)

const (
	// clusterLimit bounds how long a cluster may take to be ready; it takes
	// about 7 s on an idle machine.
	clusterLimit = 5 * time.Minute
	// stopLimit is more than the first process gives the others.
	stopLimit = 15 * time.Second
	// maxExits is how often a component may end before we give up.
	maxExits = 8
	// leaf is the cgroup of a cluster's own processes, beside its pods'.
	leaf = "node"
)

// ensureCluster starts a cluster unless it is well, and waits until it is.
func (f *local) ensureCluster(ctx context.Context, c plan.Cluster) error {
	if f.isWell(ctx, c) {
		return f.tools.Heal(ctx, c)
	}
	if err := f.stopCluster(c); err != nil {
		return err
	}
	if err := f.startCluster(ctx, c); err != nil {
		return fmt.Errorf("start cluster %s: %w", c.Name, err)
	}
	if err := f.awaitCluster(ctx, c); err != nil {
		return err
	}
	f.say.line("%s is ready at %s", c.Name, c.Server())
	return nil
}

func (f *local) isWell(ctx context.Context, c plan.Cluster) bool {
	rec := f.recordOf(c.Name)
	if !rec.Alive() {
		return false
	}
	cs, err := client(c)
	return err == nil && clusterReady(ctx, cs, c, rec.Since) == nil
}

// stopCluster ends a cluster's processes, asked or killed, and removes what
// they leave in the kernel.
func (f *local) stopCluster(c plan.Cluster) error {
	if err := f.recordOf(c.Name).Stop(stopLimit); err != nil {
		return err
	}
	tree, err := cgroup.Current()
	if err != nil {
		return err
	}
	list := func() ([]int, error) { return tree.Pids(c.Cgroup) }
	if err := process.KillAll(list, stopLimit); err != nil {
		return fmt.Errorf("end the processes of cluster %s: %w", c.Name, err)
	}
	if err := removeCgroup(tree, c.Cgroup); err != nil {
		return err
	}
	if err := os.Remove(c.StatusFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// removeCgroup tries for a moment: a cgroup stays busy until the kernel has
// finished with the processes that were in it.
func removeCgroup(tree cgroup.Tree, path string) error {
	var err error
	for range 50 {
		if err = tree.Remove(path); err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return err
}

func (f *local) startCluster(ctx context.Context, c plan.Cluster) error {
	// A Service's address needs some route before kube-proxy's rules turn it
	// into a pod's.
	if err := f.tools.Renew(ctx, c.Host, f.Bridge(), c.ServiceCIDR); err != nil {
		return err
	}
	if err := f.writeCluster(c); err != nil {
		return err
	}
	tree, err := cgroup.Current()
	if err != nil {
		return err
	}
	join, err := tree.Ensure(c.Cgroup, leaf)
	if err != nil {
		return err
	}
	bin := f.binaries()
	pods := render.PodNetwork(c)
	spec := node.Spec{
		Cluster:    c.Name,
		Hostname:   c.NodeName(),
		Var:        c.VarDir(),
		Keep:       f.keep(),
		Cgroups:    join,
		Env:        []string{"PATH=" + bin.Path, "HOME=/root", "LANG=C", process.Marker + "=" + f.ID},
		LogDir:     c.LogDir,
		StatusFile: c.StatusFile(),
		Publish:    []node.Publish{{From: pods.From, To: pods.To, Waits: []string{pods.Wait}}},
		Components: render.Components(c, bin),
	}
	if err := node.WriteJSON(c.SpecFile(), spec, 0o644); err != nil {
		return err
	}
	rec, err := process.Start(process.Options{
		Name:    c.Name,
		Fleet:   f.ID,
		Args:    []string{f.program(), "node", c.SpecFile()},
		Log:     filepath.Join(c.LogDir, "node.log"),
		Netns:   network.NetnsPath(c.Host),
		Isolate: true,
	})
	if err != nil {
		return err
	}
	return node.WriteJSON(f.processFile(c.Name), rec, 0o644)
}

// keep are the directories that a cluster's processes need where they are.
func (f *local) keep() []string {
	dirs := map[string]bool{f.Dir(): true}
	for _, path := range f.paths {
		dirs[filepath.Dir(path)] = true
	}
	var out []string
	for dir := range dirs {
		out = append(out, dir)
	}
	return out
}

// writeCluster writes certificates, configuration and kubeconfigs.
func (f *local) writeCluster(c plan.Cluster) error {
	if err := pki.Ensure(c.PKIDir(), c.Name, pki.Requests(c), time.Now()); err != nil {
		return err
	}
	for name, content := range render.Files(c, f.clusters(), f.binaries()) {
		if err := writeFile(filepath.Join(c.ConfDir(), name), content, 0o644); err != nil {
			return err
		}
	}
	ca, err := os.ReadFile(filepath.Join(c.PKIDir(), pki.CAFile))
	if err != nil {
		return err
	}
	for _, user := range []string{pki.Kubelet, pki.Admin, pki.Controllers, pki.Scheduler, pki.Proxy} {
		cert, err := os.ReadFile(filepath.Join(c.PKIDir(), user+".crt"))
		if err != nil {
			return err
		}
		key, err := os.ReadFile(filepath.Join(c.PKIDir(), user+".key"))
		if err != nil {
			return err
		}
		cred := render.Credential{CA: ca, Cert: cert, Key: key}
		content := render.Kubeconfig(c.Name, c.Server(), cred)
		if err := writeFile(filepath.Join(c.ConfDir(), user+".kubeconfig"), content, 0o600); err != nil {
			return err
		}
		if user == pki.Admin {
			if err := writeFile(c.Kubeconfig, content, 0o600); err != nil {
				return err
			}
		}
	}
	if c.Name == plan.HubName {
		if err := f.writeKubeletCA(c); err != nil {
			return err
		}
	}
	return freshLogs(c.LogDir)
}

// writeKubeletCA writes what is applied to the hub before Stellarflow is installed.
func (f *local) writeKubeletCA(c plan.Cluster) error {
	cert, err := os.ReadFile(filepath.Join(c.PKIDir(), pki.KubeletEndpointCA))
	if err != nil {
		return err
	}
	key, err := os.ReadFile(filepath.Join(c.PKIDir(), pki.KubeletEndpointCAKey))
	if err != nil {
		return err
	}
	return writeFile(f.KubeletCAFile(), render.KubeletCA(cert, key), 0o600)
}

// freshLogs starts new logs and keeps the last ones beside them.
func freshLogs(dir string) error {
	if err := removeAll(dir + ".old"); err != nil {
		return err
	}
	if err := os.Rename(dir, dir+".old"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.MkdirAll(dir, 0o755)
}

func writeFile(path, content string, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// awaitCluster waits until a started cluster is ready; a component that keeps
// ending ends the wait.
func (f *local) awaitCluster(ctx context.Context, c plan.Cluster) error {
	rec := f.recordOf(c.Name)
	cs, err := client(c)
	if err != nil {
		return err
	}
	err = poll(ctx, clusterLimit, func() (bool, error) {
		if !rec.Alive() {
			return true, fmt.Errorf("the first process of cluster %s ended\n%s", c.Name, tail(filepath.Join(c.LogDir, "node.log")))
		}
		if failing := failingComponent(c, maxExits); failing != "" {
			return true, errors.New(failing)
		}
		return false, clusterReady(ctx, cs, c, rec.Since)
	})
	if err == nil {
		return nil
	}
	reason := err.Error()
	if failing := failingComponent(c, 1); failing != "" && !strings.Contains(reason, failing) {
		reason += "\n" + failing
	}
	return fmt.Errorf("cluster %s is not ready: %s\nall its logs are in %s; fleet up tries again, fleet down clears everything away", c.Name, reason, c.LogDir)
}

// failingComponent describes the component that ended at least n times, with
// the end of its log.
func failingComponent(c plan.Cluster, n int) string {
	status, err := node.ReadStatus(c.StatusFile())
	if err != nil {
		return ""
	}
	for _, s := range status.Components {
		if s.Exits >= n {
			return fmt.Sprintf("%s of cluster %s ended %d times (%s); %s", s.Name, c.Name, s.Exits, s.LastExit, tail(filepath.Join(c.LogDir, s.Name+".log")))
		}
	}
	return ""
}

func (f *local) stop(ctx context.Context, name string) error {
	return f.locked(ctx, "stop", func(context.Context) error {
		c, err := f.cluster(name)
		if err != nil {
			return err
		}
		if err := f.stopCluster(c); err != nil {
			return err
		}
		f.say.line("%s is stopped; fleet start %s brings it back", name, name)
		return nil
	})
}

func (f *local) start(ctx context.Context, name string) error {
	return f.locked(ctx, "start", func(ctx context.Context) error {
		c, err := f.cluster(name)
		if err != nil {
			return err
		}
		if err := f.provision(ctx); err != nil {
			return err
		}
		if err := f.ensureCluster(ctx, c); err != nil {
			return err
		}
		return f.awaitArgo(ctx, c)
	})
}

func (f *local) cut(ctx context.Context, name string) error {
	return f.reach(ctx, "cut", name, func(ctx context.Context, c plan.Cluster) error { return f.tools.Cut(ctx, c) })
}

func (f *local) heal(ctx context.Context, name string) error {
	return f.reach(ctx, "heal", name, func(ctx context.Context, c plan.Cluster) error { return f.tools.Heal(ctx, c) })
}

func (f *local) reach(ctx context.Context, verb, name string, do func(context.Context, plan.Cluster) error) error {
	return f.locked(ctx, verb, func(ctx context.Context) error {
		c, err := f.cluster(name)
		if err != nil {
			return err
		}
		if err := f.findTools(ctx); err != nil {
			return err
		}
		if err := do(ctx, c); err != nil {
			return err
		}
		f.say.line("%s: %s done", name, verb)
		return nil
	})
}
