package kind

import (
	"fmt"
	"net/netip"

	"stellarflow.io/stellarflow/hack/fleet/plan"
	"stellarflow.io/stellarflow/hack/fleet/render"
)

// DefaultNodeImage is kind's for the fleet's version of Kubernetes;
// KIND_NODE_IMAGE names another.
const DefaultNodeImage = "kindest/node:v1.34.0"

// certsDir is where a node's containerd looks for our registry.
const certsDir = "/etc/containerd/certs.d"

// ClusterName is what kind calls a cluster of a fleet.
func ClusterName(f plan.Fleet, cluster string) string { return f.ID + "-" + cluster }

// NodeName is the container of the cluster's only node.
func NodeName(f plan.Fleet, cluster string) string { return ClusterName(f, cluster) + "-control-plane" }

// Config is kind's configuration of one cluster. hosts is a directory on the
// machine with the files of Hosts; it may be filled after the cluster is there.
func Config(f plan.Fleet, c plan.Cluster, hosts string) string {
	return fmt.Sprintf(`kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
name: %[1]s
networking:
  podSubnet: %[2]s
  serviceSubnet: %[3]s
containerdConfigPatches:
- |-
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = %[4]q
nodes:
- role: control-plane
  labels:
    stellarflow.io/fleet-cluster: %[5]s
  extraMounts:
  - hostPath: %[6]s
    containerPath: %[4]s
    readOnly: true
`, ClusterName(f, c.Name), c.PodCIDR, c.ServiceCIDR, certsDir, c.Name, hosts)
}

// Hosts are the files that send a node to the fleet's registry, by path below
// the hosts directory. An image that the registry lacks comes from its own.
func Hosts(registry string) map[string]string {
	files := map[string]string{}
	for _, name := range render.MirroredRegistries {
		upstream := name
		if name == "docker.io" {
			upstream = "registry-1.docker.io"
		}
		files[name+"/hosts.toml"] = fmt.Sprintf("server = \"https://%s\"\n\n[host.\"http://%s\"]\n  capabilities = [\"pull\", \"resolve\"]\n", upstream, registry)
	}
	return files
}

// Rules are the iptables arguments, run in a node, that cut it off from
// everything but the machine itself; action is -I or -D.
func Rules(action string, gateway netip.Addr) [][]string {
	return [][]string{
		{"iptables", "-t", "raw", action, "PREROUTING", "-i", "eth0", "!", "-s", gateway.String(), "-j", "DROP"},
		{"iptables", "-t", "mangle", action, "POSTROUTING", "-o", "eth0", "!", "-d", gateway.String(), "-j", "DROP"},
	}
}
