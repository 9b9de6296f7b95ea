package plan

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var subnet = netip.MustParsePrefix("172.30.7.0/24")

func mustNew(t *testing.T, checkout, name string, wecs int) Fleet {
	t.Helper()
	f, err := New(checkout, name, wecs)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestNew(t *testing.T) {
	cases := map[string]struct {
		checkout, name string
		wecs           int
		wantErr        string
	}{
		"default":              {checkout: "/src", wecs: 2},
		"named":                {checkout: "/src", name: "ci-1", wecs: 1},
		"most WECs":            {checkout: "/src", wecs: MaxWECs},
		"relative checkout":    {checkout: "src", wecs: 2, wantErr: "not an absolute path"},
		"upper case":           {checkout: "/src", name: "CI", wecs: 2, wantErr: `FLEET_NAME="CI"`},
		"path":                 {checkout: "/src", name: "a/b", wecs: 2, wantErr: `FLEET_NAME="a/b"`},
		"too long":             {checkout: "/src", name: strings.Repeat("a", 32), wecs: 2, wantErr: "at most 31"},
		"taken by the default": {checkout: "/src", name: "state", wecs: 2, wantErr: "choose another"},
		"no WEC":               {checkout: "/src", wecs: 0, wantErr: "CLUSTERS=0"},
		"too many WECs":        {checkout: "/src", wecs: MaxWECs + 1, wantErr: "CLUSTERS=21"},
	}
	for reason, tc := range cases {
		t.Run(reason, func(t *testing.T) {
			_, err := New(tc.checkout, tc.name, tc.wecs)
			if tc.wantErr == "" && err != nil {
				t.Fatalf("New: %v", err)
			}
			if tc.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tc.wantErr)) {
				t.Fatalf("New: got error %v, want one with %q", err, tc.wantErr)
			}
		})
	}
}

func TestParseWECs(t *testing.T) {
	cases := map[string]struct {
		value    string
		recorded int
		want     int
		wantErr  bool
	}{
		"new fleet":               {want: 2},
		"what it came up with":    {recorded: 5, want: 5},
		"more than it has":        {value: "3", recorded: 2, want: 3},
		"a fleet keeps its WECs":  {value: "1", recorded: 2, want: 2},
		"fewer, for a new fleet":  {value: "1", want: 1},
		"not a number is refused": {value: "two", wantErr: true},
	}
	for reason, tc := range cases {
		t.Run(reason, func(t *testing.T) {
			got, err := ParseWECs(tc.value, tc.recorded)
			if (err != nil) != tc.wantErr || got != tc.want {
				t.Fatalf("ParseWECs(%q, %d) = %d, %v; want %d, error %t", tc.value, tc.recorded, got, err, tc.want, tc.wantErr)
			}
		})
	}
}

// Two fleets must not share a name of anything on the machine.
func TestFleetsAreApart(t *testing.T) {
	fleets := []Fleet{
		mustNew(t, "/src", "", 2), mustNew(t, "/src", "ci", 2), mustNew(t, "/src", "ci-2", 2), mustNew(t, "/other", "", 2), mustNew(t, "/other", "ci", 2),
	}
	owner := map[string]string{}
	for _, f := range fleets {
		names := []string{f.ID, f.Dir(), f.Store(subnet).Netns, f.Store(subnet).VethHost}
		for _, c := range f.Clusters(subnet) {
			names = append(names, c.Netns, c.VethHost, c.VethPeer, c.Cgroup, c.StateDir, c.Kubeconfig)
		}
		for _, n := range names {
			if other, taken := owner[n]; taken {
				t.Errorf("%s of %s (%s) is also of %s", n, f, f.Checkout, other)
			}
			owner[n] = f.Checkout + " " + f.String()
		}
	}
}

func TestSameFleetAgain(t *testing.T) {
	a, b := mustNew(t, "/src", "ci", 2), mustNew(t, "/src/", "ci", 2)
	if diff := cmp.Diff(a, b); diff != "" {
		t.Errorf("the same checkout with a slash is another fleet: %s", diff)
	}
}

func TestInterfaceNames(t *testing.T) {
	valid := regexp.MustCompile(`^[a-z][a-z0-9-]{0,14}$`) // IFNAMSIZ is 16 with the final zero
	f := mustNew(t, "/src", "a-name-of-thirty-one-characters", MaxWECs)
	names := []string{f.Bridge(), f.Store(subnet).VethHost, f.Store(subnet).VethPeer}
	for _, c := range f.Clusters(subnet) {
		names = append(names, c.VethHost, c.VethPeer)
	}
	for _, n := range names {
		if !valid.MatchString(n) {
			t.Errorf("interface name %q: not valid or longer than 15 characters", n)
		}
	}
}

