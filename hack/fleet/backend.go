package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"stellarflow.io/stellarflow/hack/fleet/components"
	"stellarflow.io/stellarflow/hack/fleet/plan"
)

// backend is a flavour of fleets: clusters of local processes, or kind's.
type backend interface {
	lifecycle
	faults
}

type lifecycle interface {
	up(ctx context.Context) error
	down(ctx context.Context) error
	status(ctx context.Context) error
	build(ctx context.Context) error
	loadImage(ctx context.Context, ref string) error
}

// faults are what tests do to a fleet.
type faults interface {
	kill(ctx context.Context) error
	cut(ctx context.Context, cluster string) error
	heal(ctx context.Context, cluster string) error
	stop(ctx context.Context, cluster string) error
	start(ctx context.Context, cluster string) error
}

// openBackend reads the environment.
func openBackend(verb string) (backend, error) {
	checkout, err := components.Root()
	if err != nil {
		return nil, err
	}
	// The record is where the name says, whatever the number of clusters is.
	p, err := plan.New(checkout, os.Getenv("FLEET_NAME"), 1)
	if err != nil {
		return nil, err
	}
	rec, err := readRecord(p)
	if errors.Is(err, fs.ErrPermission) {
		return nil, errors.Join(requireRoot(verb), err)
	}
	if err != nil {
		return nil, err
	}
	wecs, err := plan.ParseWECs(os.Getenv("CLUSTERS"), rec.WECs)
	if err != nil {
		return nil, err
	}
	if p, err = plan.New(checkout, p.Name, wecs); err != nil {
		return nil, err
	}
	f := &fleet{Fleet: p, rec: rec, say: newProgress(os.Stdout)}
	switch flavour := os.Getenv("FLEET"); flavour {
	case "", "local":
		return &local{fleet: f}, nil
	case "kind":
		return &kindFleet{fleet: f}, nil
	default:
		return nil, fmt.Errorf("FLEET=%q: not known; leave it empty for clusters of local processes, or use kind", flavour)
	}
}
