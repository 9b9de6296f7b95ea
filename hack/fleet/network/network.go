package network

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"stellarflow.io/stellarflow/hack/fleet/plan"
)

const netnsDir = "/run/netns"

// Tools are the programs this package runs.
type Tools struct {
	// IP is iproute2's ip.
	IP string
	// Iptables is run inside a cluster only, never on the machine.
	Iptables string
}

// NetnsPath is the file to enter a network namespace by.
func NetnsPath(h plan.Host) string { return filepath.Join(netnsDir, h.Netns) }

// Taken lists the networks that this machine's interfaces and routes use,
// without those of the named bridge.
func Taken(bridge string) ([]netip.Prefix, error) {
	var taken []netip.Prefix
	ifaces, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	for _, i := range ifaces {
		addrs, err := i.Addrs()
		if err != nil || i.Name == bridge {
			continue // an interface that went away takes nothing
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				taken = append(taken, p.Masked())
			}
		}
	}
	f, err := os.Open("/proc/net/route")
	if errors.Is(err, os.ErrNotExist) {
		return taken, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	routes, err := parseRoutes(f, bridge)
	return append(taken, routes...), err
}

// parseRoutes reads /proc/net/route: little-endian hexadecimal addresses.
func parseRoutes(r io.Reader, without string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	scan := bufio.NewScanner(r)
	for scan.Scan() {
		f := strings.Fields(scan.Text())
		if len(f) < 8 || f[0] == "Iface" || f[0] == without {
			continue
		}
		dst, err1 := hexAddr(f[1])
		mask, err2 := hexAddr(f[7])
		if err1 != nil || err2 != nil {
			continue
		}
		m := mask.As4()
		bits, _ := net.IPMask(m[:]).Size()
		if bits > 0 {
			out = append(out, netip.PrefixFrom(dst, bits))
		}
	}
	return out, scan.Err()
}

func hexAddr(s string) (netip.Addr, error) {
	raw, err := hex.DecodeString(s)
	if err != nil || len(raw) != 4 {
		return netip.Addr{}, fmt.Errorf("no address: %q", s)
	}
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], binary.LittleEndian.Uint32(raw))
	return netip.AddrFrom4(a), nil
}

// EnsureBridge makes the fleet's bridge with the host's address on it.
func (t Tools) EnsureBridge(ctx context.Context, bridge string, subnet netip.Prefix) error {
	gateway := plan.Gateway(subnet)
	if !linkExists(bridge) {
		// A hardware address of its own: else it changes with the cables.
		if err := t.ip(ctx, "link", "add", bridge, "address", hardwareAddr(gateway), "type", "bridge", "forward_delay", "0"); err != nil {
			return err
		}
	}
	if err := t.ip(ctx, "addr", "replace", netip.PrefixFrom(gateway, subnet.Bits()).String(), "dev", bridge); err != nil {
		return err
	}
	return t.ip(ctx, "link", "set", bridge, "up")
}

// Renew makes a host's network namespace and cable anew; whatever was there,
// rules and addresses included, is gone. Routes are networks to be reached over
// the cable beside the fleet's own.
func (t Tools) Renew(ctx context.Context, h plan.Host, bridge string, routes ...netip.Prefix) error {
	if err := t.remove(ctx, h); err != nil {
		return err
	}
	ns := h.Netns
	steps := [][]string{
		{"netns", "add", ns},
		{"link", "add", h.VethHost, "type", "veth", "peer", "name", h.VethPeer},
		{"link", "set", h.VethHost, "master", bridge, "up"},
		// The same hardware address each time: neighbours remember it.
		{"link", "set", h.VethPeer, "address", hardwareAddr(h.IP), "netns", ns},
		{"-n", ns, "link", "set", h.VethPeer, "name", "eth0"},
		{"-n", ns, "addr", "add", netip.PrefixFrom(h.IP, h.Subnet.Bits()).String(), "dev", "eth0"},
		{"-n", ns, "link", "set", "lo", "up"},
		{"-n", ns, "link", "set", "eth0", "up"},
	}
	for _, r := range routes {
		steps = append(steps, []string{"-n", ns, "route", "add", r.String(), "dev", "eth0", "src", h.IP.String()})
	}
	for _, args := range steps {
		if err := t.ip(ctx, args...); err != nil {
			return fmt.Errorf("network of %s: %w", h.Name, err)
		}
	}
	return nil
}

// hardwareAddr derives from the address, so that it never changes.
func hardwareAddr(ip netip.Addr) string {
	a := ip.As4()
	return net.HardwareAddr{0x02, 0x5f, a[0], a[1], a[2], a[3]}.String()
}

// remove removes a host's network namespace and cable.
func (t Tools) remove(ctx context.Context, h plan.Host) error {
	if linkExists(h.VethHost) {
		if err := t.ip(ctx, "link", "del", h.VethHost); err != nil {
			return err
		}
	}
	if _, err := os.Lstat(NetnsPath(h)); err == nil {
		return t.ip(ctx, "netns", "del", h.Netns)
	}
	return nil
}

// Remove removes everything of a fleet, found by the fleet's ID.
func (t Tools) Remove(ctx context.Context, f plan.Fleet) error {
	left, err := Leftovers(f)
	if err != nil {
		return err
	}
	for _, link := range left.Links {
		if err := t.ip(ctx, "link", "del", link); err != nil && linkExists(link) {
			return err
		}
	}
	for _, ns := range left.Netns {
		if err := t.ip(ctx, "netns", "del", ns); err != nil {
			return err
		}
	}
	return removeEmptyNetnsDir()
}

// removeEmptyNetnsDir undoes what the first "ip netns add" did to the machine:
// /run/netns is mounted on itself.
func removeEmptyNetnsDir() error {
	entries, err := os.ReadDir(netnsDir)
	if err != nil || len(entries) > 0 {
		return nil //nolint:nilerr // nothing there, nothing to remove
	}
	for unix.Unmount(netnsDir, 0) == nil {
		continue // it may be mounted several times
	}
	if err := os.Remove(netnsDir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", netnsDir, err)
	}
	return nil
}

// Found is what a fleet has on the machine's network.
type Found struct{ Links, Netns []string }

// Leftovers lists what bears the fleet's ID.
func Leftovers(f plan.Fleet) (Found, error) {
	var found Found
	ifaces, err := net.Interfaces()
	if err != nil {
		return found, fmt.Errorf("list interfaces: %w", err)
	}
	short := strings.TrimPrefix(f.ID, "sf-")
	for _, i := range ifaces {
		if i.Name == f.Bridge() || strings.HasPrefix(i.Name, "v"+short) || strings.HasPrefix(i.Name, "p"+short) {
			found.Links = append(found.Links, i.Name)
		}
	}
	entries, err := os.ReadDir(netnsDir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return found, err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), f.ID+"-") {
			found.Netns = append(found.Netns, e.Name())
		}
	}
	return found, nil
}

func linkExists(name string) bool {
	_, err := net.InterfaceByName(name)
	return err == nil
}

func (t Tools) ip(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, t.IP, args...).CombinedOutput() //nolint:gosec // the ip command
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
