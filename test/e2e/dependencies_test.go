package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// needed is what the Workflows of testDependencies need, by kind and name; NS is the namespace.
var needed = map[stellarflow.Reference]string{
	{Kind: stellarflow.KindWorkflowTemplate, Name: "lib"}: `
spec:
  templates:
  - name: greet
    inputs: {parameters: [{name: text}]}
    steps: [[{name: say, templateRef: {name: NS-shared, template: say, clusterScope: true}, arguments: {parameters: [{name: text, value: "{{inputs.parameters.text}}"}]}}]]`,
	{Kind: stellarflow.KindClusterWorkflowTemplate, Name: "NS-shared"}: `
spec:
  templates:
  - name: say
    inputs: {parameters: [{name: text}]}
    synchronization: {semaphores: [{configMapKeyRef: {name: locks, key: say}}]}
    container: {image: alpine:3.7, command: [echo, "{{inputs.parameters.text}}"]}`,
	{Kind: stellarflow.KindWorkflowTemplate, Name: "leaving"}: `
spec:
  templates:
  - name: bye
    container: {image: alpine:3.7, command: [echo, goodbye]}`,
	{Kind: stellarflow.KindWorkflowTemplate, Name: "whole"}: `
spec:
  entrypoint: main
  onExit: leave
  arguments: {parameters: [{name: greeting, valueFrom: {configMapKeyRef: {name: words, key: greeting}}}]}
  templates:
  - name: main
    steps: [[{name: greet, templateRef: {name: lib, template: greet}, arguments: {parameters: [{name: text, value: "{{workflow.parameters.greeting}}"}]}}]]
  - name: leave
    steps: [[{name: bye, templateRef: {name: leaving, template: bye}}]]`,
	{Kind: stellarflow.KindConfigMap, Name: "words"}: `
metadata: {labels: {workflows.argoproj.io/configmap-type: Parameter}}
data: {greeting: welcome}`,
	{Kind: stellarflow.KindConfigMap, Name: "locks"}: `
data: {say: "1"}`,
}

// kind is the client for a kind of what Workflows need.
func (c *cluster) kind(kind stellarflow.Kind, namespace string) dynamic.ResourceInterface {
	if !kind.Namespaced() {
		return c.dynamic.Resource(kind.Resource())
	}
	return c.dynamic.Resource(kind.Resource()).Namespace(namespace)
}

// put creates an object of a kind that Workflows need. One that is in no namespace is deleted at the end.
func (c *cluster) put(t *testing.T, namespace string, reference stellarflow.Reference, body string) {
	t.Helper()
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(body), &object.Object); err != nil {
		t.Fatalf("%v:\n%s", err, body)
	}
	object.SetAPIVersion(reference.Kind.Resource().GroupVersion().String())
	object.SetKind(string(reference.Kind))
	object.SetName(reference.Name)
	client := c.kind(reference.Kind, namespace)
	if _, err := client.Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatalf("create %s on %s: %v", reference, c.name, err)
	}
	if !reference.Kind.Namespaced() {
		t.Cleanup(func() { _ = client.Delete(context.Background(), reference.Name, metav1.DeleteOptions{}) })
	}
}

// createNeeded creates what testDependencies needs on the hub.
func (f *fleet) createNeeded(t *testing.T, namespace string) {
	t.Helper()
	for reference, body := range needed {
		reference.Name = strings.ReplaceAll(reference.Name, "NS", namespace)
		f.hub.put(t, namespace, reference, strings.ReplaceAll(body, "NS", namespace))
	}
}