func TestAddresses(t *testing.T) {
	f := mustNew(t, "/src", "", MaxWECs)
	seen := map[netip.Addr]string{Gateway(subnet): "gateway", f.Store(subnet).IP: "store"}
	if len(seen) != 2 {
		t.Fatal("gateway and store share an address")
	}
	var networks []netip.Prefix
	for _, c := range f.Clusters(subnet) {
		if other, taken := seen[c.IP]; taken {
			t.Errorf("%s and %s share %s", c.Name, other, c.IP)
		}
		seen[c.IP] = c.Name
		if !subnet.Contains(c.IP) || Infrastructure(subnet).Contains(c.IP) {
			t.Errorf("%s: address %s is outside %s or inside %s", c.Name, c.IP, subnet, Infrastructure(subnet))
		}
		if c.PodCIDR.Overlaps(c.ServiceCIDR) {
			t.Errorf("%s: pods %s overlap Services %s", c.Name, c.PodCIDR, c.ServiceCIDR)
		}
		if !c.ServiceCIDR.Contains(c.APIServiceIP()) {
			t.Errorf("%s: %s is not in %s", c.Name, c.APIServiceIP(), c.ServiceCIDR)
		}
		networks = append(networks, c.PodCIDR, c.ServiceCIDR)
	}
	for i, a := range networks {
		for _, b := range networks[i+1:] {
			if a.Overlaps(b) {
				t.Errorf("%s overlaps %s", a, b)
			}
		}
	}
	for _, p := range []netip.Addr{Gateway(subnet), f.Store(subnet).IP} {
		if !Infrastructure(subnet).Contains(p) {
			t.Errorf("%s is not in %s: a cut cluster would lose it", p, Infrastructure(subnet))
		}
	}
}

func TestCluster(t *testing.T) {
	f := mustNew(t, "/src", "ci", 2)
	got, err := f.Cluster("cluster1", subnet)
	if err != nil {
		t.Fatal(err)
	}
	want := Cluster{
		Host: Host{
			Name: "cluster1", IP: netip.MustParseAddr("172.30.7.11"), Subnet: subnet,
			Netns: f.ID + "-cluster1", VethHost: "v" + f.ID[3:] + "11", VethPeer: "p" + f.ID[3:] + "11",
		},
		Index: 1, Cgroup: f.ID + "/cluster1",
		PodCIDR: netip.MustParsePrefix("10.101.0.0/24"), ServiceCIDR: netip.MustParsePrefix("10.101.128.0/20"),
		StateDir: "/src/.fleet/ci/state/cluster1", LogDir: "/src/.fleet/ci/logs/cluster1", Kubeconfig: "/src/.fleet/ci/cluster1.kubeconfig",
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("Cluster: -want +got:\n%s", diff)
	}
	if !strings.Contains(got.NodeName(), got.Name) {
		t.Errorf("node name %q does not contain the cluster's name", got.NodeName())
	}
	if _, err := f.Cluster("cluster3", subnet); err == nil || !strings.Contains(err.Error(), "hub, cluster1, cluster2") {
		t.Errorf("a cluster that is not there: got %v, want an error with the names there are", err)
	}
}

func TestPaths(t *testing.T) {
	f := mustNew(t, "/src", "", 2)
	want := map[string]string{
		"dir": "/src/.fleet", "bin": "/src/.fleet/bin", "env": "/src/.fleet/env", "minio": "/src/.fleet/minio.env",
		"hub": "/src/.fleet/hub.kubeconfig", "kubelet": "/src/.fleet/kubelet-ca.yaml",
	}
	got := map[string]string{
		"dir": f.Dir(), "bin": f.BinDir(), "env": f.EnvFile(), "minio": f.MinioEnvFile(), "kubelet": f.KubeletCAFile(), "hub": f.Clusters(subnet)[0].Kubeconfig,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the fleet's contract: -want +got:\n%s", diff)
	}
}

func TestChooseSubnet(t *testing.T) {
	first, err := ChooseSubnet("sf-1", nil)
	if err != nil {
		t.Fatal(err)
	}
	var all []netip.Prefix
	for range 256 {
		p, err := ChooseSubnet("sf-1", all)
		if err != nil {
			t.Fatalf("after %d: %v", len(all), err)
		}
		for _, taken := range all {
			if p.Overlaps(taken) {
				t.Fatalf("%s is taken", p)
			}
		}
		all = append(all, p)
	}
	if all[0] != first {
		t.Errorf("first choice %s, then %s: not the same", first, all[0])
	}
	cases := map[string]struct {
		taken   []netip.Prefix
		wantErr bool
	}{
		"a default route takes nothing": {taken: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}},
		"other networks":                {taken: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fe80::/64")}},
		"all by one":                    {taken: []netip.Prefix{netip.MustParsePrefix("172.16.0.0/12")}, wantErr: true},
		"all by many":                   {taken: all, wantErr: true},
	}
	for reason, tc := range cases {
		t.Run(reason, func(t *testing.T) {
			if _, err := ChooseSubnet("sf-1", tc.taken); (err != nil) != tc.wantErr {
				t.Errorf("got %v, want an error: %t", err, tc.wantErr)
			}
		})
	}
}
