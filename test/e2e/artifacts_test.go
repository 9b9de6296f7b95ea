package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/google/go-cmp/cmp"
	"github.com/minio/minio-go/v7"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/artifact"
)

// wantArtifacts checks that every artifact of a finished Workflow, logs included, is downloaded through the hub's Argo server as it is in the store: from the
// addresses that the UI uses, and with `argo cp`. What there is to download is what the server says.
func (f *fleet) wantArtifacts(t *testing.T, workflow *wfv1.Workflow) {
	t.Helper()
	answer, err := f.fetch(t.Context(), "/api/v1/workflows/"+workflow.Namespace+"/"+workflow.Name)
	if err != nil {
		t.Fatal(err)
	}
	var listed wfv1.Workflow
	if err := json.Unmarshal([]byte(answer), &listed); err != nil {
		t.Fatalf("read the answer of Argo's server: %v: %s", err, answer)
	}
	wanted := map[string]string{} // by the path that argo cp gives it
	for id, node := range listed.Status.Nodes {
		for direction, artifacts := range map[string]wfv1.Artifacts{"outputs": outputsOf(node), "inputs": inputsOf(node)} {
			for _, a := range artifacts {
				key, err := a.GetKey()
				if err != nil {
					t.Errorf("node %s has %s artifact %s without a key: %v", node.DisplayName, direction, a.Name, err)
					continue
				}
				stored := f.read(t, key)
				path := fmt.Sprintf("/artifact-files/%s/workflows/%s/%s/%s/%s", workflow.Namespace, workflow.Name, id, direction, a.Name)
				if got, err := f.fetch(t.Context(), path); err != nil || got != stored {
					t.Errorf("GET %s: %d bytes, %v; the store has %d under %s", path, len(got), err, len(stored), key)
				}
				if direction == "outputs" {
					wanted[filepath.Join(workflow.Namespace, workflow.Name, id, direction, a.Name, filepath.Base(key))] = stored
				}
			}
		}
	}
	copied, got := t.TempDir(), map[string]string{}
	if _, err := f.try(t.Context(), f.argoServer(), f.bin("argo"), "cp", workflow.Name, copied, "-n", workflow.Namespace); err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(copied, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		got[strings.TrimPrefix(path, copied+"/")] = string(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wanted, got); diff != "" || len(wanted) == 0 {
		t.Errorf("what argo cp copied of %s (-store +copied):\n%s", workflow.Name, diff)
	}
}

// testArtifacts runs a Workflow of one name on one cluster after the other. Each leaves its artifacts, which are downloaded through the hub, and
// none overwrites what another has left under that name.
func testArtifacts(t *testing.T, f *fleet) {
	namespace, left := f.newNamespace(t, "artifacts"), map[string]string{} // by their keys
	for _, target := range []string{"cluster1", "cluster2", "cluster1"} {
		f.create(t, namespace, suspended("twice", target, fmt.Sprintf(`
- name: main
  container: {image: busybox, command: [sh, -c], args: ["echo run %d > /tmp/said"]}
  outputs: {artifacts: [{name: said, path: /tmp/said}, {name: plain, path: /tmp/said, archive: {none: {}}}]}
`, len(left))))
		workflow := f.awaitRun(t, namespace, "twice", target, 1)
		f.wantArtifacts(t, workflow)
		for _, a := range outputsOf(onlyPod(t, workflow)) {
			key := keyOf(t, onlyPod(t, workflow), a.Name)
			if _, taken := left[key]; taken {
				t.Errorf("two runs write to %s", key)
			}
			left[key] = f.read(t, key)
		}
		f.kubectl(t, f.hub, "-n", namespace, "delete", "workflow", "twice", "--timeout=2m")
		eventually(t, moment, "its pods go", func(context.Context) error {
			if n := f.wecs[target].countPods(t, namespace, "twice"); n > 0 {
				return fmt.Errorf("%s has %d", target, n)
			}
			return nil
		})
	}
	if len(left) != 9 {
		t.Errorf("three runs left %d artifacts, want 9: %v", len(left), left)
	}
	for key, content := range left {
		if got := f.read(t, key); got != content {
			t.Errorf("%s was overwritten: %q, and was %q", key, got, content)
		}
	}
}

func outputsOf(node wfv1.NodeStatus) wfv1.Artifacts {
	if node.Outputs == nil {
		return nil
	}
	return node.Outputs.Artifacts
}

func inputsOf(node wfv1.NodeStatus) wfv1.Artifacts {
	if node.Inputs == nil {
		return nil
	}
	return node.Inputs.Artifacts
}

// treasure is what a bucket holds that Workflows have no business with, and treasureKey where.
const treasure, treasureKey = "nobody but the hub's owner reads this\n", "treasure.txt"

// testPlanted has a cluster say in a status that an artifact is in a bucket which only a Secret of the hub opens. The Argo server follows such a status, as a
// Workflow of the hub's own shows; from a cluster it must not come that far (law 6).
func testPlanted(t *testing.T, f *fleet) {
	namespace := f.newNamespace(t, "planted")
	bucket := namespace
	if err := f.objects.MakeBucket(t.Context(), bucket, minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = f.objects.RemoveObject(context.Background(), bucket, treasureKey, minio.RemoveObjectOptions{})
		_ = f.objects.RemoveBucket(context.Background(), bucket)
	})
	if _, err := f.objects.PutObject(t.Context(), bucket, treasureKey, strings.NewReader(treasure), int64(len(treasure)), minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "planted"}, StringData: map[string]string{
		artifact.KeyAccessKey: f.store.AccessKey, artifact.KeySecretKey: f.store.SecretKey,
	}}
	if _, err := f.hub.core.CoreV1().Secrets(namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.create(t, namespace, suspended("victim", "cluster2", `
- name: main
  container: {image: busybox, command: [echo], args: [mine]}
`))
	victim := f.awaitRun(t, namespace, "victim", "cluster2", 1)
	node := onlyPod(t, victim)
	ways := plantings(f.store, bucket, node)

	t.Run("followed", func(t *testing.T) { // by a Workflow of the hub, or the test below shows nothing
		for name, status := range ways {
			local := &unstructured.Unstructured{Object: map[string]any{
				"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow",
				"metadata": map[string]any{"name": "local-" + name, "namespace": namespace, "labels": map[string]any{"workflows.argoproj.io/completed": "true"}},
				"spec":     map[string]any{"entrypoint": "main", "templates": []any{map[string]any{"name": "main", "container": map[string]any{"image": "busybox"}}}},
				"status":   status,
			}}
			if _, err := f.hub.workflows.Namespace(namespace).Create(t.Context(), local, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			if got, err := f.fetch(t.Context(), artifactPath(namespace, "local-"+name, node)); got != treasure {
				t.Errorf("%s: Argo's server does not follow it: %q, %v", name, got, err)
			}
		}
	})
	for name, status := range ways {
		t.Run(name, func(t *testing.T) {
			said := "planted " + name
			status["message"] = said
			raw, err := json.Marshal(map[string]any{"status": status})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.wecs["cluster2"].workflows.Namespace(namespace).Patch(t.Context(), "victim", types.MergePatchType, raw, metav1.PatchOptions{}); err != nil {
				t.Fatal(err)
			}
			f.hub.await(t, namespace, "victim", "shows what the cluster says", func(w *wfv1.Workflow) error {
				if w.Status.Message != said {
					return fmt.Errorf("its message is %q", w.Status.Message)
				}
				return nil
			})
			if got, _ := f.fetch(t.Context(), artifactPath(namespace, "victim", node)); strings.Contains(got, treasure) {
				t.Errorf("Argo's server used Secret planted of the hub for what a cluster says")
			}
		})
	}
}

// artifactPath is where Argo's server has the log of a node.
func artifactPath(namespace, name string, node wfv1.NodeStatus) string {
	return fmt.Sprintf("/artifact-files/%s/workflows/%s/%s/outputs/main-logs", namespace, name, node.ID)
}

// plantings are the ways in which a status can say that the log of a node is in a bucket that Secret planted opens.
func plantings(store artifact.Store, bucket string, node wfv1.NodeStatus) map[string]map[string]any {
	credential := func(key string) any { return map[string]any{"name": "planted", "key": key} }
	place := func(key string) map[string]any {
		place := map[string]any{
			"endpoint": store.Endpoint, "bucket": bucket, "insecure": store.Insecure,
			"accessKeySecret": credential(artifact.KeyAccessKey), "secretKeySecret": credential(artifact.KeySecretKey),
		}
		if key != "" {
			place["key"] = key
		}
		return place
	}
	status := func(template string, s3 map[string]any) map[string]any {
		repository := map[string]any{"default": true, "artifactRepository": map[string]any{"s3": map[string]any{"endpoint": store.Endpoint, "bucket": store.Bucket}}}
		return map[string]any{"phase": "Succeeded", "artifactRepositoryRef": repository, "nodes": map[string]any{node.ID: map[string]any{
			"id": node.ID, "name": node.Name, "displayName": node.DisplayName, "type": "Pod", "phase": "Succeeded", "templateName": template,
			"outputs": map[string]any{"artifacts": []any{map[string]any{"name": "main-logs", "s3": s3}}},
		}}}
	}
	only := map[string]any{"key": treasureKey}
	inRepository, inTemplate := status("main", only), status("evil", only)
	inRepository["artifactRepositoryRef"] = map[string]any{"default": true, "artifactRepository": map[string]any{"s3": place("")}}
	inTemplate["storedTemplates"] = map[string]any{"namespaced/evil/evil": map[string]any{
		"name": "evil", "archiveLocation": map[string]any{"s3": place(treasureKey)}, "container": map[string]any{"image": "busybox"},
	}}
	return map[string]map[string]any{"artifact": status("main", place(treasureKey)), "repository": inRepository, "template": inTemplate}
}