// testDependencies runs Workflows on both clusters that need templates and ConfigMaps which are on the hub only.
func testDependencies(t *testing.T, f *fleet) {
	namespace := f.newNamespace(t, "deps")
	f.createNeeded(t, namespace)
	for _, target := range wecNames {
		f.create(t, namespace, fmt.Sprintf(`
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata:
  name: whole-%[1]s
  labels: {kubestellar.io/cluster: %[1]s}
spec:
  suspend: true
  workflowTemplateRef: {name: whole}
`, target))
		parts := suspended("parts-"+target, target, `
- name: main
  steps: [[{name: greet, templateRef: {name: lib, template: greet}, arguments: {parameters: [{name: text, value: "{{workflow.parameters.greeting}}"}]},
    hooks: {exit: {templateRef: {name: leaving, template: bye}}}}]]`)
		f.create(t, namespace, strings.Replace(parts, "entrypoint: main",
			"entrypoint: main\n  arguments: {parameters: [{name: greeting, valueFrom: {configMapKeyRef: {name: words, key: greeting}}}]}", 1))
	}
	for _, target := range wecNames {
		f.checkNeeds(t, f.awaitRun(t, namespace, "whole-"+target, target, 2), "ConfigMap/locks", "ConfigMap/words", "WorkflowTemplate/leaving", "WorkflowTemplate/lib", "WorkflowTemplate/whole")
		f.checkNeeds(t, f.awaitRun(t, namespace, "parts-"+target, target, 2), "ConfigMap/locks", "ConfigMap/words", "WorkflowTemplate/leaving", "WorkflowTemplate/lib")
	}
	t.Run("side-by-side", func(t *testing.T) {
		for name, check := range map[string]func(*testing.T, string){
			"newer": f.checkNewer, "later": f.checkLater, "own": f.checkOwn, "missing": f.checkMissing, "shared": f.checkShared,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				check(t, namespace)
			})
		}
	})
	f.checkRemoved(t, namespace)
}

// checkNeeds checks what is said of a Workflow's needs, and that it had them.
func (f *fleet) checkNeeds(t *testing.T, hubCopy *wfv1.Workflow, wanted ...string) {
	t.Helper()
	wanted = append(wanted, "ClusterWorkflowTemplate/"+hubCopy.Namespace+"-shared")
	slices.Sort(wanted)
	var got []string
	recorded := stellarflow.ParseDependencies(hubCopy.Annotations[stellarflow.AnnotationDependencies])
	for _, reference := range recorded.Copied {
		got = append(got, reference.String())
	}
	if diff := cmp.Diff(wanted, got); diff != "" || len(recorded.There) > 0 {
		t.Errorf("%s needed (-wanted +got), and of the cluster's own %v:\n%s", hubCopy.Name, recorded.There, diff)
	}
	for _, node := range nodesOf(hubCopy, wfv1.NodeTypePod) {
		line := "welcome\n"
		if strings.Contains(node.Name, ".onExit") {
			line = "goodbye\n"
		}
		f.wantLog(t, hubCopy, node, line)
	}
	out, err := f.stellarflow(t, "explain", hubCopy.Name, "-n", hubCopy.Namespace)
	if err != nil || wants(out, "Dependencies:", "copied from the hub", "lib") != nil {
		t.Errorf("explain does not list what travelled: %v:\n%s", err, out)
	}
}

// checkNewer changes a ConfigMap on the hub: the next Workflow has the new one.
func (f *fleet) checkNewer(t *testing.T, namespace string) {
	t.Helper()
	f.kubectl(t, f.hub, "-n", namespace, "patch", "configmap", "words", "--type=merge", "-p", `{"data":{"greeting":"well met"}}`)
	f.create(t, namespace, strings.Replace(suspended("newer", "cluster1", shell("echo {{workflow.parameters.greeting}}")), "entrypoint: main",
		"entrypoint: main\n  arguments: {parameters: [{name: greeting, valueFrom: {configMapKeyRef: {name: words, key: greeting}}}]}", 1))
	f.wantLogs(t, f.awaitRun(t, namespace, "newer", "cluster1", 1), map[string]string{"newer": "well met"})
}

// word is a ConfigMap, and says a template main that prints what is in it.
const word = "{data: {word: %q}}"

func says(configMap string) string {
	return "{name: main, container: {image: alpine:3.7, command: [sh, -c, 'echo $word'], envFrom: [{configMapRef: {name: " + configMap + "}}]}}"
}

