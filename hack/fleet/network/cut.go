package network

import (
	"context"
	"fmt"
	"os/exec"
	"strings"

	"stellarflow.io/stellarflow/hack/fleet/plan"
)

// The rules of a cut, in the raw and mangle tables: before connection tracking
// on the way in, after everything on the way out. Packets are dropped, not
// refused, so that connections hang as they do in a partition. The machine
// itself stays reachable: people and tests can still look at the cluster, and
// its pods still reach the artifact store.
func cutRules(c plan.Cluster) [][]string {
	ours := plan.Infrastructure(c.Subnet).String()
	return [][]string{
		{"-t", "raw", "PREROUTING", "-i", "eth0", "!", "-s", ours, "-j", "DROP"},
		{"-t", "mangle", "POSTROUTING", "-o", "eth0", "!", "-d", ours, "-j", "DROP"},
	}
}

// Cut drops every packet between a cluster and the other clusters.
func (t Tools) Cut(ctx context.Context, c plan.Cluster) error {
	for _, rule := range cutRules(c) {
		if t.rule(ctx, c, "-C", rule) == nil {
			continue
		}
		if err := t.rule(ctx, c, "-I", rule); err != nil {
			return fmt.Errorf("cut cluster %s: %w", c.Name, err)
		}
	}
	return nil
}

// Heal takes the rules of Cut away.
func (t Tools) Heal(ctx context.Context, c plan.Cluster) error {
	for _, rule := range cutRules(c) {
		for t.rule(ctx, c, "-C", rule) == nil {
			if err := t.rule(ctx, c, "-D", rule); err != nil {
				return fmt.Errorf("heal cluster %s: %w", c.Name, err)
			}
		}
	}
	return nil
}

// IsCut tells whether a cluster is cut off.
func (t Tools) IsCut(ctx context.Context, c plan.Cluster) bool {
	return t.rule(ctx, c, "-C", cutRules(c)[0]) == nil
}

// rule runs iptables in the cluster: action is -C, -I or -D.
func (t Tools) rule(ctx context.Context, c plan.Cluster, action string, rule []string) error {
	args := []string{"--net=" + NetnsPath(c.Host), t.Iptables, "-w", "5"}
	args = append(args, rule[0], rule[1], action)
	args = append(args, rule[2:]...)
	out, err := exec.CommandContext(ctx, "nsenter", args...).CombinedOutput() //nolint:gosec // our own rules
	if err != nil {
		return fmt.Errorf("nsenter %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
