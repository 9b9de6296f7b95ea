package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"stellarflow.io/stellarflow/hack/fleet/components"
	"stellarflow.io/stellarflow/hack/fleet/network"
	"stellarflow.io/stellarflow/hack/fleet/node"
	"stellarflow.io/stellarflow/hack/fleet/plan"
	"stellarflow.io/stellarflow/hack/fleet/process"
	"stellarflow.io/stellarflow/hack/fleet/render"
	"stellarflow.io/stellarflow/pkg/artifact"
)

// Bucket is the bucket of every fleet.
const bucket = "workflows"

// record is what a fleet chose when it first came up.
type record struct {
	Subnet    netip.Prefix `json:"subnet"`
	WECs      int          `json:"wecs"`
	ArgoPort  int          `json:"argoPort"`
	MinioPort int          `json:"minioPort"`
	AccessKey string       `json:"accessKey"`
	SecretKey string       `json:"secretKey"`
}

// local is a fleet of clusters made of local processes.
type local struct {
	plan.Fleet
	rec   record
	paths components.Paths
	tools network.Tools
	say   *progress
}

func newLocal(p plan.Fleet, rec record) *local {
	return &local{Fleet: p, rec: rec, say: newProgress(os.Stdout)}
}

// readRecord reads what a fleet chose; nothing if it is not up.
func readRecord(p plan.Fleet) (record, error) {
	var rec record
	data, err := os.ReadFile(p.RecordFile())
	if errors.Is(err, fs.ErrNotExist) {
		return rec, nil
	}
	if err != nil {
		return rec, err
	}
	if err := json.Unmarshal(data, &rec); err != nil {
		return rec, fmt.Errorf("%s is damaged: %w; remove the file, then run fleet down", p.RecordFile(), err)
	}
	return rec, nil
}

// requireRoot tells what to do without root.
func requireRoot(verb string) error {
	if os.Geteuid() == 0 {
		return nil
	}
	return fmt.Errorf("fleet %s makes network namespaces, mounts and cgroups and needs root: run with sudo, keeping the environment (sudo -E env PATH=\"$PATH\" go run ./hack/fleet %s)", verb, verb)
}

// locked runs do while no other command changes this fleet.
func (f *local) locked(ctx context.Context, verb string, do func(context.Context) error) error {
	if err := requireRoot(verb); err != nil {
		return err
	}
	lock, err := process.LockDir(ctx, f.Dir(), func() { f.say.line("waiting for another command of %s ...", f) })
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if f.rec, err = readRecord(f.Fleet); err != nil {
		return err
	}
	return do(ctx)
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
	}
	rec.WECs = f.WECs
	if rec.AccessKey == "" {
		rec.AccessKey, rec.SecretKey = "stellarflow", rand.Text()
	}
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

// choosePorts chooses the ports on 127.0.0.1: the default fleet's are fixed.
func (f *local) choosePorts(rec *record) error {
	if f.forwarder().Alive() && rec.ArgoPort != 0 {
		return nil
	}
	if f.IsDefault() {
		rec.ArgoPort, rec.MinioPort = plan.DefaultArgoPort, plan.DefaultMinioPort
		for _, port := range []int{rec.ArgoPort, rec.MinioPort} {
			if !portIsFree(port) {
				return fmt.Errorf("127.0.0.1:%d is in use by another program (ss -ltnp shows which): end it, or bring up a fleet with free ports by FLEET_NAME=NAME", port)
			}
		}
		return nil
	}
	for _, port := range []*int{&rec.ArgoPort, &rec.MinioPort} {
		if *port != 0 && portIsFree(*port) {
			continue
		}
		var err error
		if *port, err = freePort(); err != nil {
			return err
		}
	}
	return nil
}

func portIsFree(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return false
	}
	_ = l.Close()
	return true
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
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

func (f *local) clusters() []plan.Cluster { return f.Clusters(f.rec.Subnet) }

func (f *local) cluster(name string) (plan.Cluster, error) {
	if !f.rec.Subnet.IsValid() {
		return plan.Cluster{}, fmt.Errorf("%s is not up: run fleet up first", f)
	}
	return f.Cluster(name, f.rec.Subnet)
}

func (f *local) store() artifact.Store {
	return artifact.Store{
		Endpoint:  fmt.Sprintf("%s:%d", f.Store(f.rec.Subnet).IP, plan.MinioPort),
		Bucket:    bucket,
		Insecure:  true,
		AccessKey: f.rec.AccessKey,
		SecretKey: f.rec.SecretKey,
	}
}

// program is the copy of this program that the fleet's processes run.
func (f *local) program() string { return filepath.Join(f.StateDir(), "bin", "fleet") }

// recordOf reads the record of a process of this fleet; a missing one is not
// alive.
func (f *local) recordOf(name string) process.Record {
	rec := process.Record{Name: name}
	data, err := os.ReadFile(f.processFile(name))
	if err == nil {
		_ = json.Unmarshal(data, &rec) // half a record is no record
	}
	return rec
}

func (f *local) processFile(name string) string {
	return filepath.Join(f.StateDir(), "processes", name+".json")
}

func (f *local) forwarder() process.Record { return f.recordOf("forward") }