// checkLater changes a ConfigMap on the hub while a Workflow runs that needs it later: it finds the new one.
func (f *fleet) checkLater(t *testing.T, namespace string) {
	reference := stellarflow.Reference{Kind: stellarflow.KindConfigMap, Name: "later"}
	f.hub.put(t, namespace, reference, fmt.Sprintf(word, "old"))
	f.create(t, namespace, suspended("later", "cluster1", `
- {name: main, steps: [[{name: wait, template: wait}], [{name: say, template: say}]]}
- {name: wait, suspend: {}}
- `+strings.Replace(says("later"), "main", "say", 1)))
	f.hub.await(t, namespace, "later", "waits in its first step", func(w *wfv1.Workflow) error {
		if node := nodesOf(w, wfv1.NodeTypeSuspend)["wait"]; node.Phase != wfv1.NodeRunning {
			return fmt.Errorf("it is %q", node.Phase)
		}
		return nil
	})
	f.kubectl(t, f.hub, "-n", namespace, "patch", "configmap", "later", "--type=merge", "-p", `{"data":{"word":"new"}}`)
	eventually(t, patience, "the change reaches the cluster", func(ctx context.Context) error {
		object, err := f.wecs["cluster1"].kind(reference.Kind, namespace).Get(ctx, reference.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if got, _, _ := unstructured.NestedString(object.Object, "data", "word"); got != "new" {
			return fmt.Errorf("it is %q there", got)
		}
		return nil
	})
	if out, err := f.argo(t, "resume", "later", "-n", namespace); err != nil {
		t.Fatalf("argo resume: %v: %s", err, out)
	}
	f.wantLogs(t, f.awaitRun(t, namespace, "later", "cluster1", 1), map[string]string{"say": "new"})
}

// checkOwn has a cluster with an object of its own by the name of one of the hub's: it is used, said, and left as it is.
func (f *fleet) checkOwn(t *testing.T, namespace string) {
	reference := stellarflow.Reference{Kind: stellarflow.KindConfigMap, Name: "own"}
	f.hub.put(t, namespace, reference, fmt.Sprintf(word, "ours"))
	f.wecs["cluster1"].put(t, namespace, reference, fmt.Sprintf(word, "theirs"))
	client := f.wecs["cluster1"].kind(reference.Kind, namespace)
	before, err := client.Get(t.Context(), reference.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f.create(t, namespace, suspended("own", "cluster1", "- "+says("own")))
	f.wantLogs(t, f.awaitRun(t, namespace, "own", "cluster1", 1), map[string]string{"own": "theirs"})
	if out, err := f.stellarflow(t, "explain", "own", "-n", namespace); err != nil || wants(out, "own", "the cluster's own") != nil {
		t.Errorf("explain does not say whose it is: %v:\n%s", err, out)
	}
	after, err := client.Get(t.Context(), reference.Name, metav1.GetOptions{})
	if err != nil || cmp.Diff(before, after) != "" {
		t.Errorf("it was changed: %v\n%s", err, cmp.Diff(before, after))
	}
}

// checkMissing has a Workflow call a template that is nowhere: nothing of it starts, and it says what it needs. It runs when that is there.
func (f *fleet) checkMissing(t *testing.T, namespace string) {
	f.create(t, namespace, suspended("missing", "cluster1", "- {name: main, steps: [[{name: say, templateRef: {name: nowhere, template: main}}]]}"))
	f.hub.await(t, namespace, "missing", "says what is missing", func(w *wfv1.Workflow) error {
		return wants(w.Status.Message, `needs what is neither on the hub nor there: WorkflowTemplate "nowhere" (spec.templates[0].steps[0][0].templateRef)`, "create it on the hub")
	})
	if _, err := f.wecs["cluster1"].get(t.Context(), namespace, "missing"); !apierrors.IsNotFound(err) {
		t.Errorf("it is on its cluster: %v", err)
	}
	f.hub.put(t, namespace, stellarflow.Reference{Kind: stellarflow.KindWorkflowTemplate, Name: "nowhere"}, "{spec: {templates: ["+strings.Replace(says("words"), "$word", "$greeting", 1)+"]}}")
	f.awaitRun(t, namespace, "missing", "cluster1", 1)
}

// volume is a volume of cluster1 by a class of its own, and a claim on the hub that only it can be bound to.
const (
	volume = `{spec: {capacity: {storage: 1Mi}, accessModes: [ReadWriteOnce], storageClassName: %s, persistentVolumeReclaimPolicy: Retain, hostPath: {path: %s}}}`
	claim  = `{spec: {accessModes: [ReadWriteOnce], storageClassName: %s, resources: {requests: {storage: 1Mi}}}}`
)

// checkShared gives Workflows a Secret and a claim of the hub's, which their policy names and, for the Secret, the administrators of both
// clusters let travel. What the first has written the second finds.
func (f *fleet) checkShared(t *testing.T, namespace string) {
	t.Helper()
	for c, sample := range map[*cluster]string{f.hub: "secrets-hub.yaml", f.wecs["cluster1"]: "secrets-wec.yaml"} {
		file := filepath.Join(f.root, "samples", sample)
		f.kubectl(t, c, "apply", "-f", file)
		t.Cleanup(func() {
			if out, err := f.try(context.Background(), nil, f.bin("kubectl"), "--kubeconfig", c.kubeconfig, "delete", "-f", file); err != nil {
				t.Errorf("take the rights of %s away: %v: %s", sample, err, out)
			}
		})
	}
	f.applyPolicy(t, namespace, fmt.Sprintf(`{
  "apiVersion": "control.kubestellar.io/v1alpha1", "kind": "BindingPolicy", "metadata": {"name": %[1]q},
  "spec": {"wantSingletonReportedState": true, "clusterSelectors": [{"matchLabels": {"name": "cluster1"}}], "downsync": [
    {"objectSelectors": [{"matchLabels": {"kubestellar.io/cluster": %[1]q}}]},
    {"apiGroup": "", "resources": ["persistentvolumeclaims"], "namespaces": [%[1]q], "objectNames": ["data"]},
    {"apiGroup": "", "resources": ["secrets"], "namespaces": [%[1]q], "objectNames": ["words"]}]}
}`, namespace))
	f.kubectl(t, f.hub, "-n", namespace, "create", "secret", "generic", "words", "--from-literal=word=please")
	f.addVolume(t, f.wecs["cluster1"], namespace)
	f.hub.put(t, namespace, stellarflow.Reference{Kind: stellarflow.KindPersistentVolumeClaim, Name: "data"}, fmt.Sprintf(claim, namespace))
	const mounts = "volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]\n  entrypoint: main"
	writes := suspended("shared", namespace, `
- name: main
  container: {image: alpine:3.7, command: [sh, -c, "echo $word | tee /data/word"], envFrom: [{secretRef: {name: words}}], volumeMounts: [{name: data, mountPath: /data}]}`)
	f.create(t, namespace, strings.Replace(writes, "entrypoint: main", mounts, 1))
	f.wantLogs(t, f.awaitRun(t, namespace, "shared", "cluster1", 1), map[string]string{"shared": "please"})
	reads := suspended("finds", namespace, `
- name: main
  container: {image: alpine:3.7, command: [cat, /data/word], volumeMounts: [{name: data, mountPath: /data}]}`)
	f.create(t, namespace, strings.Replace(reads, "entrypoint: main", mounts, 1))
	f.wantLogs(t, f.awaitRun(t, namespace, "finds", "cluster1", 1), map[string]string{"finds": "please"})
}

// addVolume gives a cluster a volume in a directory of this machine, until the test ends.
func (f *fleet) addVolume(t *testing.T, c *cluster, name string) {
	t.Helper()
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(fmt.Sprintf(volume, name, t.TempDir())), &object.Object); err != nil {
		t.Fatal(err)
	}
	object.SetAPIVersion("v1")
	object.SetKind("PersistentVolume")
	object.SetName(name)
	volumes := c.dynamic.Resource(corev1.SchemeGroupVersion.WithResource("persistentvolumes"))
	if _, err := volumes.Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = volumes.Delete(context.Background(), name, metav1.DeleteOptions{}) })
}

// checkRemoved deletes the Workflows: what they needed goes from the clusters, and stays on the hub.
func (f *fleet) checkRemoved(t *testing.T, namespace string) {
	t.Helper()
	f.kubectl(t, f.hub, "-n", namespace, "delete", "workflows", "--all", "--wait=false")
	shared := namespace + "-shared"
	for _, target := range wecNames {
		eventually(t, 2*patience, "what nobody needs any more is removed from "+target, func(ctx context.Context) error {
			_, err := f.wecs[target].kind(stellarflow.KindClusterWorkflowTemplate, "").Get(ctx, shared, metav1.GetOptions{})
			switch {
			case apierrors.IsNotFound(err):
				return nil
			case err != nil:
				return err
			}
			return fmt.Errorf("ClusterWorkflowTemplate %s is there", shared)
		})
	}
	if _, err := f.hub.kind(stellarflow.KindClusterWorkflowTemplate, "").Get(t.Context(), shared, metav1.GetOptions{}); err != nil {
		t.Errorf("the hub's own: %v", err)
	}
}
