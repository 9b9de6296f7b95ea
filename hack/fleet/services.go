package main

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"stellarflow.io/stellarflow/hack/fleet/components"
	"stellarflow.io/stellarflow/hack/fleet/network"
	"stellarflow.io/stellarflow/hack/fleet/node"
	"stellarflow.io/stellarflow/hack/fleet/plan"
	"stellarflow.io/stellarflow/hack/fleet/process"
	"stellarflow.io/stellarflow/pkg/artifact"
)

// startLimit bounds how long one process may take until it answers.
const startLimit = 60 * time.Second

// service is a process of the fleet on the machine itself.
type service struct {
	name string
	args []string
	env  []string
	// netns is the network namespace to run in; empty for the machine's.
	netns string
	// prepare is called before a start.
	prepare func(context.Context) error
	// answers tells whether it does its work; the error says why not.
	answers func(context.Context) error
}

// ensureService starts a service unless it answers already.
func (f *fleet) ensureService(ctx context.Context, s service) error {
	old := f.recordOf(s.name)
	if old.Alive() && s.answers(ctx) == nil {
		return nil
	}
	if err := old.Stop(5 * time.Second); err != nil {
		return err
	}
	if s.prepare != nil {
		if err := s.prepare(ctx); err != nil {
			return err
		}
	}
	log := filepath.Join(f.LogDir(), s.name+".log")
	rec, err := process.Start(process.Options{Name: s.name, Fleet: f.ID, Args: s.args, Env: s.env, Log: log, Netns: s.netns})
	if err != nil {
		return err
	}
	if err := node.WriteJSON(f.processFile(s.name), rec, 0o644); err != nil {
		return err
	}
	err = poll(ctx, startLimit, func() (bool, error) {
		if !rec.Alive() {
			return false, fmt.Errorf("%s ended", s.name)
		}
		return false, s.answers(ctx)
	})
	if err != nil {
		return fmt.Errorf("%s of %s does not come up: %w\n%s", s.name, f, err, tail(log))
	}
	f.say.line("%s is up", s.name)
	return nil
}

// endStrays ends services of this fleet whose records were lost: they would
// hold the ports.
func (f *fleet) endStrays() error {
	known := []process.Record{f.recordOf("registry"), f.recordOf("minio"), f.recordOf("forward")}
	return process.KillAll(func() ([]int, error) { return process.Strays(f.ID, known), nil }, stopLimit)
}

func (f *fleet) ensureRegistry(ctx context.Context) error {
	return f.ensureService(ctx, service{
		name:    "registry",
		args:    []string{f.program(), "registry", f.registry(), filepath.Join(f.StateDir(), "registry")},
		answers: func(ctx context.Context) error { return get(ctx, "http://"+f.registry()+"/v2/") },
	})
}

// ensureMinio runs MinIO in its own network namespace.
func (f *local) ensureMinio(ctx context.Context) error {
	host := f.Store(f.rec.Subnet)
	s := f.minio()
	s.netns = network.NetnsPath(host)
	s.prepare = func(ctx context.Context) error { return f.tools.Renew(ctx, host, f.Bridge()) }
	return f.ensureStore(ctx, s)
}

// minio is the service MinIO.
func (f *fleet) minio() service {
	s := f.store()
	return service{
		name: "minio",
		args: []string{f.paths[components.MinIO], "server", "--quiet", "--address", s.Endpoint, filepath.Join(f.StateDir(), "minio")},
		env: []string{
			"MINIO_ROOT_USER=" + s.AccessKey, "MINIO_ROOT_PASSWORD=" + s.SecretKey,
			"MINIO_BROWSER=off", "MINIO_UPDATE=off", "HOME=" + f.StateDir(),
		},
		answers: func(ctx context.Context) error { return get(ctx, "http://"+s.Endpoint+"/minio/health/ready") },
	}
}

// ensureStore runs MinIO and makes the bucket.
func (f *fleet) ensureStore(ctx context.Context, minio service) error {
	if err := f.ensureService(ctx, minio); err != nil {
		return err
	}
	// Ready comes a moment before the first request is served.
	err := poll(ctx, startLimit, func() (bool, error) { return false, artifact.Probe(ctx, f.store(), true) })
	if err != nil {
		return fmt.Errorf("make bucket %s: %w", bucket, err)
	}
	return nil
}

func (f *fleet) ensureForwarder(ctx context.Context) error {
	hub := f.clusters()[0]
	args := []string{f.program(), "forward", fmt.Sprintf("127.0.0.1:%d=%s:%d", f.rec.ArgoPort, hub.IP, plan.ArgoNodePort)}
	if _, shared := f.rec.Addresses["store"]; !shared { // else MinIO is on 127.0.0.1 itself
		args = append(args, fmt.Sprintf("127.0.0.1:%d=%s", f.rec.MinioPort, f.store().Endpoint))
	}
	return f.ensureService(ctx, service{
		name: "forward",
		args: args,
		answers: func(ctx context.Context) error {
			if err := get(ctx, f.argoURL()+"/"); err != nil {
				return err
			}
			return get(ctx, f.minioURL()+"/minio/health/ready")
		},
	})
}

// get expects an answer below 500 to a GET.
func get(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode >= http.StatusInternalServerError {
		return fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	return nil
}

// poll calls check until it returns no error. A check that says final gives up
// at once. The last error tells what was still missing.
func poll(ctx context.Context, limit time.Duration, check func() (final bool, err error)) error {
	deadline := time.After(limit)
	for {
		final, err := check()
		if err == nil || final {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w while waiting: %w", ctx.Err(), err)
		case <-deadline:
			return fmt.Errorf("not within %s: %w", limit, err)
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// tail is the end of a log, for an error.
func tail(path string) string {
	lines := lastLines(path, 6)
	if len(lines) == 0 {
		return fmt.Sprintf("its log %s is empty", path)
	}
	return fmt.Sprintf("the end of its log %s:\n    %s", path, strings.Join(lines, "\n    "))
}
