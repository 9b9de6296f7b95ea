package integration

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

const (
	secret = stellarflow.KindSecret
	claim  = stellarflow.KindPersistentVolumeClaim
)

// sharing is a policy that lets objects of a kind travel, by name.
func sharing(name, resource string, names ...string) *v1alpha1.BindingPolicy {
	p := policy(name, map[string]string{"name": "cluster1"})
	core := ""
	p.Spec.Downsync = append(p.Spec.Downsync, v1alpha1.DownsyncPolicyClause{DownsyncObjectTest: v1alpha1.DownsyncObjectTest{
		APIGroup: &core, Resources: []string{resource}, ObjectNames: names,
	}})
	return p
}

// permit applies the rights of a sample; they are taken away when the test ends.
func (s *server) permit(t *testing.T, sample string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "samples", sample))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range strings.Split(string(raw), "\n---\n") {
		object := &unstructured.Unstructured{}
		if err := utilyaml.Unmarshal([]byte(part), &object.Object); err != nil {
			t.Fatal(err)
		}
		resource := schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: strings.ToLower(object.GetKind()) + "s"}
		if _, err := s.dynamic.Resource(resource).Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = s.dynamic.Resource(resource).Delete(context.Background(), object.GetName(), metav1.DeleteOptions{})
		})
	}
}

// TestSharedSecret: a Secret travels only where the policy names it and both clusters' administrators let it.
func TestSharedSecret(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{timing: travelTiming()})
	wec := c.wecs["cluster1"]
	const spec = `{entrypoint: main, templates: [{name: main, container: {image: busybox, envFrom: [{secretRef: {name: shared}}, {secretRef: {name: other}}, {secretRef: {name: token}}]}}]}`
	c.hub.put(t, ns, secret, "shared", `{data: {k: MQ==}, immutable: false}`)
	c.hub.put(t, ns, secret, "other", `{data: {k: MQ==}}`)
	c.hub.put(t, ns, secret, "token", `{type: kubernetes.io/service-account-token, metadata: {annotations: {kubernetes.io/service-account.name: default}}, data: {k: MQ==}}`)
	c.submit(t, ns, "unshared", "cluster1", needing(spec)) // by a policy that says nothing of Secrets
	wec.waitFor(t, ns, "unshared", "the WEC copy", exists)

	c.create(t, sharing(ns, "secrets", "shared", "token"))
	c.submit(t, ns, "first", ns, needing(spec))
	says := func(name, what string) {
		t.Helper()
		eventually(t, name+": "+what, func(ctx context.Context) (bool, string) {
			w := c.hub.get(ctx, ns, name)
			said := message(w) + "\n" + w.GetAnnotations()[stellarflow.AnnotationSync] + "\n" + c.eventsOf(ctx, name)
			return strings.Contains(said, what), said
		})
	}
	wec.waitFor(t, ns, "first", "the WEC copy: the Secret may be there", exists)
	says("first", "apply samples/secrets-hub.yaml on the hub and samples/secrets-wec.yaml there")
	c.hub.permit(t, "secrets-hub.yaml")
	c.submit(t, ns, "between", ns, needing(spec))
	wec.waitFor(t, ns, "between", "the WEC copy: the Secret may be there", exists)
	says("between", "apply samples/secrets-hub.yaml on the hub and samples/secrets-wec.yaml there")
	wec.permit(t, "secrets-wec.yaml")
	c.submit(t, ns, "second", ns, needing(spec))
	wec.waitFor(t, ns, "second", "the WEC copy", exists)
	if got := wec.look(t.Context(), t, ns, secret, "shared"); !data("MQ==")(got) || got.GetLabels()[stellarflow.LabelDependency] != "true" {
		t.Errorf("the Secret that is shared: %v", got)
	}
	for _, name := range []string{"other", "token"} {
		if got := wec.look(t.Context(), t, ns, secret, name); got != nil {
			t.Errorf("Secret %s has travelled", name)
		}
	}
	if got, want := c.hub.get(t.Context(), ns, "second").GetAnnotations()[stellarflow.AnnotationDependencies], `{"copied":["Secret/shared"]}`; got != want {
		t.Errorf("recorded is %s, want %s", got, want)
	}
	wec.argo(t, ns, "second", "Running")
	c.hub.waitFor(t, ns, "second", "phase Running", inPhase("Running"))
	c.hub.patchKind(t, ns, secret, "shared", `{"data":{"k":"Mg=="}}`)
	wec.awaitKind(t, ns, secret, "shared", "the new content", data("Mg=="))
	for _, name := range []string{"first", "between", "second", "unshared"} {
		if err := c.hub.workflows(ns).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	wec.awaitKind(t, ns, secret, "shared", "to go after the last", gone)
}

