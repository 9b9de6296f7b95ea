package render

import (
	"encoding/base64"
	"fmt"

	"stellarflow.io/stellarflow/hack/fleet/pki"
	"stellarflow.io/stellarflow/hack/fleet/plan"
)

// MirroredRegistries are the registries whose images the fleet's own registry
// serves. An image of any other is not found, since there is no Internet.
var MirroredRegistries = []string{"docker.io", "gcr.io", "ghcr.io", "quay.io", "registry.k8s.io"}

// Files are the files of a cluster's ConfDir by their path below it, without
// the kubeconfigs, which hold keys.
func Files(c plan.Cluster, peers []plan.Cluster, bin Binaries) map[string]string {
	files := map[string]string{
		kubeletConfig:    KubeletConfig(c),
		containerdConfig: ContainerdConfig(c, bin),
		corefile:         Corefile(c, peers),
		resolvConf:       fmt.Sprintf("nameserver %s\n", c.IP),
		cniConfig:        CNI(c),
	}
	for _, name := range MirroredRegistries {
		files["certs.d/"+name+"/hosts.toml"] = HostsTOML(c)
	}
	return files
}

// HostsTOML sends containerd to the fleet's registry instead of the named one.
func HostsTOML(c plan.Cluster) string {
	url := fmt.Sprintf("http://%s:%d", plan.Gateway(c.Subnet), plan.RegistryPort)
	return fmt.Sprintf("server = %[1]q\n\n[host.%[1]q]\n  capabilities = [\"pull\", \"resolve\"]\n", url)
}

// ContainerdConfig is for containerd 1.6, Debian 12's.
func ContainerdConfig(c plan.Cluster, bin Binaries) string {
	return fmt.Sprintf(`version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
oom_score = 0
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.internal.v1.opt",
  "io.containerd.internal.v1.tracing",
  "io.containerd.tracing.processor.v1.otlp",
]

[grpc]
  address = %[1]q

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %[2]q
  # Without CAP_SYS_RESOURCE runc cannot lower oom_score_adj.
  restrict_oom_score_adj = true
  max_concurrent_downloads = 5
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = %[3]q
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = %[4]q
    conf_dir = %[5]q
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = %[6]q
`, criSock, PauseImage, bin.path("runc"), bin.CNIDir, cniDir, conf(c, "certs.d"))
}

// CNI gives every pod a cable of its own to the node (plugin ptp), so that all
// its traffic is routed and Services work without bridge filtering.
func CNI(c plan.Cluster) string {
	return fmt.Sprintf(`{
  "cniVersion": "1.0.0",
  "name": "fleet",
  "plugins": [
    {
      "type": "ptp",
      "ipMasq": true,
      "ipam": {
        "type": "host-local",
        "dataDir": "/run/cni/ipam",
        "ranges": [[{"subnet": %q}]],
        "routes": [{"dst": "0.0.0.0/0"}]
      }
    },
    {
      "type": "portmap",
      "capabilities": {"portMappings": true}
    }
  ]
}
`, c.PodCIDR)
}

// KubeletConfig is a KubeletConfiguration that shares the machine: no limits
// on the node, low thresholds, a cgroup of its own.
func KubeletConfig(c plan.Cluster) string {
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 0.0.0.0
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: %[1]s}
authorization: {mode: Webhook}
tlsCertFile: %[2]s
tlsPrivateKeyFile: %[3]s
clusterDNS: [%[4]s]
clusterDomain: cluster.local
resolvConf: %[5]s
containerRuntimeEndpoint: unix://%[6]s
cgroupDriver: cgroupfs
cgroupRoot: /%[7]s
failCgroupV1: false
enforceNodeAllocatable: []
localStorageCapacityIsolation: false
evictionHard:
  memory.available: 50Mi
  nodefs.available: 1%%
  imagefs.available: 1%%
  nodefs.inodesFree: 1%%
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
failSwapOn: false
oomScoreAdj: 0
podLogsDir: /var/log/pods
volumePluginDir: /var/lib/kubelet/volumeplugins
serializeImagePulls: false
maxPods: 200
podPidsLimit: -1
registryPullQPS: 0
eventRecordQPS: 0
shutdownGracePeriod: 0s
healthzBindAddress: 127.0.0.1
nodeStatusUpdateFrequency: 2s
nodeStatusReportFrequency: 1m
`, cert(c, pki.CAFile), cert(c, pki.Kubelet+".crt"), cert(c, pki.Kubelet+".key"),
		c.IP, conf(c, resolvConf), criSock, c.Cgroup)
}

// KubeletCA is the manifest of the Secret with the CA of the hub's endpoint for logs of other clusters' pods, and its namespace.
func KubeletCA(cert, key []byte) string {
	enc := base64.StdEncoding.EncodeToString
	return fmt.Sprintf(`apiVersion: v1
kind: Namespace
metadata:
  name: stellarflow-system
---
apiVersion: v1
kind: Secret
metadata:
  name: stellarflow-kubelet-ca
  namespace: stellarflow-system
type: kubernetes.io/tls
data:
  tls.crt: %s
  tls.key: %s
`, enc(cert), enc(key))
}

// Credential is a user's certificate and key and the CA to trust, as PEM.
type Credential struct {
	CA, Cert, Key []byte
}

// Kubeconfig is a kubeconfig with everything inside, for a server and a user.
func Kubeconfig(cluster, server string, cred Credential) string {
	enc := base64.StdEncoding.EncodeToString
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters:
- name: %[1]s
  cluster:
    server: %[2]s
    certificate-authority-data: %[3]s
users:
- name: %[1]s
  user:
    client-certificate-data: %[4]s
    client-key-data: %[5]s
contexts:
- name: %[1]s
  context: {cluster: %[1]s, user: %[1]s, namespace: default}
current-context: %[1]s
`, cluster, server, enc(cred.CA), enc(cred.Cert), enc(cred.Key))
}
