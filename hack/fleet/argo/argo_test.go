package argo

import (
	"io/fs"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"stellarflow.io/stellarflow/hack/fleet/images"
	"stellarflow.io/stellarflow/pkg/artifact"
)

var store = artifact.Store{Endpoint: "172.30.7.2:9000", Bucket: "workflows", Insecure: true, AccessKey: "key", SecretKey: "secret"}

// rendered is the output for a cluster, by kind/name.
func rendered(t *testing.T) map[string]string {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/argoproj/argo-workflows/v3").Output()
	if err != nil || len(strings.TrimSpace(string(dir))) == 0 {
		t.Fatalf("where is Argo's module: %q, %v", dir, err)
	}
	out, err := Render(Input{
		Manifests: strings.TrimSpace(string(dir)) + "/manifests", Cluster: "cluster1", Store: store,
		Images: map[string]images.Command{"docker/whalesay:latest": {Cmd: []string{"cowsay"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	objects := map[string]string{}
	for _, doc := range strings.Split(string(out), "\n---\n") {
		var o metav1.PartialObjectMetadata
		if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
			t.Fatal(err)
		}
		key := o.Kind + "/" + o.Name
		if objects[key] != "" {
			t.Errorf("%s is rendered twice", key)
		}
		objects[key] = doc
	}
	return objects
}

func decode[T any](t *testing.T, objects map[string]string, key string) T {
	t.Helper()
	var o T
	if objects[key] == "" {
		t.Fatalf("%s is not rendered", key)
	}
	if err := yaml.UnmarshalStrict([]byte(objects[key]), &o); err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	return o
}

func TestDeployments(t *testing.T) {
	objects := rendered(t)
	type facts struct {
		Image string
		Args  []string
	}
	want := map[string]facts{
		"workflow-controller": {Image: "quay.io/argoproj/workflow-controller:v3.7.18"}, // no argument: stock
		"argo-server":         {Image: "quay.io/argoproj/argocli:v3.7.18", Args: []string{"server", "--auth-mode=server", "--secure=false"}},
	}
	got := map[string]facts{}
	for name := range want {
		d := decode[appsv1.Deployment](t, objects, "Deployment/"+name)
		if d.Namespace != Namespace {
			t.Errorf("%s is in namespace %s", name, d.Namespace)
		}
		c := d.Spec.Template.Spec.Containers[0]
		f := facts{Image: c.Image}
		f.Args = append(f.Args, c.Args...)
		got[name] = f
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	probe := decode[appsv1.Deployment](t, objects, "Deployment/argo-server").Spec.Template.Spec.Containers[0].ReadinessProbe
	if probe.HTTPGet.Scheme != corev1.URISchemeHTTP || probe.HTTPGet.Port.IntValue() != 2746 {
		t.Errorf("readiness probe: %+v", probe.HTTPGet)
	}
}

func TestControllerConfigMap(t *testing.T) {
	cm := decode[corev1.ConfigMap](t, rendered(t), "ConfigMap/workflow-controller-configmap")
	var keys []string
	for k := range cm.Data {
		keys = append(keys, k)
	}
	for _, k := range keys {
		if k != "artifactRepository" && k != "images" {
			t.Errorf("key %s: nothing may tame the controller", k)
		}
	}
	for _, want := range []string{"endpoint: 172.30.7.2:9000", "bucket: workflows", "archiveLogs: true", "insecure: true", "keyFormat: cluster1/"} {
		if !strings.Contains(cm.Data["artifactRepository"], want) {
			t.Errorf("artifactRepository lacks %q:\n%s", want, cm.Data["artifactRepository"])
		}
	}
	if strings.Contains(cm.Data["artifactRepository"], "secret\n") {
		t.Error("a credential is in a ConfigMap")
	}
	if want := "docker/whalesay:latest:\n  cmd:\n  - cowsay\n"; cm.Data["images"] != want {
		t.Errorf("images: got %q, want %q", cm.Data["images"], want)
	}
}

func TestWhatANamespaceNeeds(t *testing.T) {
	objects := rendered(t)
	secret := decode[corev1.Secret](t, objects, "Secret/"+artifact.CredentialsSecret)
	if secret.Namespace != Namespace || string(secret.Data["accesskey"]) != "key" || string(secret.Data["secretkey"]) != "secret" {
		t.Errorf("Secret: %+v", secret)
	}
	for _, key := range []string{
		"Namespace/argo", "Role/executor", "RoleBinding/executor-default", "Service/fleet-argo-server", "Service/argo-server",
		"CustomResourceDefinition/workflows.argoproj.io",
	} {
		if objects[key] == "" {
			t.Errorf("%s is not rendered", key)
		}
	}
}

func TestRenderFails(t *testing.T) {
	_, err := Render(Input{Manifests: t.TempDir() + "/none", Cluster: "hub", Store: store})
	if err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("got %v, want an error that names the directory", err)
	}
}

// Whatever differs from Argo's manifests is a file of the one directory.
func TestPatchIsWhole(t *testing.T) {
	var kustomization struct {
		Resources []string
		Patches   []struct{ Path string }
	}
	data, err := patch.ReadFile("patch/kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(data, &kustomization); err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{"kustomization.yaml": true}
	for _, r := range kustomization.Resources {
		used[r] = true
	}
	for _, p := range kustomization.Patches {
		used[p.Path] = true
	}
	entries, err := fs.ReadDir(patch, "patch")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !used[e.Name()] {
			t.Errorf("patch/%s is not used", e.Name())
		}
	}
}
