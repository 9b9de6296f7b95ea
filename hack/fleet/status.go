package main

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"

	"stellarflow.io/stellarflow/hack/fleet/plan"
)

// status prints a line per cluster and fails if something is not well.
func (f *local) status(ctx context.Context) error {
	if !f.rec.Subnet.IsValid() {
		return fmt.Errorf("%s is not up: run fleet up", f)
	}
	if err := requireRoot("status"); err != nil {
		return err
	}
	if err := f.findTools(ctx); err != nil {
		return err
	}
	clusters := f.clusters()
	rows := make([][]string, len(clusters))
	sick := make([]bool, len(clusters))
	var g errgroup.Group
	for i, c := range clusters {
		g.Go(func() error {
			rows[i], sick[i] = f.clusterRow(ctx, c)
			return nil
		})
	}
	_ = g.Wait() // the functions return no errors
	fmt.Fprint(f.say, table(append([][]string{{"CLUSTER", "API", "NODE", "PODS", "ARGO", "NETWORK", "ADDRESS", "KUBECONFIG"}}, rows...)))
	var unwell []string
	for i, c := range clusters {
		if sick[i] {
			unwell = append(unwell, c.Name)
		}
	}
	fmt.Fprintln(f.say)
	unwell = append(unwell, f.serviceRows(ctx)...)
	if len(unwell) > 0 {
		return fmt.Errorf("not well: %s; fleet up repairs, logs are in %s", strings.Join(unwell, ", "), f.relative(f.LogDir()))
	}
	return nil
}

func (f *fleet) serviceRows(ctx context.Context) []string {
	rows := [][]string{{"SERVICE", "STATE", "ADDRESS"}}
	var unwell []string
	for _, s := range []struct{ name, probe, address string }{
		{"registry", "http://" + f.registry() + "/v2/", f.registry()},
		{"minio", "http://" + f.store().Endpoint + "/minio/health/ready", f.store().Endpoint + "  " + f.minioURL()},
		{"argo", f.argoURL() + "/", f.argoURL()},
	} {
		state := "ok"
		if err := get(ctx, s.probe); err != nil {
			state = "does not answer"
			unwell = append(unwell, s.name)
		}
		rows = append(rows, []string{s.name, state, s.address})
	}
	fmt.Fprint(f.say, table(rows))
	return unwell
}

// clusterRow is a cluster's line, and whether it is not well.
func (f *local) clusterRow(ctx context.Context, c plan.Cluster) ([]string, bool) {
	row := []string{c.Name, "-", "-", "-", "-", "connected", c.Server(), f.relative(c.Kubeconfig)}
	rec := f.recordOf(c.Name)
	if !rec.Alive() {
		row[1] = "stopped"
		return row, true
	}
	if f.tools.IsCut(ctx, c) {
		row[5] = "cut"
	}
	cs, err := client(c)
	if err == nil {
		err = apiReady(ctx, cs)
	}
	if err != nil {
		row[1] = "down"
		return row, true
	}
	row[1] = "ok"
	nodeErr := nodeReady(ctx, cs, c, rec.Since)
	row[2] = okOr(nodeErr, "not ready")
	row[3] = podCount(ctx, cs)
	argoErr := argoReady(ctx, cs, rec.Since)
	row[4] = okOr(argoErr, "not ready")
	if argoErr == nil {
		row[4] = argoVersion(ctx, cs)
	}
	return row, nodeErr != nil || argoErr != nil || row[5] == "cut"
}
