package plan

import (
	"fmt"
	"hash/fnv"
	"net/netip"
)

// ChooseSubnet picks a 172.30.x.0/24 that overlaps nothing in taken. The first
// candidate derives from the fleet's ID, so that a fleet usually comes back
// with the addresses it had.
func ChooseSubnet(id string, taken []netip.Prefix) (netip.Prefix, error) {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id)) // an FNV hash never fails to take bytes
	start := int(h.Sum32() % 256)
	for i := range 256 {
		x := byte((start + i) % 256)
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 30, x, 0}), 24)
		if !overlapsAny(p, taken) {
			return p, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("no free /24 in 172.30.0.0/16: an interface or route of this machine covers each; take one down (ip addr, ip route)")
}

func overlapsAny(p netip.Prefix, taken []netip.Prefix) bool {
	for _, t := range taken {
		if t.Bits() > 0 && p.Overlaps(t) {
			return true
		}
	}
	return false
}
