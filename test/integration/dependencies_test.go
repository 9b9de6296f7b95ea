package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub"
	"stellarflow.io/stellarflow/pkg/hub/travel"
)

// travelTiming lets a manager look often and remove soon.
func travelTiming() hub.Timing {
	timing := quickTiming()
	timing.Travel = travel.Timing{Every: 200 * time.Millisecond, Idle: time.Second, Learns: 10 * time.Millisecond}
	return timing
}

func (s *server) kind(kind stellarflow.Kind, namespace string) dynamic.ResourceInterface {
	if !kind.Namespaced() {
		return s.dynamic.Resource(kind.Resource())
	}
	return s.dynamic.Resource(kind.Resource()).Namespace(namespace)
}

// put creates an object from YAML; it is removed when the test ends.
func (s *server) put(t *testing.T, namespace string, kind stellarflow.Kind, name, body string) {
	t.Helper()
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(body), &object.Object); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	object.SetAPIVersion(kind.Resource().GroupVersion().String())
	object.SetKind(string(kind))
	object.SetName(name)
	if _, err := s.kind(kind, namespace).Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatalf("create %s %s: %v", kind, name, err)
	}
	t.Cleanup(func() { _ = s.kind(kind, namespace).Delete(context.Background(), name, metav1.DeleteOptions{}) })
}

func (s *server) patchKind(t *testing.T, namespace string, kind stellarflow.Kind, name, patch string) {
	t.Helper()
	if _, err := s.kind(kind, namespace).Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatalf("patch %s %s: %v", kind, name, err)
	}
}

func (s *server) drop(t *testing.T, namespace string, kind stellarflow.Kind, name string) {
	t.Helper()
	if err := s.kind(kind, namespace).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatalf("delete %s %s: %v", kind, name, err)
	}
}

// look reads an object; nil if there is none.
func (s *server) look(ctx context.Context, t *testing.T, namespace string, kind stellarflow.Kind, name string) *unstructured.Unstructured {
	t.Helper()
	object, err := s.kind(kind, namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		if !apierrors.IsNotFound(err) {
			t.Logf("read %s %s: %v", kind, name, err)
		}
		return nil
	}
	return object
}

// awaitKind waits until an object is as wanted.
func (s *server) awaitKind(t *testing.T, namespace string, kind stellarflow.Kind, name, what string, ok func(*unstructured.Unstructured) bool) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s %s: %s", kind, name, what), func(ctx context.Context) (bool, string) {
		object := s.look(ctx, t, namespace, kind, name)
		return ok(object), fmt.Sprint(object)
	})
}

// stays fails if an object is not as wanted for a while in which several looks are taken.
func (s *server) stays(t *testing.T, namespace string, kind stellarflow.Kind, name, what string, ok func(*unstructured.Unstructured) bool) {
	t.Helper()
	for until := time.Now().Add(2500 * time.Millisecond); time.Now().Before(until); time.Sleep(100 * time.Millisecond) {
		if object := s.look(t.Context(), t, namespace, kind, name); !ok(object) {
			t.Fatalf("%s %s: %s: %v", kind, name, what, object)
		}
	}
}

func data(wanted string) func(*unstructured.Unstructured) bool {
	return func(object *unstructured.Unstructured) bool {
		if object == nil {
			return false
		}
		value, _, _ := unstructured.NestedString(object.Object, "data", "k")
		return value == wanted
	}
}

// needing gives a Workflow a spec in place of its templates.
func needing(spec string) func(*unstructured.Unstructured) {
	return func(w *unstructured.Unstructured) {
		content := map[string]any{}
		if err := yaml.Unmarshal([]byte(spec), &content); err != nil {
			panic(err)
		}
		content["suspend"] = true
		w.Object["spec"] = content
	}
}

const (
	wft, cwft, cm = stellarflow.KindWorkflowTemplate, stellarflow.KindClusterWorkflowTemplate, stellarflow.KindConfigMap
	chain         = `{entrypoint: main, templates: [{name: main, steps: [[{name: a, templateRef: {name: lib, template: x}}]]}]}`
)

