package pki

import (
	"crypto/x509"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"stellarflow.io/stellarflow/hack/fleet/plan"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func cluster(t *testing.T, subnet string) plan.Cluster {
	t.Helper()
	f, err := plan.New("/src", "", 2)
	if err != nil {
		t.Fatal(err)
	}
	c, err := f.Cluster("cluster1", netip.MustParsePrefix(subnet))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func ensure(t *testing.T, dir string, c plan.Cluster) {
	t.Helper()
	if err := Ensure(dir, c.Name, Requests(c), now); err != nil {
		t.Fatal(err)
	}
}

func load(t *testing.T, dir, name string) *x509.Certificate {
	t.Helper()
	cert, err := readCert(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestServerNames(t *testing.T) {
	dir, c := t.TempDir(), cluster(t, "172.30.7.0/24")
	ensure(t, dir, c)
	roots := x509.NewCertPool()
	roots.AddCert(load(t, dir, CAFile))
	cases := map[string]struct {
		file string
		name string
		ok   bool
	}{
		"bridge address":      {APIServer, "172.30.7.11", true},
		"loopback":            {APIServer, "127.0.0.1", true},
		"Service address":     {APIServer, "10.101.128.1", true},
		"Service name":        {APIServer, "kubernetes.default.svc", true},
		"full Service name":   {APIServer, "kubernetes.default.svc.cluster.local", true},
		"another cluster":     {APIServer, "172.30.7.12", false},
		"kubelet":             {Kubelet, "172.30.7.11", true},
		"client is no server": {Admin, "172.30.7.11", false},
	}
	for reason, tc := range cases {
		t.Run(reason, func(t *testing.T) {
			_, err := load(t, dir, tc.file+".crt").Verify(x509.VerifyOptions{Roots: roots, DNSName: tc.name, CurrentTime: now})
			if (err == nil) != tc.ok {
				t.Errorf("%s for %s: got %v, want valid: %t", tc.file, tc.name, err, tc.ok)
			}
		})
	}
}

func TestUsers(t *testing.T) {
	dir, c := t.TempDir(), cluster(t, "172.30.7.0/24")
	ensure(t, dir, c)
	want := map[string][]string{
		Kubelet:       {"system:node:cluster1-node", "system:nodes"},
		KubeletClient: {"kube-apiserver-kubelet-client", "system:masters"},
		Admin:         {"admin", "system:masters"},
		Controllers:   {"system:kube-controller-manager"},
		Scheduler:     {"system:kube-scheduler"},
		Proxy:         {"system:kube-proxy"},
	}
	got := map[string][]string{}
	for name := range want {
		s := load(t, dir, name+".crt").Subject
		got[name] = append([]string{s.CommonName}, s.Organization...)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("users and groups: -want +got:\n%s", diff)
	}
}

// An API server trusts the cluster's CA and that of the endpoint for other clusters' pods to sign for kubelets; the second one signs nothing else.
func TestKubeletBundle(t *testing.T) {
	dir, c := t.TempDir(), cluster(t, "172.30.7.0/24")
	ensure(t, dir, c)
	bundle, err := os.ReadFile(filepath.Join(dir, KubeletBundle))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle)
	endpoint := load(t, dir, KubeletEndpointCA)
	for name, cert := range map[string]*x509.Certificate{"kubelet": load(t, dir, Kubelet+".crt"), "endpoint": endpoint} {
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if endpoint.Equal(load(t, dir, CAFile)) || !endpoint.IsCA {
		t.Error("the endpoint has the cluster's own CA: it could sign certificates of administrators")
	}
}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()] = string(data)
	}
	return out
}

// A cluster that comes back is the same to whoever holds its kubeconfig.
func TestEnsureKeeps(t *testing.T) {
	dir, c := t.TempDir(), cluster(t, "172.30.7.0/24")
	ensure(t, dir, c)
	before := contents(t, dir)
	ensure(t, dir, c)
	if diff := cmp.Diff(before, contents(t, dir)); diff != "" {
		t.Errorf("a second Ensure changed files:\n%s", diff)
	}
}

func TestEnsureRepairs(t *testing.T) {
	dir, c := t.TempDir(), cluster(t, "172.30.7.0/24")
	ensure(t, dir, c)
	before := contents(t, dir)
	if err := os.Remove(filepath.Join(dir, Admin+".key")); err != nil {
		t.Fatal(err)
	}
	ensure(t, dir, cluster(t, "172.30.9.0/24")) // the fleet moved
	after := contents(t, dir)
	for _, same := range []string{CAFile, CAKeyFile, KubeletEndpointCA, KubeletEndpointCAKey, KubeletBundle, ServiceAccountKey, Proxy + ".crt"} {
		if before[same] != after[same] {
			t.Errorf("%s changed", same)
		}
	}
	for _, changed := range []string{APIServer + ".crt", Kubelet + ".crt", Admin + ".crt"} {
		if before[changed] == after[changed] {
			t.Errorf("%s did not change", changed)
		}
	}
}

func TestEnsureDamagedCA(t *testing.T) {
	dir, c := t.TempDir(), cluster(t, "172.30.7.0/24")
	ensure(t, dir, c)
	if err := os.WriteFile(filepath.Join(dir, CAFile), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Ensure(dir, c.Name, Requests(c), now); err == nil {
		t.Error("a damaged CA was replaced in silence: every kubeconfig would be void")
	}
}

func TestKeysAreSecret(t *testing.T) {
	dir := t.TempDir()
	ensure(t, dir, cluster(t, "172.30.7.0/24"))
	keys, err := filepath.Glob(filepath.Join(dir, "*.key"))
	if err != nil || len(keys) < 8 {
		t.Fatalf("keys: %v, %v", keys, err)
	}
	for _, k := range keys {
		info, err := os.Stat(k)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v", k, info.Mode())
		}
	}
}
