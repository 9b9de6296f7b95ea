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

	"stellarflow.io/stellarflow/hack/fleet/components"
	"stellarflow.io/stellarflow/hack/fleet/plan"
	"stellarflow.io/stellarflow/hack/fleet/process"
	"stellarflow.io/stellarflow/pkg/artifact"
)

// bucket is the bucket of every fleet.
const bucket = "workflows"

// record is what a fleet chose when it first came up.
type record struct {
	Subnet    netip.Prefix `json:"subnet"`
	WECs      int          `json:"wecs"`
	ArgoPort  int          `json:"argoPort"`
	MinioPort int          `json:"minioPort"`
	AccessKey string       `json:"accessKey"`
	SecretKey string       `json:"secretKey"`
	// Addresses are those that are not the plan's (kind's): of clusters by
	// name, of the gateway and of the store.
	Addresses map[string]netip.Addr `json:"addresses,omitempty"`
}

// fleet is what both flavours of a fleet have in common: everything above the
// clusters.
type fleet struct {
	plan.Fleet
	rec   record
	paths components.Paths
	say   *progress
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
func (f *fleet) locked(ctx context.Context, do func(context.Context) error) error {
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

// choosePorts chooses the ports on 127.0.0.1: the default fleet's are fixed.
func (f *fleet) choosePorts(rec *record) error {
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
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// program is the copy of this program that the fleet's processes run.
func (f *fleet) program() string { return filepath.Join(f.StateDir(), "bin", "fleet") }

// recordOf reads the record of a process of this fleet; a missing one is not
// alive.
func (f *fleet) recordOf(name string) process.Record {
	rec := process.Record{Name: name}
	data, err := os.ReadFile(f.processFile(name))
	if err == nil {
		_ = json.Unmarshal(data, &rec) // half a record is no record
	}
	return rec
}

func (f *fleet) processFile(name string) string {
	return filepath.Join(f.StateDir(), "processes", name+".json")
}

func (f *fleet) forwarder() process.Record { return f.recordOf("forward") }

// clusters are the fleet's, the hub first.
func (f *fleet) clusters() []plan.Cluster {
	clusters := f.Clusters(f.rec.Subnet)
	for i, c := range clusters {
		clusters[i].IP = f.address(c.Name, c.IP)
	}
	return clusters
}

// cluster is the one of that name, of a fleet that is up.
func (f *fleet) cluster(name string) (plan.Cluster, error) {
	if !f.rec.Subnet.IsValid() {
		return plan.Cluster{}, fmt.Errorf("%s is not up: run fleet up first", f)
	}
	c, err := f.Cluster(name, f.rec.Subnet)
	c.IP = f.address(name, c.IP)
	return c, err
}

func (f *fleet) address(name string, planned netip.Addr) netip.Addr {
	if a, ok := f.rec.Addresses[name]; ok {
		return a
	}
	return planned
}

// registry is the address of the fleet's image registry.
func (f *fleet) registry() string {
	return fmt.Sprintf("%s:%d", f.address("gateway", plan.Gateway(f.rec.Subnet)), plan.RegistryPort)
}

// store is the fleet's artifact store.
func (f *fleet) store() artifact.Store {
	return artifact.Store{
		Endpoint:  fmt.Sprintf("%s:%d", f.address("store", f.Store(f.rec.Subnet).IP), plan.MinioPort),
		Bucket:    bucket,
		Insecure:  true,
		AccessKey: f.rec.AccessKey,
		SecretKey: f.rec.SecretKey,
	}
}

// chooseCredentials fills in what a new fleet has not chosen yet.
func chooseCredentials(rec *record) {
	if rec.AccessKey == "" {
		rec.AccessKey, rec.SecretKey = "stellarflow", rand.Text()
	}
}
