package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"stellarflow.io/stellarflow/hack/fleet/components"
	"stellarflow.io/stellarflow/hack/fleet/images"
	"stellarflow.io/stellarflow/hack/fleet/kind"
	"stellarflow.io/stellarflow/hack/fleet/node"
	"stellarflow.io/stellarflow/hack/fleet/plan"
	"stellarflow.io/stellarflow/hack/fleet/process"
)

// kindFleet is a fleet of kind's clusters. Registry, MinIO, forwarder and Argo
// are those of the other flavour, on the address of the machine in kind's
// network.
type kindFleet struct{ *fleet }

func (k *kindFleet) up(ctx context.Context) error {
	if !k.IsDefault() {
		return fmt.Errorf("FLEET=kind with FLEET_NAME=%s: kind's fleets share one network and one address for registry and MinIO, so there is only the default one; unset FLEET_NAME", k.Name)
	}
	if err := kind.Check(ctx); err != nil {
		return err
	}
	return k.locked(ctx, func(ctx context.Context) error {
		if err := k.build(ctx); err != nil {
			return err
		}
		if err := k.ensureClusters(ctx); err != nil {
			return err
		}
		if err := k.choose(ctx); err != nil {
			return err
		}
		if err := k.installProgram(); err != nil {
			return err
		}
		if err := k.ensureRegistry(ctx); err != nil {
			return err
		}
		if err := k.pushImages(ctx); err != nil {
			return err
		}
		if err := k.ensureStore(ctx, k.minio()); err != nil {
			return err
		}
		g, gctx := errgroup.WithContext(ctx)
		for _, c := range k.clusters() {
			g.Go(func() error { return k.ensureArgo(gctx, c) })
		}
		if err := g.Wait(); err != nil {
			return err
		}
		return k.finish(ctx)
	})
}

// build provides what runs beside kind's clusters.
func (k *kindFleet) build(ctx context.Context) error {
	needs, err := images.Needs()
	if err != nil {
		return err
	}
	needs = append(needs, components.Kubectl, components.Argo, components.MinIO)
	k.paths, err = components.Ensure(ctx, k.say, needs...)
	return err
}

// ensureClusters makes the clusters one after the other: kind makes its network
// with the first.
func (k *kindFleet) ensureClusters(ctx context.Context) error {
	image := os.Getenv("KIND_NODE_IMAGE")
	if image == "" {
		image = kind.DefaultNodeImage
	}
	if err := os.MkdirAll(k.hostsDir(), 0o755); err != nil {
		return err
	}
	for _, name := range k.ClusterNames() {
		c, err := k.Cluster(name, netip.MustParsePrefix("172.30.0.0/24")) // only its own networks are used
		if err != nil {
			return err
		}
		err = kind.Ensure(ctx, kind.ClusterName(k.Fleet, name), kind.Config(k.Fleet, c, k.hostsDir()), image, c.Kubeconfig)
		if err != nil {
			return fmt.Errorf("cluster %s: %w", name, err)
		}
		k.say.line("%s is made", name)
	}
	return nil
}

func (k *kindFleet) hostsDir() string { return filepath.Join(k.StateDir(), "certs.d") }

// choose records the addresses that Docker gave, and writes what holds them.
func (k *kindFleet) choose(ctx context.Context) error {
	network, err := kind.FindNetwork(ctx)
	if err != nil {
		return err
	}
	rec := k.rec
	rec.Subnet, rec.WECs = network.Subnet, k.WECs
	rec.Addresses = map[string]netip.Addr{"gateway": network.Gateway, "store": network.Gateway}
	for _, name := range k.ClusterNames() {
		if rec.Addresses[name], err = kind.Address(ctx, kind.NodeName(k.Fleet, name)); err != nil {
			return err
		}
	}
	chooseCredentials(&rec)
	rec.ArgoPort, rec.MinioPort = plan.DefaultArgoPort, plan.DefaultMinioPort
	k.rec = rec
	for name, content := range kind.Hosts(k.registry()) {
		if err := writeFile(filepath.Join(k.hostsDir(), name), content, 0o644); err != nil {
			return err
		}
	}
	for _, c := range k.clusters() {
		content, err := kind.Kubeconfig(ctx, kind.ClusterName(k.Fleet, c.Name), c.IP)
		if err != nil {
			return err
		}
		if err := writeFile(c.Kubeconfig, content, 0o600); err != nil {
			return err
		}
	}
	return node.WriteJSON(k.RecordFile(), rec, 0o600)
}

func (k *kindFleet) down(ctx context.Context) error {
	return k.locked(ctx, func(ctx context.Context) error {
		for _, name := range k.ClusterNames() {
			if err := kind.Delete(ctx, kind.ClusterName(k.Fleet, name), filepath.Join(k.StateDir(), "deleted.kubeconfig")); err != nil {
				return err
			}
		}
		if err := k.killServices(); err != nil {
			return err
		}
		if err := k.removeFiles(); err != nil {
			return err
		}
		k.say.line("%s is gone", k)
		return nil
	})
}

func (k *kindFleet) killServices() error {
	return process.KillAll(func() ([]int, error) { return process.Find(k.ID), nil }, stopLimit)
}

func (k *kindFleet) status(ctx context.Context) error {
	for _, c := range k.clusters() {
		cs, err := client(c)
		if err == nil {
			err = apiReady(ctx, cs)
		}
		if err != nil {
			return fmt.Errorf("cluster %s: %w", c.Name, err)
		}
		fmt.Fprintf(k.say, "%s  ok  %s\n", c.Name, c.Server())
	}
	if unwell := k.serviceRows(ctx); len(unwell) > 0 {
		return fmt.Errorf("not well: %v; fleet up repairs", unwell)
	}
	return nil
}

func (k *kindFleet) kill(ctx context.Context) error {
	for _, name := range k.ClusterNames() {
		if err := kind.Docker(ctx, "kill", kind.NodeName(k.Fleet, name)); err != nil {
			return err
		}
	}
	return k.killServices()
}

func (k *kindFleet) cut(ctx context.Context, cluster string) error {
	return k.rules(ctx, "-I", cluster)
}

func (k *kindFleet) heal(ctx context.Context, cluster string) error {
	return k.rules(ctx, "-D", cluster)
}

func (k *kindFleet) rules(ctx context.Context, action, cluster string) error {
	if _, err := k.cluster(cluster); err != nil {
		return err
	}
	for _, rule := range kind.Rules(action, k.rec.Addresses["gateway"]) {
		if err := kind.Docker(ctx, append([]string{"exec", kind.NodeName(k.Fleet, cluster)}, rule...)...); err != nil {
			return err
		}
	}
	return nil
}

func (k *kindFleet) stop(ctx context.Context, cluster string) error {
	return kind.Docker(ctx, "stop", kind.NodeName(k.Fleet, cluster))
}

func (k *kindFleet) start(ctx context.Context, cluster string) error {
	return kind.Docker(ctx, "start", kind.NodeName(k.Fleet, cluster))
}