// putChain makes what chain needs on the hub: lib, the ClusterWorkflowTemplate of the namespace's name, and ConfigMap locks.
func (c *clusters) putChain(t *testing.T, ns string) {
	t.Helper()
	c.hub.put(t, ns, wft, "lib", `{metadata: {labels: {app: lib}}, spec: {ttlStrategy: {secondsAfterCompletion: 1}, templates: [{name: x, steps: [[{name: a, templateRef: {name: `+ns+`, template: z, clusterScope: true}}]]}]}}`)
	c.hub.put(t, ns, cwft, ns, `{spec: {templates: [{name: z, container: {image: busybox}, synchronization: {semaphore: {configMapKeyRef: {name: locks, key: k}}}}]}}`)
	c.hub.put(t, ns, cm, "locks", `{metadata: {labels: {workflows.argoproj.io/configmap-type: Parameter}}, data: {k: "1"}}`)
}

func TestDependencies(t *testing.T) {
	parent := t
	c, m, ns := setUp(t, managerOptions{timing: travelTiming()})
	wec := c.wecs["cluster1"]
	c.putChain(t, ns)
	c.hub.put(t, ns, cm, "more", `{data: {k: m}}`)
	c.submit(t, ns, "first", "cluster1", needing(chain))
	first := wec.waitFor(t, ns, "first", "the WEC copy", exists)

	t.Run("what it needs is there before it is, and says whose it is", func(t *testing.T) {
		for _, one := range []struct {
			kind stellarflow.Kind
			name string
		}{{wft, "lib"}, {cwft, ns}, {cm, "locks"}} {
			object := wec.look(t.Context(), t, ns, one.kind, one.name)
			if object == nil {
				t.Errorf("%s %s is not there", one.kind, one.name)
				continue
			}
			if object.GetLabels()[stellarflow.LabelOrigin] == "" || object.GetLabels()[stellarflow.LabelDependency] != "true" {
				t.Errorf("labels of %s %s: %v", one.kind, one.name, object.GetLabels())
			}
			if _, found, _ := unstructured.NestedFieldNoCopy(object.Object, "spec", "ttlStrategy"); found {
				t.Error("the template would end the WEC copy's life")
			}
		}
		want := fmt.Sprintf(`{"copied":["ClusterWorkflowTemplate/%s","ConfigMap/locks","WorkflowTemplate/lib"]}`, ns)
		for where, w := range map[string]*unstructured.Unstructured{"hub": c.hub.get(t.Context(), ns, "first"), "WEC": first} {
			if got := w.GetAnnotations()[stellarflow.AnnotationDependencies]; got != want {
				t.Errorf("the copy on the %s says %s", where, got)
			}
		}
		if object := wec.look(t.Context(), t, ns, cm, "locks"); object.GetLabels()["workflows.argoproj.io/configmap-type"] != "Parameter" {
			t.Error("Argo would not read the ConfigMap without its label")
		}
	})
	t.Run("a change on the hub comes while a Workflow runs, with what it needs now", func(t *testing.T) {
		wec.argo(t, ns, "first", "Running")
		c.hub.waitFor(t, ns, "first", "phase Running", inPhase("Running"))
		c.hub.patchKind(t, ns, cm, "locks", `{"data":{"k":"2"}}`)
		wec.awaitKind(t, ns, cm, "locks", "the new number", data("2"))
		c.hub.patchKind(t, ns, wft, "lib", `{"spec":{"templates":[{"name":"x","synchronization":{"semaphore":{"configMapKeyRef":{"name":"more","key":"k"}}},"container":{"image":"busybox"}}]}}`)
		wec.awaitKind(t, ns, cm, "more", "what the new version needs", data("m"))
	})
	t.Run("what is deleted on the hub stays for those that run", func(t *testing.T) {
		c.hub.drop(t, ns, cm, "locks")
		wec.stays(t, ns, cm, "locks", "it is gone", data("2"))
	})
	t.Run("a manager that starts anew goes on", func(t *testing.T) {
		m.stop()
		c.hub.patchKind(t, ns, cm, "more", `{"data":{"k":"n"}}`)
		startManager(parent, c, managerOptions{timing: travelTiming()})
		wec.awaitKind(t, ns, cm, "more", "the new text", data("n"))
		wec.stays(t, ns, wft, "lib", "it is gone", exists)
	})
	c.submit(t, ns, "second", "cluster1", needing(chain))
	wec.waitFor(t, ns, "second", "the WEC copy", exists)
	t.Run("the last one takes it along", func(t *testing.T) {
		wec.argo(t, ns, "first", "Succeeded")
		c.hub.waitFor(t, ns, "first", "the end", inPhase("Succeeded"))
		if err := c.hub.workflows(ns).Delete(t.Context(), "first", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		c.hub.waitFor(t, ns, "first", "the first to go", gone)
		wec.awaitKind(t, ns, cm, "locks", "what only the first needed to go", gone)
		wec.stays(t, ns, wft, "lib", "it is gone", exists)
		if err := c.hub.workflows(ns).Delete(t.Context(), "second", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		c.hub.waitFor(t, ns, "second", "the second to go", gone)
		wec.awaitKind(t, ns, wft, "lib", "to go", gone)
		wec.awaitKind(t, ns, cwft, ns, "to go", gone)
		wec.awaitKind(t, ns, cm, "more", "to go", gone)
	})
}

// TestDependenciesForeign: what a WEC has of its own is used and never changed, nor is what is like it on the hub followed.
func TestDependenciesForeign(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{timing: travelTiming()})
	wec := c.wecs["cluster1"]
	c.putChain(t, ns)
	if err := wec.client.Create(t.Context(), namespaceObject(ns)); err != nil {
		t.Fatal(err)
	}
	wec.accept(t, ns)
	wec.put(t, ns, wft, "lib", `{spec: {templates: [{name: x, container: {image: theirs}, inputs: {parameters: [{name: p, valueFrom: {configMapKeyRef: {name: secretive, key: k}}}]}}]}}`)
	c.hub.put(t, ns, cm, "secretive", `{data: {k: "no template of the hub refers to it"}}`)
	wec.put(t, ns, cm, "only-there", `{data: {k: there}}`)
	c.submit(t, ns, "foreign", "cluster1", needing(`{entrypoint: main, arguments: {parameters: [{name: p, valueFrom: {configMapKeyRef: {name: only-there, key: k}}}]},
		templates: [{name: main, steps: [[{name: a, templateRef: {name: lib, template: x}}]]}]}`))
	wecCopy := wec.waitFor(t, ns, "foreign", "the WEC copy", exists)
	if got, want := wecCopy.GetAnnotations()[stellarflow.AnnotationDependencies], `{"there":["ConfigMap/only-there","WorkflowTemplate/lib"]}`; got != want {
		t.Errorf("the WEC copy says %s, want %s", got, want)
	}
	for kind, name := range map[stellarflow.Kind]string{cwft: ns, cm: "secretive"} {
		if object := wec.look(t.Context(), t, ns, kind, name); object != nil {
			t.Errorf("%s %s was copied", kind, name)
		}
	}
	wec.argo(t, ns, "foreign", "Running")
	c.hub.waitFor(t, ns, "foreign", "phase Running", inPhase("Running"))
	c.hub.patchKind(t, ns, wft, "lib", `{"metadata":{"labels":{"changed":"yes"}}}`)
	theirs := func(object *unstructured.Unstructured) bool {
		return object != nil && strings.Contains(fmt.Sprint(object.Object["spec"]), "theirs") && object.GetLabels()[stellarflow.LabelOrigin] == ""
	}
	wec.stays(t, ns, wft, "lib", "it was changed", theirs)
	if err := c.hub.workflows(ns).Delete(t.Context(), "foreign", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.hub.waitFor(t, ns, "foreign", "it to go", gone)
	wec.stays(t, ns, wft, "lib", "it is gone", theirs)
	wec.stays(t, ns, cm, "only-there", "it is gone", exists)
}

// accept lets a namespace of a WEC take Workflows, with the ServiceAccount that no controller makes here.
func (s *server) accept(t *testing.T, namespace string) {
	t.Helper()
	patch := fmt.Sprintf(`{"metadata":{"labels":{%q:"true"}}}`, stellarflow.LabelAccept)
	if _, err := s.core.CoreV1().Namespaces().Patch(t.Context(), namespace, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	account := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": map[string]any{"name": "default", "namespace": namespace}}}
	if err := s.client.Create(t.Context(), account); err != nil {
		t.Fatal(err)
	}
}

// TestDependenciesMissing: nothing is made on a WEC, not even its namespace, for a Workflow that cannot run there; another cluster is
// tried, and it runs as soon as the thing is there.
func TestDependenciesMissing(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{timing: travelTiming()})
	c.hub.put(t, ns, wft, "lib", `{spec: {templates: [{name: x, steps: [[{name: a, templateRef: {name: nowhere, template: z}}]]}]}}`)
	c.submit(t, ns, "missing", "cluster1", needing(chain))
	said := c.hub.waitFor(t, ns, "missing", "what is missing", waiting(`WorkflowTemplate "nowhere"`))
	if want := `(spec.templates[0].steps[0][0].templateRef of WorkflowTemplate/lib)`; !strings.Contains(message(said), want) || !strings.Contains(message(said), "create it on the hub") {
		t.Errorf("it says %q, want %q in it and what to do", message(said), want)
	}
	if _, err := c.wecs["cluster1"].core.CoreV1().Namespaces().Get(t.Context(), ns, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("its namespace was made: %v", err)
	}
	if object := c.wecs["cluster1"].look(t.Context(), t, ns, wft, "lib"); object != nil {
		t.Error("a part of what it needs was copied")
	}
	c.hub.put(t, ns, wft, "nowhere", `{spec: {templates: [{name: z, container: {image: busybox}}]}}`)
	touch(t, c, ns, "missing")
	c.wecs["cluster1"].waitFor(t, ns, "missing", "the WEC copy", exists)
}

// TestDependenciesElsewhere: what one cluster has decides where the Workflow runs if the hub does not have it.
func TestDependenciesElsewhere(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{timing: travelTiming()})
	c.create(t, policy("either", map[string]string{"location-group": "edge"}))
	wec := c.wecs["cluster2"]
	if err := wec.client.Create(t.Context(), namespaceObject(ns)); err != nil {
		t.Fatal(err)
	}
	wec.accept(t, ns)
	wec.put(t, ns, wft, "lib", `{spec: {templates: [{name: x, container: {image: busybox}}]}}`)
	c.submit(t, ns, "elsewhere", "either", needing(chain))
	wec.waitFor(t, ns, "elsewhere", "the WEC copy", exists)
}

// TestDependenciesStale: a record that was copied with a Workflow (resubmit) says nothing of the new one.
func TestDependenciesStale(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{timing: travelTiming()})
	c.submit(t, ns, "stale", "cluster1", func(w *unstructured.Unstructured) {
		w.SetAnnotations(map[string]string{stellarflow.AnnotationDependencies: `{"copied":["ConfigMap/other"]}`})
	})
	wecCopy := c.wecs["cluster1"].waitFor(t, ns, "stale", "the WEC copy", exists)
	for where, w := range map[string]*unstructured.Unstructured{"hub": c.hub.get(t.Context(), ns, "stale"), "WEC": wecCopy} {
		if got := w.GetAnnotations()[stellarflow.AnnotationDependencies]; got != "" {
			t.Errorf("the copy on the %s says %s", where, got)
		}
	}
}

