package artifact

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func TestRender(t *testing.T) {
	plain := Store{Endpoint: "172.30.0.1:9000", Bucket: "workflows", Insecure: true, AccessKey: "AKIAFAKE", SecretKey: "s3cr3t"}
	aws := Store{Endpoint: "s3.amazonaws.com", Bucket: "workflows", Region: "eu-central-1", AccessKey: "AKIAFAKE", SecretKey: "s3cr3t"}
	for name, store := range map[string]Store{"minio": plain, "aws": aws} {
		t.Run(name, func(t *testing.T) {
			cm, err := ConfigMap(store, "cluster1", "team-a")
			if err != nil {
				t.Fatal(err)
			}
			raw, err := yaml.Marshal(cm)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "configmap-"+name+".yaml", raw)
			if strings.Contains(string(raw), "s3cr3t") || strings.Contains(string(raw), "AKIAFAKE") {
				t.Error("the ConfigMap holds a credential")
			}
			var back wfv1.ArtifactRepository
			if err := yaml.UnmarshalStrict([]byte(cm.Data[cm.Annotations[AnnotationDefault]]), &back); err != nil {
				t.Fatalf("Argo's own type does not read what the default annotation names: %v", err)
			}
			if diff := cmp.Diff(Repository(store, "cluster1"), back); diff != "" {
				t.Errorf("the repository changes on its way through YAML (-want +got):\n%s", diff)
			}
		})
	}
	raw, err := yaml.Marshal(Secret(plain, "team-a", "hub-uid"))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "secret.yaml", raw)
}

func TestSecretHasTheKeysOfTheRepository(t *testing.T) {
	store := Store{Endpoint: "minio:9000", Bucket: "workflows", AccessKey: "AKIAFAKE", SecretKey: "s3cr3t"}
	repository, secret := Repository(store, "cluster1"), Secret(store, "argo", "")
	for selector, want := range map[string]string{repository.S3.AccessKeySecret.Key: "AKIAFAKE", repository.S3.SecretKeySecret.Key: "s3cr3t"} {
		if got := string(secret.Data[selector]); got != want {
			t.Errorf("Secret key %q: want the credential, got something else", selector)
		}
	}
	if repository.S3.AccessKeySecret.Name != secret.Name || repository.S3.SecretKeySecret.Name != secret.Name {
		t.Errorf("the repository refers to another Secret than %q", secret.Name)
	}
}

func TestCredentials(t *testing.T) {
	store := Store{Endpoint: "minio:9000", Bucket: "workflows", AccessKey: "AKIAFAKE", SecretKey: "s3cr3t"}
	secret := Secret(store, "argo", "hub-uid")
	moved := store
	moved.Endpoint, moved.Bucket = "elsewhere:9000", "others"
	if !HoldsCredentials(secret, moved) || store.CredentialsSum() != moved.CredentialsSum() {
		t.Error("the address is no credential")
	}
	for name, change := range map[string]func(*Store){
		"secret key": func(s *Store) { s.SecretKey = "s3cr3t2" }, "access key": func(s *Store) { s.AccessKey = "AKIAFAKE2" },
		"the border between them": func(s *Store) { s.AccessKey, s.SecretKey = "AKIAFAKEs", "3cr3t" },
	} {
		other := store
		change(&other)
		if HoldsCredentials(secret, other) || store.CredentialsSum() == other.CredentialsSum() {
			t.Errorf("a change of the %s is not seen", name)
		}
	}
	if sum := store.CredentialsSum(); strings.Contains(sum, "s3cr3t") || len(sum) != 64 {
		t.Errorf("not a sum: %s", sum)
	}
}

// Two Workflows of one name, in two namespaces or on two clusters, must not share a key.
func TestKeyFormatCannotCollide(t *testing.T) {
	format := Repository(Store{}, "cluster1").S3.KeyFormat
	for _, part := range []string{"cluster1/", "{{workflow.namespace}}/", "{{workflow.name}}/", "{{workflow.uid}}/", "{{pod.name}}"} {
		if !strings.Contains(format, part) {
			t.Errorf("keyFormat %q lacks %q", format, part)
		}
	}
}
