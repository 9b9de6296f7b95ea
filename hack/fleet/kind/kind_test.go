package kind

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"stellarflow.io/stellarflow/hack/fleet/plan"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; write it: go test ./hack/fleet/kind -update", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s: -want +got:\n%s", name, diff)
	}
}

func fleet(t *testing.T) plan.Fleet {
	t.Helper()
	f, err := plan.New("/src", "", 2)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestConfig(t *testing.T) {
	f := fleet(t)
	for _, c := range f.Clusters(netip.MustParsePrefix("172.18.0.0/16")) {
		got := Config(f, c, "/src/.fleet/state/certs.d")
		golden(t, c.Name+".yaml", got)
		var parsed map[string]any
		if err := yaml.UnmarshalStrict([]byte(got), &parsed); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
		if parsed["name"] != ClusterName(f, c.Name) {
			t.Errorf("%s: name is %v", c.Name, parsed["name"])
		}
	}
}

func TestHosts(t *testing.T) {
	files := Hosts("172.18.0.1:5000")
	golden(t, "docker.io_hosts.toml", files["docker.io/hosts.toml"])
	for name, content := range files {
		if !strings.Contains(content, `[host."http://172.18.0.1:5000"]`) {
			t.Errorf("%s does not name the fleet's registry:\n%s", name, content)
		}
	}
}

func TestRules(t *testing.T) {
	got := Rules("-I", netip.MustParseAddr("172.18.0.1"))
	want := []string{
		"iptables -t raw -I PREROUTING -i eth0 ! -s 172.18.0.1 -j DROP",
		"iptables -t mangle -I POSTROUTING -o eth0 ! -d 172.18.0.1 -j DROP",
	}
	var lines []string
	for _, r := range got {
		lines = append(lines, strings.Join(r, " "))
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestWithServer(t *testing.T) {
	cases := map[string]struct {
		in, want string
		wantErr  bool
	}{
		"one":  {in: "clusters:\n- cluster:\n    server: https://hub-control-plane:6443\n  name: x\n", want: "clusters:\n- cluster:\n    server: https://172.18.0.2:6443\n  name: x\n"},
		"none": {in: "clusters: []\n", wantErr: true},
		"two":  {in: "    server: a\n    server: b\n", wantErr: true},
	}
	for reason, tc := range cases {
		t.Run(reason, func(t *testing.T) {
			got, err := withServer(tc.in, "https://172.18.0.2:6443")
			if (err != nil) != tc.wantErr || got != tc.want {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestParseNetwork(t *testing.T) {
	cases := map[string]struct {
		in      string
		want    Network
		wantErr bool
	}{
		"both families": {
			in:   `[{"IPAM":{"Config":[{"Subnet":"fc00:f853:ccd:e793::/64","Gateway":"fc00:f853:ccd:e793::1"},{"Subnet":"172.18.0.0/16","Gateway":"172.18.0.1"}]}}]`,
			want: Network{Subnet: netip.MustParsePrefix("172.18.0.0/16"), Gateway: netip.MustParseAddr("172.18.0.1")},
		},
		"no gateway said": {
			in:   `[{"IPAM":{"Config":[{"Subnet":"172.18.0.0/16"}]}}]`,
			want: Network{Subnet: netip.MustParsePrefix("172.18.0.0/16"), Gateway: netip.MustParseAddr("172.18.0.1")},
		},
		"IPv6 only": {in: `[{"IPAM":{"Config":[{"Subnet":"fc00::/64"}]}}]`, wantErr: true},
		"nonsense":  {in: `{`, wantErr: true},
	}
	for reason, tc := range cases {
		t.Run(reason, func(t *testing.T) {
			got, err := parseNetwork([]byte(tc.in))
			if (err != nil) != tc.wantErr || got != tc.want {
				t.Errorf("got %v, %v; want %v", got, err, tc.want)
			}
		})
	}
}

func TestCheckNamesWhatIsMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if err := Check(t.Context()); err == nil || !strings.Contains(err.Error(), "command kind") {
		t.Errorf("without kind: got %v, want an error that names it", err)
	}
}
