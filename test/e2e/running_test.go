package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/artifact"
)

// testBothClusters runs three Workflows on each WEC at once.
func testBothClusters(t *testing.T, f *fleet) {
	namespace := f.newNamespace(t, "both")
	wanted := map[string][]string{"hub": nil}
	for i := range 3 {
		for _, target := range wecNames {
			name := fmt.Sprintf("%s-%d", target, i)
			f.create(t, namespace, suspended(name, target, shell("echo "+name)))
			wanted[target] = append(wanted[target], name)
		}
	}
	for _, target := range wecNames {
		for _, name := range wanted[target] {
			workflow := f.awaitRun(t, namespace, name, target, 1)
			f.wantLogs(t, workflow, map[string]string{name: name})
		}
	}
	got := map[string][]string{}
	for _, c := range f.all() {
		pods, err := c.pods(t.Context(), namespace, "")
		if err != nil {
			t.Fatal(err)
		}
		got[c.name] = nil
		for i := range pods {
			got[c.name] = append(got[c.name], pods[i].Labels[stellarflow.ArgoLabelWorkflow])
		}
		slices.Sort(got[c.name])
	}
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Errorf("Workflows that have pods, by cluster (-wanted +got):\n%s", diff)
	}
	f.checkNewNamespace(t, f.wecs["cluster1"], namespace)
}

