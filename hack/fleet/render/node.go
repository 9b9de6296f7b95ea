package render

import (
	"fmt"
	"path/filepath"
	"strings"

	"stellarflow.io/stellarflow/hack/fleet/pki"
	"stellarflow.io/stellarflow/hack/fleet/plan"
)

// Binaries tells where the programs of a cluster are.
type Binaries struct {
	// Programs are absolute paths by usual name.
	Programs map[string]string
	// CNIDir holds the CNI plugins.
	CNIDir string
	// Path is the PATH of a cluster's processes: the directories of iptables,
	// conntrack, runc and the shim before the machine's own.
	Path string
}

// Component is one process of a cluster.
type Component struct {
	// Name is its name in logs and status.
	Name string `json:"name"`
	// Args is its command line, the program first.
	Args []string `json:"args"`
	// Env are additions to the environment.
	Env []string `json:"env,omitempty"`
	// Waits are TCP addresses that must take connections before it starts.
	Waits []string `json:"waits,omitempty"`
}

// PauseImage keeps the network of a pod.
const PauseImage = "registry.k8s.io/pause:3.10"

const (
	etcdURL  = "http://127.0.0.1:2379"
	etcdAddr = "127.0.0.1:2379"
	apiReady = "https://127.0.0.1:6443/readyz"
	criSock  = "/run/containerd/containerd.sock"
	// cniDir is where containerd looks for the pods' network.
	cniDir = "/run/cni/net.d"
)

// Files in a cluster's ConfDir.
const (
	kubeletConfig    = "kubelet.yaml"
	containerdConfig = "containerd.toml"
	corefile         = "Corefile"
	resolvConf       = "resolv.conf"
	cniConfig        = "cni.conflist"
)

// Network is the file that lets pods start: From is to become To once the
// address Wait answers. That is the Service of the API server, so that pods
// start only when kube-proxy has done its work; else they would crash.
type Network struct{ From, To, Wait string }

// PodNetwork is a cluster's.
func PodNetwork(c plan.Cluster) Network {
	return Network{From: conf(c, cniConfig), To: cniDir + "/10-fleet.conflist", Wait: c.APIServiceIP().String() + ":443"}
}

// Components are the processes of a cluster, in the order of their start.
func Components(c plan.Cluster, bin Binaries) []Component {
	return []Component{
		etcd(c, bin),
		{
			Name: "containerd",
			Args: []string{bin.path("containerd"), "--config", conf(c, containerdConfig), "--log-level", "warn"},
		},
		apiServer(c, bin),
		controllerManager(c, bin),
		scheduler(c, bin),
		kubelet(c, bin),
		proxy(c, bin),
		coreDNS(c, bin),
	}
}

func (b Binaries) path(name string) string { return b.Programs[name] }

func conf(c plan.Cluster, name string) string { return filepath.Join(c.ConfDir(), name) }

func cert(c plan.Cluster, name string) string { return filepath.Join(c.PKIDir(), name) }

func etcd(c plan.Cluster, bin Binaries) Component {
	return Component{
		Name: "etcd",
		Args: []string{
			bin.path("etcd"),
			"--name=" + c.Name,
			"--data-dir=/var/lib/etcd",
			"--listen-client-urls=" + etcdURL,
			"--advertise-client-urls=" + etcdURL,
			"--listen-peer-urls=http://127.0.0.1:2380",
			"--initial-advertise-peer-urls=http://127.0.0.1:2380",
			"--initial-cluster=" + c.Name + "=http://127.0.0.1:2380",
			// A local fleet may lose data with the machine's power, not with
			// its processes.
			"--unsafe-no-fsync",
			"--auto-compaction-retention=1h",
			"--quota-backend-bytes=2147483648",
			"--log-level=warn",
		},
	}
}

func apiServer(c plan.Cluster, bin Binaries) Component {
	return Component{
		Name:  "kube-apiserver",
		Waits: []string{etcdAddr},
		Args: []string{
			bin.path("kube-apiserver"),
			"--advertise-address=" + c.IP.String(),
			"--bind-address=0.0.0.0",
			fmt.Sprintf("--secure-port=%d", plan.APIPort),
			"--etcd-servers=" + etcdURL,
			"--authorization-mode=Node,RBAC",
			"--enable-admission-plugins=NodeRestriction",
			"--allow-privileged=true",
			"--client-ca-file=" + cert(c, pki.CAFile),
			"--tls-cert-file=" + cert(c, pki.APIServer+".crt"),
			"--tls-private-key-file=" + cert(c, pki.APIServer+".key"),
			"--kubelet-certificate-authority=" + cert(c, pki.KubeletBundle),
			"--kubelet-client-certificate=" + cert(c, pki.KubeletClient+".crt"),
			"--kubelet-client-key=" + cert(c, pki.KubeletClient+".key"),
			"--kubelet-preferred-address-types=InternalIP",
			"--service-account-issuer=https://kubernetes.default.svc",
			"--service-account-key-file=" + cert(c, pki.ServiceAccountPub),
			"--service-account-signing-key-file=" + cert(c, pki.ServiceAccountKey),
			"--service-cluster-ip-range=" + c.ServiceCIDR.String(),
			"--event-ttl=4h",
			"--profiling=false",
			"--v=1",
		},
	}
}