// TestDependenciesPinned: a template that Argo has stored whole is not changed under the Workflow, but comes new with the next one.
func TestDependenciesPinned(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{timing: travelTiming()})
	wec := c.wecs["cluster1"]
	c.hub.put(t, ns, wft, "root", `{spec: {entrypoint: main, serviceAccountName: runner, templates: [{name: main, container: {image: old}}]}}`)
	const spec = `{workflowTemplateRef: {name: root}}`
	c.submit(t, ns, "pinned", "cluster1", needing(spec))
	wec.waitFor(t, ns, "pinned", "the WEC copy", exists)
	origin := wec.look(t.Context(), t, ns, wft, "root").GetLabels()[stellarflow.LabelOrigin]
	account, err := wec.core.CoreV1().ServiceAccounts(ns).Get(t.Context(), "runner", metav1.GetOptions{})
	if err != nil || account.Labels[stellarflow.LabelOrigin] != origin {
		t.Errorf("the template's ServiceAccount: %v, labels %v", err, account.Labels)
	}
	binding, err := wec.core.RbacV1().RoleBindings(ns).Get(t.Context(), "stellarflow-executor-runner", metav1.GetOptions{})
	if err != nil || binding.Labels[stellarflow.LabelOrigin] != origin {
		t.Errorf("its RoleBinding: %v, labels %v", err, binding.Labels)
	}
	if _, err := wec.workflows(ns).Patch(t.Context(), "pinned", types.MergePatchType,
		[]byte(fmt.Sprintf(`{"metadata":{"labels":{%q:"root"}}}`, stellarflow.ArgoLabelWorkflowTemplate)), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	wec.argo(t, ns, "pinned", "Running")
	c.hub.waitFor(t, ns, "pinned", "phase Running", inPhase("Running"))
	c.hub.patchKind(t, ns, wft, "root", `{"spec":{"templates":[{"name":"main","container":{"image":"new"}}]}}`)
	image := func(wanted string) func(*unstructured.Unstructured) bool {
		return func(object *unstructured.Unstructured) bool {
			return object != nil && strings.Contains(fmt.Sprint(object.Object["spec"]), wanted)
		}
	}
	wec.stays(t, ns, wft, "root", "it was changed under a running Workflow", image("old"))
	c.submit(t, ns, "next", "cluster1", needing(spec))
	wec.waitFor(t, ns, "next", "the WEC copy", exists)
	wec.awaitKind(t, ns, wft, "root", "the new image", image("new"))
}

