package plan

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
)

// Ports of a fleet that do not vary.
const (
	APIPort      = 6443
	RegistryPort = 5000
	MinioPort    = 9000
	// ArgoNodePort is where the Argo server of a cluster answers on the
	// cluster's bridge address.
	ArgoNodePort = 32746
	// DefaultArgoPort and DefaultMinioPort are the default fleet's ports on
	// 127.0.0.1.
	DefaultArgoPort  = 2746
	DefaultMinioPort = 9000
)

// Host is something with an address on the fleet's bridge and a network
// namespace of its own.
type Host struct {
	// Name is the cluster's, or "store".
	Name string
	// IP is the address on the bridge.
	IP netip.Addr
	// Subnet is the fleet's.
	Subnet netip.Prefix
	// Netns is the name below /run/netns.
	Netns string
	// VethHost is the end of the cable that is plugged into the bridge.
	VethHost string
	// VethPeer is the name the other end has until it becomes eth0.
	VethPeer string
}

// Cluster is one cluster of a fleet: "hub" or "clusterN".
type Cluster struct {
	Host
	// Index is the cluster's place in its fleet; the hub's is 0.
	Index int
	// Cgroup is the path of the cluster's directory in every cgroup hierarchy.
	Cgroup string
	// PodCIDR and ServiceCIDR are the cluster's own networks. They are not
	// reachable from outside the cluster.
	PodCIDR, ServiceCIDR netip.Prefix
	// StateDir and LogDir are the cluster's own.
	StateDir, LogDir string
	// Kubeconfig is the administrator's.
	Kubeconfig string
}

// Infrastructure is the part of a subnet that is no cluster's: the machine,
// with the registry, and the store.
func Infrastructure(subnet netip.Prefix) netip.Prefix {
	return netip.PrefixFrom(subnet.Masked().Addr(), 29)
}

// Gateway is the address of the machine on the fleet's bridge; the registry
// listens there.
func Gateway(subnet netip.Prefix) netip.Addr { return subnet.Masked().Addr().Next() }

// Cluster computes the cluster of that name in a subnet (a /24).
func (f Fleet) Cluster(name string, subnet netip.Prefix) (Cluster, error) {
	for i, n := range f.ClusterNames() {
		if n == name {
			return f.cluster(i, n, subnet), nil
		}
	}
	return Cluster{}, fmt.Errorf("%s has no cluster %q: its clusters are %s", f, name, strings.Join(f.ClusterNames(), ", "))
}

// Clusters computes all clusters in a subnet, the hub first.
func (f Fleet) Clusters(subnet netip.Prefix) []Cluster {
	var out []Cluster
	for i, n := range f.ClusterNames() {
		out = append(out, f.cluster(i, n, subnet))
	}
	return out
}

// Store is where MinIO runs. It has a network namespace of its own, since
// MinIO takes its port on 127.0.0.1 too, where the fleets' would meet.
func (f Fleet) Store(subnet netip.Prefix) Host { return f.host("store", 2, subnet) }

// host is the host with that last byte of its address.
func (f Fleet) host(name string, last byte, subnet netip.Prefix) Host {
	addr := subnet.Masked().Addr().As4()
	addr[3] = last
	short := strings.TrimPrefix(f.ID, "sf-")
	return Host{
		Name:     name,
		IP:       netip.AddrFrom4(addr),
		Subnet:   subnet.Masked(),
		Netns:    f.ID + "-" + name,
		VethHost: fmt.Sprintf("v%s%02d", short, last),
		VethPeer: fmt.Sprintf("p%s%02d", short, last),
	}
}

func (f Fleet) cluster(i int, name string, subnet netip.Prefix) Cluster {
	return Cluster{
		Host:        f.host(name, byte(10+i), subnet),
		Index:       i,
		Cgroup:      f.CgroupRoot() + "/" + name,
		PodCIDR:     netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(100 + i), 0, 0}), 24),
		ServiceCIDR: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(100 + i), 128, 0}), 20),
		StateDir:    filepath.Join(f.StateDir(), name),
		LogDir:      filepath.Join(f.LogDir(), name),
		Kubeconfig:  filepath.Join(f.Dir(), name+".kubeconfig"),
	}
}

// NodeName is the name of the cluster's only node.
func (c Cluster) NodeName() string { return c.Name + "-node" }

// Server is the URL of the API server on the host and in pods.
func (c Cluster) Server() string { return fmt.Sprintf("https://%s:%d", c.IP, APIPort) }

// APIServiceIP is the address of the Service "kubernetes".
func (c Cluster) APIServiceIP() netip.Addr { return c.ServiceCIDR.Addr().Next() }

// SpecFile is what the cluster's first process reads to know its work.
func (c Cluster) SpecFile() string { return filepath.Join(c.StateDir, "node.json") }

// StatusFile is where the cluster's first process says how its work goes.
func (c Cluster) StatusFile() string { return filepath.Join(c.StateDir, "status.json") }

// VarDir is what the cluster's processes see as /var.
func (c Cluster) VarDir() string { return filepath.Join(c.StateDir, "var") }

// ConfDir holds the rendered configuration.
func (c Cluster) ConfDir() string { return filepath.Join(c.StateDir, "conf") }

// PKIDir holds the cluster's CA, certificates and keys.
func (c Cluster) PKIDir() string { return filepath.Join(c.StateDir, "pki") }
