package kind

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
)

// Check tells what is missing on this machine.
func Check(ctx context.Context) error {
	for _, tool := range []string{"kind", "docker"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("FLEET=kind needs the command %s, which is not there: install it, or leave FLEET empty for clusters without Docker", tool)
		}
	}
	if _, err := run(ctx, "", "docker", "info", "--format", "{{.ServerVersion}}"); err != nil {
		return fmt.Errorf("FLEET=kind needs a running Docker: %w", err)
	}
	return nil
}

// Clusters are the names of kind's clusters on this machine.
func Clusters(ctx context.Context) ([]string, error) {
	out, err := run(ctx, "", "kind", "get", "clusters", "--quiet")
	return strings.Fields(out), err
}

// Ensure makes a cluster unless it is there.
func Ensure(ctx context.Context, name, config, image, kubeconfig string) error {
	have, err := Clusters(ctx)
	if err != nil {
		return err
	}
	if slices.Contains(have, name) {
		return nil
	}
	_, err = run(ctx, config, "kind", "create", "cluster", "--name", name, "--image", image, "--kubeconfig", kubeconfig, "--config", "-", "--wait", "3m")
	return err
}

// Delete removes a cluster if it is there.
func Delete(ctx context.Context, name, kubeconfig string) error {
	_, err := run(ctx, "", "kind", "delete", "cluster", "--name", name, "--kubeconfig", kubeconfig)
	return err
}

// Kubeconfig is the administrator's, with the server at an address that works
// on the machine and in pods.
func Kubeconfig(ctx context.Context, name string, server netip.Addr) (string, error) {
	out, err := run(ctx, "", "kind", "get", "kubeconfig", "--internal", "--name", name)
	if err != nil {
		return "", err
	}
	return withServer(out, fmt.Sprintf("https://%s:6443", server))
}

// withServer replaces the one server of a kubeconfig.
func withServer(kubeconfig, server string) (string, error) {
	lines := strings.Split(kubeconfig, "\n")
	found := 0
	for i, line := range lines {
		if before, _, ok := strings.Cut(line, "server: "); ok && strings.TrimSpace(before) == "" {
			lines[i] = before + "server: " + server
			found++
		}
	}
	if found != 1 {
		return "", fmt.Errorf("kind's kubeconfig has %d servers, want 1", found)
	}
	return strings.Join(lines, "\n"), nil
}

// Network is kind's network on this machine.
type Network struct {
	Subnet  netip.Prefix
	Gateway netip.Addr
}

// FindNetwork asks Docker for kind's network.
func FindNetwork(ctx context.Context) (Network, error) {
	out, err := run(ctx, "", "docker", "network", "inspect", "kind")
	if err != nil {
		return Network{}, err
	}
	return parseNetwork([]byte(out))
}

func parseNetwork(data []byte) (Network, error) {
	var found []struct {
		IPAM struct {
			Config []struct{ Subnet, Gateway string }
		}
	}
	if err := json.Unmarshal(data, &found); err != nil {
		return Network{}, fmt.Errorf("read Docker's network kind: %w", err)
	}
	for _, n := range found {
		for _, c := range n.IPAM.Config {
			subnet, err := netip.ParsePrefix(c.Subnet)
			if err != nil || !subnet.Addr().Is4() {
				continue
			}
			gateway, err := netip.ParseAddr(c.Gateway)
			if err != nil {
				gateway = subnet.Masked().Addr().Next()
			}
			return Network{Subnet: subnet.Masked(), Gateway: gateway}, nil
		}
	}
	return Network{}, errors.New("docker's network kind has no IPv4 subnet; remove it (docker network rm kind) and try again")
}

// Address is the address of a node on kind's network.
func Address(ctx context.Context, node string) (netip.Addr, error) {
	out, err := run(ctx, "", "docker", "inspect", "--format", "{{.NetworkSettings.Networks.kind.IPAddress}}", node)
	if err != nil {
		return netip.Addr{}, err
	}
	addr, err := netip.ParseAddr(strings.TrimSpace(out))
	if err != nil {
		return netip.Addr{}, fmt.Errorf("address of %s: %w", node, err)
	}
	return addr, nil
}

// Docker runs a docker command such as stop, start or exec.
func Docker(ctx context.Context, args ...string) error {
	_, err := run(ctx, "", "docker", args...)
	return err
}

func run(ctx context.Context, stdin, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // kind and docker
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}
