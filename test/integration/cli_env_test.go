package integration

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// apiServer is a kube-apiserver with etcd of its own, and Argo's CRDs in it.
type apiServer struct {
	config     *rest.Config
	kubeconfig []byte
	core       kubernetes.Interface
	dynamic    dynamic.Interface
}

// startAPIServer starts one for a test; the binaries are those of KUBEBUILDER_ASSETS.
func startAPIServer(t *testing.T) *apiServer {
	t.Helper()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		t.Fatal("KUBEBUILDER_ASSETS is not set to a directory with etcd and kube-apiserver: run `make integration`")
	}
	env := &envtest.Environment{CRDDirectoryPaths: []string{argoCRDs(t)}, ErrorIfCRDPathMissing: true}
	config, err := env.Start()
	if err != nil {
		t.Fatalf("start an API server: %v", err)
	}
	t.Cleanup(func() {
		if err := env.Stop(); err != nil {
			t.Errorf("stop the API server: %v", err)
		}
	})
	config.QPS, config.Burst = 500, 500
	s := &apiServer{config: config, kubeconfig: env.KubeConfig}
	if s.core, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	if s.dynamic, err = dynamic.NewForConfig(config); err != nil {
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

// as is the server's administrator acting as another user.
func (s *apiServer) as(t *testing.T, user string, groups ...string) dynamic.Interface {
	t.Helper()
	config := rest.CopyConfig(s.config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: append(groups, "system:authenticated")}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
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
