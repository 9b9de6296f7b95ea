package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"stellarflow.io/stellarflow/pkg/artifact"
)

const (
	namespace = "argo"
	// patience is how long a hello-world may take: an image is pulled and one pod runs.
	patience = 3 * time.Minute
)

// workflow is what the demo reads of a Workflow on the hub.
type workflow struct {
	Metadata struct {
		Name   string            `json:"name"`
		Labels map[string]string `json:"labels"`
	} `json:"metadata"`
	Status struct {
		Phase   string          `json:"phase"`
		Message string          `json:"message"`
		Nodes   map[string]node `json:"nodes"`
	} `json:"status"`
}

type node struct {
	Type         string `json:"type"`
	DisplayName  string `json:"displayName"`
	HostNodeName string `json:"hostNodeName"`
	Outputs      struct {
		Artifacts []struct {
			Name string `json:"name"`
			S3   struct {
				Key string `json:"key"`
			} `json:"s3"`
		} `json:"artifacts"`
	} `json:"outputs"`
}

// workflows creates the samples, waits for them and prints what ran where.
func (d *demo) workflows(ctx context.Context) error {
	d.title("Workflows, created on the hub")
	var names []string
	for _, cluster := range d.sampled() {
		sample := "samples/hello-world-" + cluster + ".yaml"
		args := []string{"--kubeconfig", d.kubeconfig("hub"), "create", "-f", sample, "-o", "name"}
		fmt.Printf("$ %s %s\n", d.bin("kubectl"), strings.Join(args, " "))
		out, err := d.output(ctx, d.bin("kubectl"), args...)
		if err != nil {
			return err
		}
		name := path.Base(strings.TrimSpace(string(out)))
		fmt.Println(name)
		names = append(names, name)
	}
	done := make([]workflow, 0, len(names))
	for _, name := range names {
		finished, err := d.wait(ctx, name)
		if err != nil {
			return err
		}
		done = append(done, finished)
	}
	d.title("What ran where")
	for _, finished := range done {
		if err := d.report(ctx, finished); err != nil {
			return err
		}
	}
	d.title("How to go on")
	d.directions(names)
	return nil
}

// wait follows a Workflow until it has Succeeded, and says each change.
func (d *demo) wait(ctx context.Context, name string) (workflow, error) {
	deadline, said := time.Now().Add(patience), ""
	for {
		var now workflow
		out, err := d.output(ctx, d.bin("kubectl"), "--kubeconfig", d.kubeconfig("hub"), "-n", namespace, "get", "workflow", name, "-o", "json")
		if err == nil {
			err = json.Unmarshal(out, &now)
		}
		if err != nil {
			return now, fmt.Errorf("read workflow %s: %w", name, err)
		}
		saying := fmt.Sprintf("%s: %s", name, firstOf(now.Status.Phase, "created"))
		if cluster := now.Metadata.Labels["stellarflow.io/cluster"]; cluster != "" {
			saying += " on " + cluster
		}
		if now.Status.Message != "" {
			saying += ": " + now.Status.Message
		}
		if saying != said {
			fmt.Printf("  %4s %s\n", time.Since(d.start).Round(time.Second), saying)
			said = saying
		}
		switch phase := now.Status.Phase; {
		case phase == "Succeeded" && now.Metadata.Labels["workflows.argoproj.io/completed"] == "true":
			return now, nil
		case phase == "Failed" || phase == "Error" || time.Now().After(deadline):
			_ = d.command(ctx, d.bin("stellarflow"), "explain", name, "-n", namespace, "--kubeconfig", d.kubeconfig("hub"))
			return now, fmt.Errorf("workflow %s has not Succeeded: %s (the hub manager's log: %s --kubeconfig %s -n stellarflow-system logs -l app.kubernetes.io/name=stellarflow-hub)",
				name, saying, d.bin("kubectl"), d.kubeconfig("hub"))
		}
		select {
		case <-ctx.Done():
			return now, ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// report prints where each pod of a Workflow ran, and its log from the shared store.
func (d *demo) report(ctx context.Context, finished workflow) error {
	raw, err := os.ReadFile(filepath.Join(d.root, d.fleet, "minio.env"))
	if err != nil {
		return fmt.Errorf("read the store's settings: %w", err)
	}
	store, err := artifact.ParseEnv(raw)
	if err != nil {
		return err
	}
	for _, n := range finished.Status.Nodes {
		if n.Type != "Pod" {
			continue
		}
		fmt.Printf("\nWorkflow %s ran on %s, node %s\n", finished.Metadata.Name, finished.Metadata.Labels["stellarflow.io/cluster"], n.HostNodeName)
		for _, a := range n.Outputs.Artifacts {
			if a.Name != "main-logs" {
				continue
			}
			log, err := read(ctx, store, a.S3.Key)
			if err != nil {
				return err
			}
			fmt.Printf("Log of pod %s (%s in the store):\n%s", path.Base(path.Dir(a.S3.Key)), a.S3.Key, indent(log))
		}
	}
	return nil
}

// read fetches an object of the store.
func read(ctx context.Context, store artifact.Store, key string) ([]byte, error) {
	client, err := artifact.Client(store)
	if err != nil {
		return nil, err
	}
	object, err := client.GetObject(ctx, store.Bucket, key, minio.GetObjectOptions{})
	if err != nil {
		return nil, fmt.Errorf("read %s from %s: %w", key, store, err)
	}
	defer func() { _ = object.Close() }()
	content, err := io.ReadAll(object)
	if err != nil {
		return nil, fmt.Errorf("read %s from %s: %w", key, store, err)
	}
	return content, nil
}

// directions says how to reach everything.
func (d *demo) directions(names []string) {
	argo := firstOf(d.setting("ARGO_URL"), "http://127.0.0.1:2746")
	fmt.Printf("Argo UI of the hub  %s/workflows/%s\n", argo, namespace)
	for _, name := range names {
		fmt.Printf("                    %s/workflows/%s/%s\n", argo, namespace, name)
	}
	fmt.Printf("MinIO               %s (credentials: %s)\n", firstOf(d.setting("MINIO_URL"), "http://127.0.0.1:9000"), filepath.Join(d.fleet, "minio.env"))
	for _, cluster := range append([]string{"hub"}, d.clusters()...) {
		fmt.Printf("%-19s %s --kubeconfig %s get workflows -A\n", cluster, d.bin("kubectl"), d.kubeconfig(cluster))
	}
	fmt.Printf("Clusters            %s clusters --kubeconfig %s\n", d.bin("stellarflow"), d.kubeconfig("hub"))
	if len(names) > 0 {
		fmt.Printf("Where and why       %s explain %s -n %s --kubeconfig %s\n", d.bin("stellarflow"), names[0], namespace, d.kubeconfig("hub"))
	}
	down := "make demo-down"
	if fleet := os.Getenv("FLEET_NAME"); fleet != "" {
		down = "FLEET_NAME=" + fleet + " " + down
	}
	fmt.Printf("Remove everything   %s\n", down)
}

// indent puts two blanks before each line.
func indent(text []byte) string {
	var out strings.Builder
	for _, line := range bytes.Split(bytes.TrimRight(text, "\n"), []byte("\n")) {
		_, _ = fmt.Fprintf(&out, "  %s\n", line)
	}
	return out.String()
}

func firstOf(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}
