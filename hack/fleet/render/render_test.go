package render

import (
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"stellarflow.io/stellarflow/hack/fleet/plan"
)

var update = flag.Bool("update", false, "write the golden files")

var bin = Binaries{
	Programs: map[string]string{
		"etcd": "/cache/etcd", "containerd": "/cache/containerd", "kube-apiserver": "/cache/kube-apiserver",
		"kube-controller-manager": "/cache/kube-controller-manager", "kube-scheduler": "/cache/kube-scheduler",
		"kubelet": "/cache/kubelet", "kube-proxy": "/cache/kube-proxy", "coredns": "/cache/coredns", "runc": "/cache/runc",
	},
	CNIDir: "/cache/cni",
	Path:   "/cache/debian:/bin",
}

func clusters(t *testing.T) (plan.Cluster, []plan.Cluster) {
	t.Helper()
	f, err := plan.New("/src", "ci", 2)
	if err != nil {
		t.Fatal(err)
	}
	all := f.Clusters(netip.MustParsePrefix("172.30.7.0/24"))
	return all[1], all
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; write it: go test ./hack/fleet/render -update", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s: -want +got:\n%s\nif it is meant: go test ./hack/fleet/render -update", name, diff)
	}
}

func TestFiles(t *testing.T) {
	c, all := clusters(t)
	files := Files(c, all, bin)
	for name, content := range files {
		golden(t, strings.ReplaceAll(name, "/", "_"), content)
	}
	entries, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if _, rendered := files[strings.ReplaceAll(e.Name(), "_", "/")]; !rendered && e.Name() != "components.txt" {
			t.Errorf("testdata/%s is not rendered any more", e.Name())
		}
	}
}

func TestComponents(t *testing.T) {
	c, _ := clusters(t)
	var out strings.Builder
	for _, comp := range Components(c, bin) {
		out.WriteString(comp.Name + " after " + strings.Join(comp.Waits, ", ") + "\n  " + strings.Join(comp.Args, "\n  ") + "\n")
	}
	golden(t, "components.txt", out.String())
}

func TestComponentsAreWhole(t *testing.T) {
	c, _ := clusters(t)
	var names []string
	for _, comp := range Components(c, bin) {
		if comp.Args[0] == "" {
			t.Errorf("%s has no program", comp.Name)
		}
		if slices.Contains(names, comp.Name) {
			t.Errorf("%s is there twice", comp.Name)
		}
		names = append(names, comp.Name)
	}
	want := []string{"etcd", "containerd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "coredns"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Clusters of one fleet differ in whatever must not be shared.
func TestClustersDiffer(t *testing.T) {
	a, all := clusters(t)
	b := all[2]
	for name, content := range Files(a, all, bin) {
		if strings.HasPrefix(name, "certs.d/") {
			continue // the registry is one
		}
		if content == Files(b, all, bin)[name] {
			t.Errorf("%s is the same for %s and %s", name, a.Name, b.Name)
		}
	}
}

func TestSyntax(t *testing.T) {
	c, all := clusters(t)
	files := Files(c, all, bin)
	var kubelet map[string]any
	if err := yaml.UnmarshalStrict([]byte(files[kubeletConfig]), &kubelet); err != nil {
		t.Errorf("%s: %v", kubeletConfig, err)
	}
	if got := kubelet["cgroupRoot"]; got != "/"+c.Cgroup {
		t.Errorf("cgroupRoot is %v, want /%s", got, c.Cgroup)
	}
	var cni map[string]any
	if err := json.Unmarshal([]byte(files[cniConfig]), &cni); err != nil {
		t.Errorf("%s: %v", cniConfig, err)
	}
}

func TestPodNetwork(t *testing.T) {
	c, _ := clusters(t)
	want := Network{From: c.ConfDir() + "/cni.conflist", To: "/run/cni/net.d/10-fleet.conflist", Wait: "10.101.128.1:443"}
	if diff := cmp.Diff(want, PodNetwork(c)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestKubeconfig(t *testing.T) {
	got := Kubeconfig("cluster1", "https://172.30.7.11:6443", Credential{CA: []byte("ca"), Cert: []byte("cert"), Key: []byte("key")})
	cfg, err := clientcmd.Load([]byte(got))
	if err != nil {
		t.Fatal(err)
	}
	ctx := cfg.Contexts[cfg.CurrentContext]
	cluster, user := cfg.Clusters[ctx.Cluster], cfg.AuthInfos[ctx.AuthInfo]
	if cluster.Server != "https://172.30.7.11:6443" || string(cluster.CertificateAuthorityData) != "ca" {
		t.Errorf("cluster: %+v", cluster)
	}
	if string(user.ClientCertificateData) != "cert" || string(user.ClientKeyData) != "key" {
		t.Errorf("user: %+v", user)
	}
}
