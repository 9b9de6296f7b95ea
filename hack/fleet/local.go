package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"stellarflow.io/stellarflow/hack/fleet/components"
	"stellarflow.io/stellarflow/hack/fleet/network"
	"stellarflow.io/stellarflow/hack/fleet/node"
	"stellarflow.io/stellarflow/hack/fleet/plan"
	"stellarflow.io/stellarflow/hack/fleet/render"
)

// local is a fleet of clusters made of local processes.
type local struct {
	*fleet
	tools network.Tools
}

// locked runs do as root while no other command changes this fleet.
func (f *local) locked(ctx context.Context, verb string, do func(context.Context) error) error {
	if err := requireRoot(verb); err != nil {
		return err
	}
	return f.fleet.locked(ctx, do)
}

// loadModules asks for the kernel's parts that nothing loads by itself. One
// that is built in, or that this kernel lacks, is not an error here.
func loadModules(ctx context.Context) {
	_ = exec.CommandContext(ctx, "modprobe", "-a", "-q", "overlay", "bridge", "veth", "nf_conntrack").Run()
}

// inotifyInstances is how many instances of inotify a user may have: a fleet of three clusters takes some 50, and everybody who follows a log one
// more. Linux's 128 are too few for two fleets, and a log that gets none ends in silence.
const inotifyInstances = 1024

// raiseInotify gives the machine as many, where it may. What has more keeps that, and it is not taken back: other fleets use it.
func (f *local) raiseInotify() {
	const file = "/proc/sys/fs/inotify/max_user_instances"
	now, err := os.ReadFile(file)
	if count, _ := strconv.Atoi(strings.TrimSpace(string(now))); err == nil && count >= inotifyInstances {
		return
	}
	if err := errors.Join(err, os.WriteFile(file, []byte(strconv.Itoa(inotifyInstances)), 0o644)); err != nil {
		f.say.line("fs.inotify.max_user_instances is %s and cannot be raised (%v): logs may end early, more so with two fleets", strings.TrimSpace(string(now)), err)
	}
}

// provision makes or finds the programs.
func (f *local) provision(ctx context.Context) error {
	paths, err := components.Ensure(ctx, f.say, components.All()...)
	if err != nil {
		return err
	}
	f.usePaths(paths)
	return nil
}

// findTools finds the few programs that commands other than up need.
func (f *local) findTools(ctx context.Context) error {
	paths, err := components.Ensure(ctx, f.say, components.IP, components.Iptables)
	if err != nil {
		return err
	}
	f.usePaths(paths)
	return nil
}

func (f *local) usePaths(paths components.Paths) {
	f.paths = paths
	f.tools = network.Tools{IP: paths[components.IP], Iptables: paths[components.Iptables]}
}

func (f *local) binaries() render.Binaries {
	programs := map[string]string{}
	for name, path := range f.paths {
		programs[string(name)] = path
	}
	return render.Binaries{
		Programs: programs,
		CNIDir:   f.paths[components.CNIPlugins],
		Path:     f.paths[components.DebianBin] + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	}
}

// choose fills the record: subnet, ports, credentials.
func (f *local) choose(ctx context.Context) error {
	unlock, err := lockNetwork(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	taken, err := network.Taken(f.Bridge())
	if err != nil {
		return err
	}
	rec := f.rec
	if !rec.Subnet.IsValid() || clashes(rec.Subnet, taken) {
		if rec.Subnet, err = plan.ChooseSubnet(f.ID, taken); err != nil {
			return err
		}
		// A bridge with the addresses of before is of no use.
		if err := f.tools.Remove(ctx, f.Fleet); err != nil {
			return err
		}
	}
	rec.WECs = f.WECs
	chooseCredentials(&rec)
	if err := f.choosePorts(&rec); err != nil {
		return err
	}
	f.rec = rec
	if err := node.WriteJSON(f.RecordFile(), rec, 0o600); err != nil {
		return err
	}
	// The bridge is what other fleets see of the choice.
	return f.tools.EnsureBridge(ctx, f.Bridge(), rec.Subnet)
}

func clashes(p netip.Prefix, taken []netip.Prefix) bool {
	for _, t := range taken {
		if t.Bits() > 0 && t.Overlaps(p) {
			return true
		}
	}
	return false
}

// lockNetwork keeps two fleets from choosing the same subnet at once. It is a
// name in the abstract socket namespace: nothing is left of it.
func lockNetwork(ctx context.Context) (func(), error) {
	for {
		l, err := net.Listen("unix", "@stellarflow-fleet-network")
		if err == nil {
			return func() { _ = l.Close() }, nil
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			return nil, fmt.Errorf("lock the machine's network: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