// TestDependenciesAtOnce: many Workflows that begin together share what they need.
func TestDependenciesAtOnce(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{timing: travelTiming()})
	c.putChain(t, ns)
	for i := range 12 {
		c.submit(t, ns, fmt.Sprintf("w%d", i), "cluster1", needing(chain))
	}
	for i := range 12 {
		c.wecs["cluster1"].waitFor(t, ns, fmt.Sprintf("w%d", i), "the WEC copy", exists)
	}
}

// TestDependenciesWithoutTheRight: a cluster that joined before refuses what needs the right, says how to get it, and takes the rest.
func TestDependenciesWithoutTheRight(t *testing.T) {
	c := sharedClusters(t)
	restore := c.wecs["cluster1"].without(t, func() []right {
		var lost []right
		for _, r := range granted(t, "wec/cluster_role.yaml") {
			if strings.Contains(r.resource, "workflowtemplates") || r.resource == "configmaps" && r.verb != "create" {
				lost = append(lost, r)
			}
		}
		return lost
	}()...)
	c, _, ns := setUp(t, managerOptions{timing: travelTiming()})
	c.putChain(t, ns)
	c.submit(t, ns, "plain", "cluster1")
	c.wecs["cluster1"].waitFor(t, ns, "plain", "the WEC copy", exists)
	c.submit(t, ns, "before", "cluster1", needing(`{entrypoint: main, templates: [{name: main, container: {image: busybox, envFrom: [{configMapRef: {name: of-the-cluster}}]}}]}`))
	c.wecs["cluster1"].waitFor(t, ns, "before", "the WEC copy", exists)
	eventually(t, "the event that it was not looked for", func(ctx context.Context) (bool, string) {
		said := c.eventsOf(ctx, "before")
		return strings.Contains(said, `the hub may not look for ConfigMap "of-the-cluster"`), said
	})
	c.submit(t, ns, "needy", "cluster1", needing(chain))
	c.hub.waitFor(t, ns, "needy", "the way out", waiting("run `stellarflow join cluster1` again"))
	restore()
	touch(t, c, ns, "needy")
	c.wecs["cluster1"].waitFor(t, ns, "needy", "the WEC copy", exists)
}
