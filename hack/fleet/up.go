package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"stellarflow.io/stellarflow/hack/fleet/components"
)

func (f *local) up(ctx context.Context) error {
	return f.locked(ctx, "up", func(ctx context.Context) error {
		if err := f.provision(ctx); err != nil {
			return err
		}
		loadModules(ctx)
		f.raiseInotify()
		if err := f.endStrays(); err != nil {
			return err
		}
		if err := f.choose(ctx); err != nil {
			return err
		}
		if err := f.installProgram(); err != nil {
			return err
		}
		if err := f.upClusters(ctx); err != nil {
			return err
		}
		return f.finish(ctx)
	})
}

// finish does what follows once Argo runs everywhere.
func (f *fleet) finish(ctx context.Context) error {
	if err := f.ensureForwarder(ctx); err != nil {
		return err
	}
	if err := f.writeEnv(); err != nil {
		return err
	}
	if err := f.installCommands(ctx); err != nil {
		return err
	}
	f.summary()
	return nil
}

// upClusters brings up the registry, MinIO and the clusters side by side. Argo
// follows on each cluster as soon as the images are there.
func (f *local) upClusters(ctx context.Context) error {
	if err := f.ensureRegistry(ctx); err != nil {
		return err
	}
	pushed := make(chan struct{})
	stored := make(chan struct{})
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(pushed)
		return f.pushImages(ctx)
	})
	g.Go(func() error {
		defer close(stored)
		return f.ensureMinio(ctx)
	})
	for _, c := range f.clusters() {
		g.Go(func() error {
			if err := f.ensureCluster(ctx, c); err != nil {
				return err
			}
			if err := wait(ctx, pushed, stored); err != nil {
				return err
			}
			return f.ensureArgo(ctx, c)
		})
	}
	return g.Wait()
}

func wait(ctx context.Context, done ...<-chan struct{}) error {
	for _, d := range done {
		select {
		case <-d:
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// installProgram copies this program to where the fleet's processes run it
// from: go run removes its own.
func (f *fleet) installProgram() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	data, err := os.ReadFile(self)
	if err != nil {
		return fmt.Errorf("copy this program: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(f.program()), 0o755); err != nil {
		return err
	}
	tmp := f.program() + ".new"
	if err := os.WriteFile(tmp, data, 0o755); err != nil {
		return fmt.Errorf("copy this program: %w", err)
	}
	return os.Rename(tmp, f.program())
}

// installCommands puts kubectl, argo and stellarflow into .fleet/bin.
func (f *fleet) installCommands(ctx context.Context) error {
	if err := os.MkdirAll(f.BinDir(), 0o755); err != nil {
		return err
	}
	for _, name := range []components.Name{components.Kubectl, components.Argo} {
		if err := relink(f.paths[name], filepath.Join(f.BinDir(), string(name))); err != nil {
			return err
		}
	}
	sources, err := filepath.Glob(filepath.Join(f.Checkout, "cmd", "stellarflow", "*.go"))
	if err != nil || len(sources) == 0 {
		return err
	}
	f.say.line("building the command stellarflow")
	built, err := components.BuildMain(ctx, "./cmd/stellarflow")
	if err != nil {
		return fmt.Errorf("the fleet is up, but the command stellarflow cannot be built: %w", err)
	}
	return relink(built, filepath.Join(f.BinDir(), "stellarflow"))
}

func relink(target, link string) error {
	if have, err := os.Readlink(link); err == nil && have == target {
		return nil
	}
	if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.Symlink(target, link)
}

func (f *fleet) argoURL() string { return fmt.Sprintf("http://127.0.0.1:%d", f.rec.ArgoPort) }

func (f *fleet) minioURL() string { return fmt.Sprintf("http://127.0.0.1:%d", f.rec.MinioPort) }

// writeEnv writes the addresses for people and tests.
func (f *fleet) writeEnv() error {
	lines := []string{
		"ARGO_URL=" + f.argoURL(),
		"MINIO_URL=" + f.minioURL(),
		fmt.Sprintf("ARGO_SERVER=127.0.0.1:%d", f.rec.ArgoPort),
		"REGISTRY=" + f.registry(),
		"SUBNET=" + f.rec.Subnet.String(),
		"CLUSTERS=" + strings.Join(f.ClusterNames(), ","),
	}
	if err := os.WriteFile(f.EnvFile(), []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		return err
	}
	s := f.store()
	lines = []string{
		"MINIO_ENDPOINT=" + s.Endpoint,
		"MINIO_ACCESS_KEY=" + s.AccessKey,
		"MINIO_SECRET_KEY=" + s.SecretKey,
		"MINIO_BUCKET=" + s.Bucket,
		"MINIO_INSECURE=true",
	}
	return os.WriteFile(f.MinioEnvFile(), []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}

func (f *fleet) summary() {
	f.say.line("%s is up", f)
	fmt.Fprintf(f.say, "         Argo UI  %s\n         MinIO    %s (bucket %s)\n", f.argoURL(), f.minioURL(), bucket)
	for _, c := range f.clusters() {
		fmt.Fprintf(f.say, "         %-8s %s --kubeconfig %s\n", c.Name, f.relative(filepath.Join(f.BinDir(), "kubectl")), f.relative(c.Kubeconfig))
	}
}

func (f *fleet) relative(path string) string {
	if rel, err := filepath.Rel(f.Checkout, path); err == nil {
		return rel
	}
	return path
}

func (f *local) build(ctx context.Context) error {
	if err := f.provision(ctx); err != nil {
		return err
	}
	f.say.line("everything a fleet needs is built")
	return nil
}
