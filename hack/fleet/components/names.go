package components

// Name is the name of one thing that Ensure provides, in most cases that of the program.
type Name string

// The programs that come from Go modules.
const (
	KubeAPIServer         Name = "kube-apiserver"
	KubeControllerManager Name = "kube-controller-manager"
	KubeScheduler         Name = "kube-scheduler"
	Kubelet               Name = "kubelet"
	KubeProxy             Name = "kube-proxy"
	Kubectl               Name = "kubectl"
	Etcd                  Name = "etcd"
	MinIO                 Name = "minio"
	CoreDNS               Name = "coredns"
	WorkflowController    Name = "workflow-controller"
	Argo                  Name = "argo"     // the CLI and the server, with Argo's UI inside
	ArgoExec              Name = "argoexec" // the init and wait containers of a Workflow's pod
)

// What comes from Debian's packages. The programs run where they are; those with libraries or plugins of their own are
// small wrappers in DebianBin.
const (
	DebianBin  Name = "debian-bin" // directory with all of the programs below, to be put first on PATH of a node's parts
	Containerd Name = "containerd" // containerd 1.6
	Shim       Name = "containerd-shim-runc-v2"
	Ctr        Name = "ctr"
	Runc       Name = "runc"
	CNIPlugins Name = "cni-plugins" // directory: bridge, host-local, portmap, loopback ...
	Iptables   Name = "iptables"    // nft flavour; iptables-save, iptables-restore and ip6tables* lie beside it
	Conntrack  Name = "conntrack"
	IP         Name = "ip"      // iproute2's
	Busybox    Name = "busybox" // static
)

// What images are made of.
const (
	PythonRoot Name = "python-root" // directory: a root file system with Python 3.11, its library and what they link to
	ArgoFiles  Name = "argo-files"  // directory: nsswitch.conf and ssh_known_hosts of Argo's images
	CACerts    Name = "ca-certs"    // file: the bundle of certificate authorities
	MimeTypes  Name = "mime-types"  // file: /etc/mime.types
	ZoneInfo   Name = "zoneinfo"    // directory: the time zones
)

// What no fleet has, and only tests use.
const (
	ArgoEvents Name = "argo-events" // its event sources, sensors and controller in one program
	NATSServer Name = "nats-server" // of Debian; needs nothing but the C library
	PostgreSQL Name = "postgresql"  // directory: a root file system with Debian's PostgreSQL 15 and its libraries, to be copied for who is not root
	Chromium   Name = "chromium"    // of Debian, a script that runs it with its libraries and a font
	Playwright Name = "playwright"  // directory: the packages of npm that drive it, for NODE_PATH
)

// Paths says where each Name is: absolute paths.
type Paths map[Name]string

// Extra returns the Names that Ensure knows and a fleet does without, so that none waits until they are built.
func Extra() []Name { return []Name{ArgoEvents, NATSServer, PostgreSQL, Chromium, Playwright} }

// All returns every Name that a fleet needs, in the order in which Ensure builds.
func All() []Name {
	return []Name{
		DebianBin, Containerd, Shim, Ctr, Runc, CNIPlugins, Iptables, Conntrack, IP, Busybox,
		PythonRoot, CACerts, MimeTypes, ZoneInfo, ArgoFiles,
		Etcd, KubeAPIServer, KubeControllerManager, KubeScheduler, Kubelet, KubeProxy, Kubectl,
		MinIO, CoreDNS, WorkflowController, ArgoExec, Argo,
	}
}