func controllerManager(c plan.Cluster, bin Binaries) Component {
	return Component{
		Name:  "kube-controller-manager",
		Waits: []string{apiReady},
		Args: []string{
			bin.path("kube-controller-manager"),
			"--kubeconfig=" + conf(c, pki.Controllers+".kubeconfig"),
			"--leader-elect=false",
			"--use-service-account-credentials",
			"--service-account-private-key-file=" + cert(c, pki.ServiceAccountKey),
			"--root-ca-file=" + cert(c, pki.CAFile),
			"--cluster-signing-cert-file=" + cert(c, pki.CAFile),
			"--cluster-signing-key-file=" + cert(c, pki.CAKeyFile),
			"--allocate-node-cidrs",
			"--cluster-cidr=" + c.PodCIDR.String(),
			"--node-cidr-mask-size=24",
			"--service-cluster-ip-range=" + c.ServiceCIDR.String(),
			"--bind-address=127.0.0.1",
			"--profiling=false",
			"--v=1",
		},
	}
}

func scheduler(c plan.Cluster, bin Binaries) Component {
	return Component{
		Name:  "kube-scheduler",
		Waits: []string{apiReady},
		Args: []string{
			bin.path("kube-scheduler"),
			"--kubeconfig=" + conf(c, pki.Scheduler+".kubeconfig"),
			"--leader-elect=false",
			"--bind-address=127.0.0.1",
			"--v=1",
		},
	}
}

func kubelet(c plan.Cluster, bin Binaries) Component {
	return Component{
		Name:  "kubelet",
		Waits: []string{apiReady, "unix:" + criSock},
		Args: []string{
			bin.path("kubelet"),
			"--config=" + conf(c, kubeletConfig),
			"--kubeconfig=" + conf(c, pki.Kubelet+".kubeconfig"),
			"--hostname-override=" + c.NodeName(),
			"--node-ip=" + c.IP.String(),
			"--root-dir=/var/lib/kubelet",
			"--node-labels=stellarflow.io/fleet-cluster=" + c.Name,
			"--v=1",
		},
	}
}

func proxy(c plan.Cluster, bin Binaries) Component {
	return Component{
		Name:  "kube-proxy",
		Waits: []string{apiReady},
		Args: []string{
			bin.path("kube-proxy"),
			"--kubeconfig=" + conf(c, pki.Proxy+".kubeconfig"),
			"--hostname-override=" + c.NodeName(),
			"--cluster-cidr=" + c.PodCIDR.String(),
			"--proxy-mode=iptables",
			// The machine's table is not the cluster's to resize.
			"--conntrack-max-per-core=0",
			"--oom-score-adj=0",
			"--v=1",
		},
	}
}

func coreDNS(c plan.Cluster, bin Binaries) Component {
	return Component{
		Name:  "coredns",
		Waits: []string{apiReady},
		Args:  []string{bin.path("coredns"), "-conf", conf(c, corefile), "-quiet"},
	}
}

// Corefile answers for the cluster's Services, for the fleet's machines below
// fleet.internal, and says NXDOMAIN to the rest: there is no Internet.
func Corefile(c plan.Cluster, peers []plan.Cluster) string {
	var hosts strings.Builder
	for _, p := range peers {
		fmt.Fprintf(&hosts, "        %s %s.fleet.internal\n", p.IP, p.Name)
	}
	fmt.Fprintf(&hosts, "        %s host.fleet.internal registry.fleet.internal\n", plan.Gateway(c.Subnet))
	return fmt.Sprintf(`cluster.local:53 in-addr.arpa:53 {
    bind %[1]s
    errors
    kubernetes cluster.local in-addr.arpa {
        kubeconfig %[2]s
        pods insecure
        ttl 5
    }
    cache 5
    loadbalance
}
fleet.internal:53 {
    bind %[1]s
    hosts {
%[3]s    }
}
.:53 {
    bind %[1]s
    errors
    template ANY ANY {
        rcode NXDOMAIN
    }
}
`, c.IP, conf(c, pki.Admin+".kubeconfig"), hosts.String())
}
