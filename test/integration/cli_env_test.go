package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/cli"
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

// commandLine runs the CLI in this process, against a hub.
type commandLine struct {
	t   *testing.T
	dir string
	hub *server
	// ahead is how far this machine's clock is ahead.
	ahead time.Duration
}

func newCommandLine(t *testing.T, hub *server) *commandLine {
	t.Helper()
	c := &commandLine{t: t, dir: t.TempDir(), hub: hub}
	c.file("hub.kubeconfig", hub.kubeconfig)
	c.file("store.env", []byte(storeEnv))
	return c
}

func (c *commandLine) file(name string, content []byte) string {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		c.t.Fatal(err)
	}
	return path
}

// run runs a command and returns its exit code and all that it says. DIR in an argument is the directory of the files.
func (c *commandLine) run(args ...string) (int, string) {
	c.t.Helper()
	var out bytes.Buffer
	return c.runTo(&out, &out, args...), out.String()
}

// json runs a command with -o json, reads its answer and returns its exit code. Nothing but the answer is on its standard output.
func (c *commandLine) json(answer any, args ...string) int {
	c.t.Helper()
	var out, log bytes.Buffer
	code := c.runTo(&out, &log, append(args, "-o", "json")...)
	if err := json.Unmarshal(out.Bytes(), answer); err != nil {
		c.t.Fatalf("stellarflow %s: exit code %d, no JSON: %v\n%s%s", strings.Join(args, " "), code, err, out.String(), log.String())
	}
	return code
}

func (c *commandLine) runTo(out, log *bytes.Buffer, args ...string) int {
	c.t.Helper()
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "DIR", c.dir)
	}
	code := cli.Main(c.t.Context(), cli.Env{Out: out, Err: log, Now: func() time.Time { return time.Now().Add(c.ahead) }, AllowLoopback: true}, args)
	all := out.String()
	if log != out {
		all += log.String()
	}
	c.t.Logf("stellarflow %s\n%s", strings.Join(args, " "), all)
	for _, secret := range []string{"integration-secret", "BEGIN"} {
		if strings.Contains(all, secret) {
			c.t.Errorf("the output holds a credential (%q)", secret)
		}
	}
	return code
}

// must runs a command that has to succeed and to say each of the texts.
func (c *commandLine) must(says []string, args ...string) string {
	c.t.Helper()
	code, out := c.run(args...)
	if code != cli.ExitOK {
		c.t.Fatalf("stellarflow %s: exit code %d: %s", strings.Join(args, " "), code, out)
	}
	for _, text := range says {
		if !strings.Contains(out, text) {
			c.t.Errorf("stellarflow %s: want %q in its output, got:\n%s", strings.Join(args, " "), text, out)
		}
	}
	return out
}

// refuses runs a command that has to fail with a text.
func (c *commandLine) refuses(code int, text string, args ...string) {
	c.t.Helper()
	got, out := c.run(args...)
	if got != code || !strings.Contains(out, text) {
		c.t.Errorf("stellarflow %s: want exit code %d and %q, got %d and:\n%s", strings.Join(args, " "), code, text, got, out)
	}
}

// controllerManager does what the parts that an API server alone lacks would do: it fills in ServiceAccount tokens, and
// finishes the deletion of namespaces.
func controllerManager(t *testing.T, s *server) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	t.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			fillToken(ctx, s)
			finishNamespace(ctx, s)
			time.Sleep(200 * time.Millisecond)
		}
	}()
}

func fillToken(ctx context.Context, s *server) {
	secrets := s.core.CoreV1().Secrets(stellarflow.SystemNamespace)
	secret, err := secrets.Get(ctx, "stellarflow-token", metav1.GetOptions{})
	if err != nil || len(secret.Data["token"]) > 0 {
		return
	}
	request, err := s.core.CoreV1().ServiceAccounts(stellarflow.SystemNamespace).CreateToken(ctx, "stellarflow", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return
	}
	secret.Data = map[string][]byte{"token": []byte(request.Status.Token), "ca.crt": s.config.CAData}
	_, _ = secrets.Update(ctx, secret, metav1.UpdateOptions{})
}

func finishNamespace(ctx context.Context, s *server) {
	namespace, err := s.core.CoreV1().Namespaces().Get(ctx, stellarflow.SystemNamespace, metav1.GetOptions{})
	if err != nil || namespace.DeletionTimestamp == nil {
		return
	}
	_ = s.core.CoreV1().Secrets(namespace.Name).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
	_ = s.core.CoreV1().ServiceAccounts(namespace.Name).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
	namespace.Spec.Finalizers = nil
	_, _ = s.core.CoreV1().Namespaces().Finalize(ctx, namespace, metav1.UpdateOptions{})
}

// argoDeployment is an Argo controller's Deployment.
func argoDeployment(t *testing.T, s *server, namespace, account string) {
	t.Helper()
	deploy(t, s, namespace, "workflow-controller", corev1.PodSpec{ServiceAccountName: account, Containers: []corev1.Container{{
		Name: "controller", Image: "quay.io/argoproj/workflow-controller:v3.7.18", Command: []string{"workflow-controller"},
	}}})
}

// deploy makes a Deployment, and its namespace if that is missing.
func deploy(t *testing.T, s *server, namespace, name string, pod corev1.PodSpec) {
	t.Helper()
	_, err := s.core.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	labels := map[string]string{"app": name}
	_, err = s.core.AppsV1().Deployments(namespace).Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// deployArgoServer makes a Deployment of Argo's server, with the settings of its ConfigMap if it has one.
func deployArgoServer(t *testing.T, s *server, namespace string, settings map[string]string) {
	t.Helper()
	deploy(t, s, namespace, "argo-server", corev1.PodSpec{Containers: []corev1.Container{{
		Name: "argo-server", Image: "quay.io/argoproj/argocli:v3.7.18", Args: []string{"server"},
	}}})
	if settings == nil {
		return
	}
	configMap := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "workflow-controller-configmap"}, Data: settings}
	if _, err := s.core.CoreV1().ConfigMaps(namespace).Create(t.Context(), configMap, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// wantArgoUI checks that the UI of the Argo server in namespace argo shows clusters or not, behind what it showed before, and that the server was
// started anew.
func wantArgoUI(t *testing.T, s *server, shown bool) {
	t.Helper()
	settings, err := s.core.CoreV1().ConfigMaps("argo").Get(t.Context(), "workflow-controller-configmap", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	columns := settings.Data["columns"]
	if strings.Contains(columns, stellarflow.LabelCluster) != shown || !strings.HasPrefix(columns, "- {name: Team, type: label, key: team}\n") {
		t.Errorf("the settings of Argo's server, which are to show the cluster (%t): %v", shown, settings.Data)
	}
	if links := settings.Data["links"]; strings.Contains(links, `"url":"https://argo.test/workflows?label=`) != shown {
		t.Errorf("the links of Argo's server, which are to be there (%t): %q", shown, links)
	}
	deployment, err := s.core.AppsV1().Deployments("argo").Get(t.Context(), "argo-server", metav1.GetOptions{})
	if err != nil || deployment.Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"] == "" {
		t.Errorf("Argo's server was not started anew: %v, %v", deployment.Spec.Template.Annotations, err)
	}
}