// TestSharedClaim: a claim is made where it is missing, by label here, without what binds it on the hub; it stays, with what was written.
func TestSharedClaim(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{timing: travelTiming()})
	wec := c.wecs["cluster1"]
	p := sharing(ns, "persistentvolumeclaims")
	p.Spec.Downsync[1].ObjectSelectors = []metav1.LabelSelector{{MatchLabels: map[string]string{"share": "yes"}}}
	c.create(t, p)
	const body = `{metadata: {labels: {share: "%"}, annotations: {pv.kubernetes.io/bind-completed: "yes"}}, spec: {accessModes: [ReadWriteOnce], storageClassName: "", volumeName: on-the-hub, resources: {requests: {storage: 1Gi}}}}`
	c.hub.put(t, ns, claim, "data", strings.Replace(body, "%", "yes", 1))
	c.hub.put(t, ns, claim, "mine", strings.Replace(body, "%", "no", 1))
	c.submit(t, ns, "w", ns, needing(`{entrypoint: main, volumes: [{name: a, persistentVolumeClaim: {claimName: data}}, {name: b, persistentVolumeClaim: {claimName: mine}}], templates: [{name: main, container: {image: busybox}}]}`))
	wec.waitFor(t, ns, "w", "the WEC copy", exists)
	got := wec.look(t.Context(), t, ns, claim, "data")
	if got == nil {
		t.Fatal("the claim that is shared is not there")
	}
	if volume, found, _ := unstructured.NestedString(got.Object, "spec", "volumeName"); found || got.GetAnnotations()["pv.kubernetes.io/bind-completed"] != "" {
		t.Errorf("the claim is bound to the hub's volume %q: %v", volume, got.GetAnnotations())
	}
	if wec.look(t.Context(), t, ns, claim, "mine") != nil {
		t.Error("a claim has travelled that no policy shares")
	}
	c.hub.patchKind(t, ns, claim, "data", `{"metadata":{"labels":{"newer":"yes"}}}`)
	if err := c.hub.workflows(ns).Delete(t.Context(), "w", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.hub.waitFor(t, ns, "w", "the hub copy to go", gone)
	wec.stays(t, ns, claim, "data", "it is gone, or was changed", func(object *unstructured.Unstructured) bool {
		return object != nil && object.GetLabels()["newer"] == ""
	})
}

