package pki

import (
	"net/netip"

	"stellarflow.io/stellarflow/hack/fleet/plan"
)

// Names of the files that every cluster has beside those of its requests, for kubelets that are none: a hub may serve the logs of pods of
// other clusters, with certificates that a CA of its own signs. An API server trusts the bundle of both CAs to sign for kubelets.
const (
	KubeletEndpointCA    = "kubelet-endpoint-ca.crt"
	KubeletEndpointCAKey = "kubelet-endpoint-ca.key"
	KubeletBundle        = "kubelet-bundle.crt"
)

// Request is one certificate to be signed by the cluster's CA.
type Request struct {
	// File is the name of the files, without ".crt" and ".key".
	File string
	// CommonName and Organization are the user and the group in Kubernetes.
	CommonName   string
	Organization string
	// DNSNames and IPs are the names a server answers to; a request without
	// any is for a client only.
	DNSNames []string
	IPs      []netip.Addr
}

// Names of the certificate files.
const (
	APIServer     = "apiserver"
	KubeletClient = "apiserver-kubelet-client"
	Kubelet       = "kubelet"
	Admin         = "admin"
	Controllers   = "controller-manager"
	Scheduler     = "scheduler"
	Proxy         = "kube-proxy"
)

// Requests are the certificates of a cluster, in a fixed order.
func Requests(c plan.Cluster) []Request {
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	return []Request{
		{
			File: APIServer, CommonName: "kube-apiserver",
			DNSNames: []string{
				"kubernetes", "kubernetes.default", "kubernetes.default.svc",
				"kubernetes.default.svc.cluster.local", "localhost", c.Name, c.NodeName(),
			},
			IPs: []netip.Addr{c.IP, loopback, c.APIServiceIP()},
		},
		{File: KubeletClient, CommonName: "kube-apiserver-kubelet-client", Organization: "system:masters"},
		{
			File: Kubelet, CommonName: "system:node:" + c.NodeName(), Organization: "system:nodes",
			DNSNames: []string{c.NodeName()}, IPs: []netip.Addr{c.IP, loopback},
		},
		{File: Admin, CommonName: "admin", Organization: "system:masters"},
		{File: Controllers, CommonName: "system:kube-controller-manager"},
		{File: Scheduler, CommonName: "system:kube-scheduler"},
		{File: Proxy, CommonName: "system:kube-proxy"},
	}
}
