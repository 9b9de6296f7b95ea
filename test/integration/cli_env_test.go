package integration

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// startAPIServer starts an API server for one test, empty but for Argo's CRDs.
func startAPIServer(t *testing.T) *server {
	t.Helper()
	s, err := newServer(t)
	if s != nil && s.config != nil {
		t.Cleanup(func() {
			if err := s.env.Stop(); err != nil {
				t.Errorf("stop the API server: %v", err)
			}
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// argoCRDs is the directory of Argo's own CRDs in its module.
func argoCRDs(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/argoproj/argo-workflows/v3").Output()
	if err != nil {
		t.Fatalf("find Argo's module: %v", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "manifests", "base", "crds", "minimal")
}

// eventually polls until done reports true, and fails with what it said last.
func eventually(t *testing.T, what string, done func(ctx context.Context) (bool, string)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		ok, said := done(ctx)
		if ok {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s did not happen in 30 s: %s", what, said)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