// TestRepositoryTravels: without a shared store the namespace's default artifact repository comes along where the policy names it, with what of its
// Secrets it shares; what it does not is said before anything starts. It goes after the last Workflow.
func TestRepositoryTravels(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{timing: travelTiming()})
	wec := c.wecs["cluster1"]
	c.hub.permit(t, "secrets-hub.yaml")
	wec.permit(t, "secrets-wec.yaml")
	both := sharing(ns, "secrets", "access")
	both.Spec.Downsync = append(both.Spec.Downsync, sharing(ns, "configmaps", "artifact-repositories").Spec.Downsync[1])
	c.create(t, both)
	c.hub.put(t, ns, secret, "access", `{data: {k: MQ==}}`)
	c.hub.put(t, ns, secret, "hidden", `{data: {k: MQ==}}`)
	c.hub.put(t, ns, cm, "artifact-repositories", `{metadata: {annotations: {workflows.argoproj.io/default-artifact-repository: r}},
		data: {r: "s3: {accessKeySecret: {name: access, key: k}, secretKeySecret: {name: hidden, key: k}}"}}`)
	const plain = `{entrypoint: main, templates: [{name: main, container: {image: busybox}}]}`
	c.submit(t, ns, "unshared", "cluster1", needing(plain)) // by a policy that does not name it
	wec.waitFor(t, ns, "unshared", "the WEC copy", exists)
	if wec.look(t.Context(), t, ns, cm, "artifact-repositories") != nil {
		t.Error("what nothing names takes the place of the cluster's own")
	}
	c.submit(t, ns, "w", ns, needing(plain))
	wec.waitFor(t, ns, "w", "the WEC copy", exists)
	for _, one := range []stellarflow.Reference{{Kind: cm, Name: "artifact-repositories"}, {Kind: secret, Name: "access"}} {
		if got := wec.look(t.Context(), t, ns, one.Kind, one.Name); got == nil || got.GetLabels()[stellarflow.LabelDependency] != "true" {
			t.Errorf("%s: %v", one, got)
		}
	}
	if wec.look(t.Context(), t, ns, secret, "hidden") != nil {
		t.Error("a Secret has travelled that no policy shares")
	}
	eventually(t, "the Secret that is missing is said", func(ctx context.Context) (bool, string) {
		said := c.eventsOf(ctx, "w")
		return strings.Contains(said, `policy workflows-`+ns+` does not share Secret "hidden" (data[r].s3.secretKeySecret of ConfigMap/artifact-repositories)`), said
	})
	wec.argo(t, ns, "w", "Succeeded")
	c.hub.waitFor(t, ns, "w", "the end", inPhase("Succeeded"))
	if err := c.hub.workflows(ns).Delete(t.Context(), "w", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	wec.awaitKind(t, ns, cm, "artifact-repositories", "to go after the last", gone)
	wec.awaitKind(t, ns, secret, "access", "to go after the last", gone)
}

// TestRepositoryGivesWay: what was copied while there was no shared store gives way to the store's when there is one, and that stays.
func TestRepositoryGivesWay(t *testing.T) {
	c, _, ns := setUp(t, managerOptions{store: "later-store", timing: travelTiming()})
	wec := c.wecs["cluster1"]
	c.hub.put(t, ns, cm, "artifact-repositories", `{data: {r: "s3: {bucket: mine}"}}`)
	c.submit(t, ns, "before", "cluster1", needing(`{entrypoint: main, artifactRepositoryRef: {key: r}, templates: [{name: main, container: {image: busybox}}]}`))
	wec.waitFor(t, ns, "before", "the WEC copy", exists)
	if got := wec.look(t.Context(), t, ns, cm, "artifact-repositories"); got == nil || got.GetLabels()[stellarflow.LabelDependency] != "true" {
		t.Fatalf("the copy: %v", got)
	}
	c.create(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: stellarflow.SystemNamespace, Name: "later-store"}, Data: map[string][]byte{
		"endpoint": []byte("s3.example.com"), "bucket": []byte("workflows"), "accesskey": []byte("a"), "secretkey": []byte("b"),
	}})
	stores := func(object *unstructured.Unstructured) bool {
		if object == nil {
			return false
		}
		all, _, _ := unstructured.NestedStringMap(object.Object, "data")
		return len(all) == 1 && strings.Contains(all["stellarflow"], "s3.example.com") && object.GetLabels()[stellarflow.LabelDependency] == ""
	}
	names := []string{"before"}
	eventually(t, "the store's to take its place", func(ctx context.Context) (bool, string) { // once the hub has seen the Secret
		name := fmt.Sprintf("after-%d", len(names))
		names = append(names, name)
		c.submit(t, ns, name, "cluster1")
		wec.waitFor(t, ns, name, "the WEC copy", exists)
		object := wec.look(ctx, t, ns, cm, "artifact-repositories")
		return stores(object), fmt.Sprint(object)
	})
	for _, name := range names {
		if err := c.hub.workflows(ns).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range names {
		c.hub.waitFor(t, ns, name, "the hub copy to go", gone)
	}
	wec.stays(t, ns, cm, "artifact-repositories", "it is gone or another", stores)
}