// checkNewNamespace checks what the hub creates with a namespace on a WEC.
func (f *fleet) checkNewNamespace(t *testing.T, wec *cluster, namespace string) {
	t.Helper()
	found, err := wec.core.CoreV1().Namespaces().Get(t.Context(), namespace, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	system, err := f.hub.core.CoreV1().Namespaces().Get(t.Context(), metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := found.Labels[stellarflow.LabelOrigin]; got != string(system.UID) {
		t.Errorf("namespace %s on %s has the origin %q, wanted the hub's id %s", namespace, wec.name, got, system.UID)
	}
	_, missing := wec.core.CoreV1().ConfigMaps(namespace).Get(t.Context(), artifact.ConfigMapName, metav1.GetOptions{})
	_, noSecret := wec.core.CoreV1().Secrets(namespace).Get(t.Context(), artifact.CredentialsSecret, metav1.GetOptions{})
	bindings, noBindings := wec.core.RbacV1().RoleBindings(namespace).List(t.Context(), metav1.ListOptions{})
	if err := errors.Join(missing, noSecret, noBindings); err != nil {
		t.Errorf("namespace %s on %s: %v", namespace, wec.name, err)
	} else if len(bindings.Items) != 1 || bindings.Items[0].RoleRef.Name != "stellarflow-executor" {
		t.Errorf("namespace %s on %s has the RoleBindings %+v, wanted one to stellarflow-executor", namespace, wec.name, bindings.Items)
	}
}

// testDelete deletes a Workflow on the hub while it runs.
func testDelete(t *testing.T, f *fleet) {
	namespace, wec := f.newNamespace(t, "delete"), f.wecs["cluster2"]
	f.create(t, namespace, suspended("doomed", "cluster2", shell("trap 'exit 1' TERM; sleep 3600 & wait")))
	f.hub.awaitPod(t, namespace, "doomed")
	if got := wec.countPods(t, namespace, "doomed"); got != 1 {
		t.Fatalf("cluster2 has %d pods of it, wanted 1", got)
	}
	f.kubectl(t, f.hub, "-n", namespace, "delete", "workflow", "doomed", "--wait=false")
	eventually(t, patience, "the deleted Workflow, its copy and its pods are gone", func(ctx context.Context) error {
		var left []string
		for _, c := range []*cluster{f.hub, wec} {
			if workflow, err := c.get(ctx, namespace, "doomed"); !apierrors.IsNotFound(err) {
				left = append(left, fmt.Sprintf("on %s: %v", c.name, errOr(err, func() string { return fmt.Sprint(workflow.Finalizers) })))
			}
		}
		pods, err := wec.pods(ctx, namespace, "doomed")
		if err != nil || len(pods) > 0 {
			left = append(left, fmt.Sprintf("%d pods (%v)", len(pods), err))
		}
		if len(left) > 0 {
			return errors.New(strings.Join(left, "; "))
		}
		return nil
	})
}

func errOr(err error, text func() string) string {
	if err != nil {
		return err.Error()
	}
	return text()
}

// testLocal runs Workflows of the hub's own beside placed ones: unlabelled, labelled but not suspended, and suspended but
// unlabelled, which a person resumes.
func testLocal(t *testing.T, f *fleet) {
	namespace := f.newNamespace(t, "local")
	f.prepareHubNamespace(t, namespace)
	const plain = "spec:\n  entrypoint: main\n  templates: [{name: main, container: {image: busybox, command: [echo], args: [here]}}]\n"
	const head = "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\n"
	f.create(t, namespace, head+"metadata: {name: unlabelled}\n"+plain)
	f.create(t, namespace, head+"metadata: {name: unsuspended, labels: {kubestellar.io/cluster: cluster1}}\n"+plain)
	f.create(t, namespace, head+"metadata: {name: unselected}\n"+plain+"  suspend: true\n")
	for _, name := range []string{"unlabelled", "unsuspended"} {
		workflow := f.awaitLocal(t, namespace, name, 1)
		f.wantLogs(t, workflow, map[string]string{name: "here"})
	}
	waiting, err := f.hub.get(t.Context(), namespace, "unselected")
	if err != nil || waiting.Status.Phase.Completed() || len(ours(waiting)) > 0 {
		t.Errorf("the suspended Workflow that no policy selects is %+v (%v), wanted it untouched", waiting, err)
	}
	if _, err := f.argo(t, "resume", "-n", namespace, "unselected"); err != nil {
		t.Fatalf("resume a local Workflow: %v", err)
	}
	f.awaitLocal(t, namespace, "unselected", 1)
}

// prepareHubNamespace gives a namespace of the hub what Argo needs to run Workflows there.
func (f *fleet) prepareHubNamespace(t *testing.T, namespace string) {
	t.Helper()
	rbac := f.hub.core.RbacV1()
	_, roleErr := rbac.Roles(namespace).Create(t.Context(), &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: "executor"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{"argoproj.io"}, Resources: []string{"workflowtaskresults"}, Verbs: []string{"create", "patch"}}},
	}, metav1.CreateOptions{})
	_, bindingErr := rbac.RoleBindings(namespace).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "executor"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "executor"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: "default"}},
	}, metav1.CreateOptions{})
	_, secretErr := f.hub.core.CoreV1().Secrets(namespace).Create(t.Context(), artifact.Secret(f.store, namespace, ""), metav1.CreateOptions{})
	if err := errors.Join(roleErr, bindingErr, secretErr); err != nil {
		t.Fatalf("prepare namespace %s of the hub: %v", namespace, err)
	}
}

// testUntagged runs images without a tag and without a pull policy, one of them by its entrypoint.
func testUntagged(t *testing.T, f *fleet) {
	namespace, wec := f.newNamespace(t, "untagged"), f.wecs["cluster1"]
	f.create(t, namespace, suspended("untagged", "cluster1", `
- name: main
  dag:
    tasks:
    - {name: untagged, template: untagged}
    - {name: entrypoint, template: entrypoint}
- name: untagged
  container: {image: busybox, command: [echo], args: [pulled]}
- name: entrypoint
  container: {image: "argoproj/argosay:v2", args: [echo, said]}
`))
	workflow := f.awaitRun(t, namespace, "untagged", "cluster1", 2)
	f.wantLogs(t, workflow, map[string]string{"untagged": "pulled", "entrypoint": "said"})
	pods, err := wec.pods(t.Context(), namespace, "untagged")
	if err != nil {
		t.Fatal(err)
	}
	policies := map[string]corev1.PullPolicy{}
	for i := range pods {
		for _, container := range pods[i].Spec.Containers {
			if container.Name == "main" {
				policies[container.Image] = container.ImagePullPolicy
			}
		}
	}
	wanted := map[string]corev1.PullPolicy{"busybox": corev1.PullAlways, "argoproj/argosay:v2": corev1.PullIfNotPresent}
	if diff := cmp.Diff(wanted, policies); diff != "" {
		t.Errorf("pull policies of the pods (-wanted +got):\n%s", diff)
	}
}

