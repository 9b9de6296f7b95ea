package network

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stellarflow.io/stellarflow/hack/fleet/plan"
)

const routes = `Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	010011AC	0003	0	0	0	00000000	0	0	0
eth0	000011AC	00000000	0001	0	0	0	0000FFFF	0	0	0
sf-12345678	00071EAC	00000000	0001	0	0	0	00FFFFFF	0	0	0
broken	xyz	00000000	0001	0	0	0	00FFFFFF	0	0	0
short	1
`

func TestParseRoutes(t *testing.T) {
	cases := map[string]struct {
		without string
		want    []string
	}{
		"all but the default route": {want: []string{"172.17.0.0/16", "172.30.7.0/24"}},
		"without our own":           {without: "sf-12345678", want: []string{"172.17.0.0/16"}},
	}
	for reason, tc := range cases {
		t.Run(reason, func(t *testing.T) {
			got, err := parseRoutes(strings.NewReader(routes), tc.without)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, p := range got {
				names = append(names, p.String())
			}
			if diff := cmp.Diff(tc.want, names); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestTaken(t *testing.T) {
	taken, err := Taken("no-such-bridge")
	if err != nil {
		t.Fatal(err)
	}
	loopback := netip.MustParseAddr("127.0.0.1")
	for _, p := range taken {
		if p.Contains(loopback) {
			return
		}
	}
	t.Errorf("the loopback's network is not in %v", taken)
}

func TestHardwareAddr(t *testing.T) {
	f, err := plan.New("/src", "", plan.MaxWECs)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for _, c := range f.Clusters(netip.MustParsePrefix("172.30.7.0/24")) {
		a := hardwareAddr(c.IP)
		if other := seen[a]; other != "" {
			t.Errorf("%s and %s share %s", other, c.Name, a)
		}
		seen[a] = c.Name
	}
	if got := hardwareAddr(netip.MustParseAddr("172.30.7.11")); got != "02:5f:ac:1e:07:0b" {
		t.Errorf("hardware address is %s: not derived from the address any more", got)
	}
}

// A cut keeps what people and pods need of the machine.
func TestCutRules(t *testing.T) {
	f, err := plan.New("/src", "", 2)
	if err != nil {
		t.Fatal(err)
	}
	subnet := netip.MustParsePrefix("172.30.7.0/24")
	c, err := f.Cluster("cluster1", subnet)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range cutRules(c) {
		got = append(got, strings.Join(r, " "))
	}
	want := []string{
		"-t raw PREROUTING -i eth0 ! -s 172.30.7.0/29 -j DROP",
		"-t mangle POSTROUTING -o eth0 ! -d 172.30.7.0/29 -j DROP",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestNothingIsLeftOfAFleetThatNeverWas(t *testing.T) {
	f, err := plan.New("/no/such/checkout", "", 2)
	if err != nil {
		t.Fatal(err)
	}
	found, err := Leftovers(f)
	if err != nil || len(found.Links)+len(found.Netns) > 0 {
		t.Errorf("found %v, %v", found, err)
	}
}
