package integration

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"stellarflow.io/stellarflow/pkg/artifact"
)

// startMinIO starts a MinIO server; the binary is the one that STELLARFLOW_MINIO names.
func startMinIO(t *testing.T) artifact.Store {
	t.Helper()
	binary := os.Getenv("STELLARFLOW_MINIO")
	if binary == "" {
		t.Fatal("STELLARFLOW_MINIO is not set to a minio binary: run `make integration`")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	server := exec.Command(binary, "server", "--quiet", "--config-dir", filepath.Join(dir, "config"), "--address", address, filepath.Join(dir, "data"))
	server.Env = append(os.Environ(), "MINIO_ROOT_USER=integration", "MINIO_ROOT_PASSWORD=integration-secret", "MINIO_BROWSER=off")
	server.Stdout, server.Stderr = log, log
	if err := server.Start(); err != nil {
		t.Fatalf("start %s: %v", binary, err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
		_ = log.Close()
	})
	eventually(t, "an answer of MinIO", func(ctx context.Context) (bool, string) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/minio/health/cluster", nil)
		if err != nil {
			return false, err.Error()
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return false, err.Error()
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK, response.Status
	})
	return artifact.Store{Endpoint: address, Bucket: "workflows", Insecure: true, AccessKey: "integration", SecretKey: "integration-secret"}
}

func TestArtifactProbe(t *testing.T) {
	store := startMinIO(t)
	with := func(change func(*artifact.Store)) artifact.Store {
		changed := store
		change(&changed)
		return changed
	}
	// In this order: the bucket is missing until the step that may create it.
	steps := []struct {
		name   string
		store  artifact.Store
		create bool
		check  artifact.Check
		remedy string
	}{
		{"unknown access key", with(func(s *artifact.Store) { s.AccessKey = "nobody" }), true, artifact.CheckCredentials, "check the access key and the secret key"},
		{"wrong secret key", with(func(s *artifact.Store) { s.SecretKey = "wrong-secret" }), true, artifact.CheckCredentials, "check the access key and the secret key"},
		{"http spoken to https", with(func(s *artifact.Store) { s.Insecure = false }), true, artifact.CheckEndpoint, "set insecure to true"},
		{"missing bucket", store, false, artifact.CheckBucket, "create it, or allow it to be created"},
		{"missing bucket in a region", with(func(s *artifact.Store) { s.Region = "us-east-1" }), false, artifact.CheckBucket, "create it, or allow it to be created"},
		{"bucket created", store, true, "", ""},
		{"bucket there, again allowed to create", store, true, "", ""},
		{"bucket there", store, false, "", ""},
		{"bucket there, region set", with(func(s *artifact.Store) { s.Region = "us-east-1" }), false, "", ""},
		{"wrong secret key with a bucket", with(func(s *artifact.Store) { s.SecretKey = "wrong-secret" }), false, artifact.CheckCredentials, "check the access key and the secret key"},
	}
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			err := artifact.Probe(ctx, step.store, step.create)
			if step.check == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var probe *artifact.ProbeError
			if !errors.As(err, &probe) {
				t.Fatalf("want a failed %s check, got %v", step.check, err)
			}
			if probe.Check != step.check || probe.Remedy != step.remedy {
				t.Errorf("want check %q with remedy %q, got %v", step.check, step.remedy, probe)
			}
			if strings.Contains(err.Error(), step.store.SecretKey) || strings.Contains(err.Error(), step.store.AccessKey) {
				t.Errorf("the error holds a credential: %v", err)
			}
		})
	}
	client, err := artifact.Client(store)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.StatObject(t.Context(), store.Bucket, artifact.ProbeObject, minio.StatObjectOptions{}); err != nil {
		t.Errorf("the probe did not write: %v", err)
	}
}