// testGuard tries on the hub what would start a placed Workflow a second time, or would write over what its cluster says.
func testGuard(t *testing.T, f *fleet) {
	namespace := f.newNamespace(t, "guard")
	f.create(t, namespace, suspended("guarded", "cluster1", shell("sleep 45; echo once")))
	before := f.hub.awaitPod(t, namespace, "guarded")
	for name, lift := range map[string]func() (string, error){
		"kubectl patch": func() (string, error) {
			return f.tryKubectl(t, f.hub, "-n", namespace, "patch", "workflow", "guarded", "--type=merge", "-p", `{"spec":{"suspend":null}}`)
		},
		"kubectl patch to false": func() (string, error) {
			return f.tryKubectl(t, f.hub, "-n", namespace, "patch", "workflow", "guarded", "--type=merge", "-p", `{"spec":{"suspend":false}}`)
		},
		"argo resume": func() (string, error) { return f.argo(t, "resume", "-n", namespace, "guarded") },
	} {
		if out, err := lift(); err != nil { // it is done where it runs, which is not suspended
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		if w, err := f.hub.get(t.Context(), namespace, "guarded"); err != nil || w.Spec.Suspend == nil || !*w.Spec.Suspend {
			t.Errorf("%s: it would run on the hub: %v", name, err)
		}
	}
	_, err := f.tryKubectl(t, f.hub, "-n", namespace, "patch", "workflow", "guarded", "--type=merge", "-p", `{"status":{"phase":"Error"}}`,
		"--as=system:serviceaccount:argo:argo")
	if err == nil || !strings.Contains(err.Error(), "runs on another cluster") {
		t.Errorf("an update by the hub's Argo controller must be refused: %v", err)
	}
	// The key of the record is ours; other labels are the user's.
	relabel := []byte(`{"metadata":{"labels":{"stellarflow.io/cluster":"cluster2"}}}`)
	if _, err := f.hub.workflows.Namespace(namespace).Patch(t.Context(), "guarded", types.MergePatchType, relabel, metav1.PatchOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("moving a placed Workflow to another cluster must be forbidden: %v", err)
	}
	f.kubectl(t, f.hub, "-n", namespace, "label", "workflow", "guarded", "team=green")
	after := f.awaitRun(t, namespace, "guarded", "cluster1", 1)
	if before.UID != after.UID || after.Labels["team"] != "green" {
		t.Errorf("the Workflow was replaced, or lost its label: UID %s, then %s; labels %v", before.UID, after.UID, after.Labels)
	}
	f.wantLogs(t, after, map[string]string{"guarded": "once"})
	placement, _ := stellarflow.PlacementOf(after)
	for _, entry := range after.ManagedFields {
		// Before the placement it may write: a new Workflow is anybody's until then. Both times have whole seconds.
		if strings.Contains(entry.Manager, "workflow-controller") && entry.Time.After(placement.Time) {
			t.Errorf("the hub's Argo controller has written at %s to a Workflow placed at %s: %s", entry.Time, placement.Time, entry.FieldsV1)
		}
	}
	wecCopy, err := f.wecs["cluster1"].get(t.Context(), namespace, "guarded")
	if err != nil || wecCopy.Status.Phase != wfv1.WorkflowSucceeded {
		t.Errorf("the WEC copy: %v, %v", wecCopy, err)
	}
}
