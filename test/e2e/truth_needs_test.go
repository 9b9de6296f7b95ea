package e2e

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

const (
	// labelTruth says to our policies where a Workflow of testdata/truth goes, labelDirect marks those that run without us.
	labelTruth, labelDirect = "e2e.test/truth", "e2e.test/direct"
	// argoNamespace is where Argo's controller runs, and keeps the caches of memoized templates.
	argoNamespace = "argo"
)

var workflowTemplates = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "workflowtemplates"}

// prepareTruth makes a namespace ready for the Workflows of testdata/truth: policies, what Argo's agent and its caches need on the WECs,
// and WorkflowTemplates.
func (f *fleet) prepareTruth(t *testing.T, namespace string, workflows []truthWorkflow) {
	t.Helper()
	for _, target := range wecNames {
		name := namespace + "-" + target
		f.applyPolicy(t, name, `{
  "apiVersion": "control.kubestellar.io/v1alpha1", "kind": "BindingPolicy", "metadata": {"name": "`+name+`"},
  "spec": {"wantSingletonReportedState": true, "clusterSelectors": [{"matchLabels": {"name": "`+target+`"}}],
    "downsync": [{"objectSelectors": [{"matchLabels": {"`+labelTruth+`": "`+name+`"}}]}]}
}`)
		f.prepareTruthOn(t, f.wecs[target], namespace)
	}
	for _, w := range workflows {
		for _, needed := range w.needs {
			for _, c := range []*cluster{f.hub, w.target} {
				if _, err := c.dynamic.Resource(workflowTemplates).Namespace(namespace).Create(t.Context(), needed.DeepCopy(), metav1.CreateOptions{}); err != nil {
					t.Fatalf("create WorkflowTemplate %s on %s: %v", needed.GetName(), c.name, err)
				}
			}
		}
	}
}

// prepareTruthOn makes a namespace of a WEC that accepts Workflows, with what the http template and memoize need; the hub brings the rest.
func (f *fleet) prepareTruthOn(t *testing.T, wec *cluster, namespace string) {
	t.Helper()
	_, spaceErr := wec.core.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{Name: namespace, Labels: map[string]string{stellarflow.LabelAccept: "true"}},
	}, metav1.CreateOptions{})
	t.Cleanup(func() { f.endDirect(t, wec, namespace) })
	// A token Secret that comes before its ServiceAccount is deleted again, and the agent's pod waits for it for ever.
	eventually(t, patience, "the ServiceAccount default in "+namespace, func(ctx context.Context) error {
		_, err := wec.core.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	_, tokenErr := wec.core.CoreV1().Secrets(namespace).Create(t.Context(), &corev1.Secret{ // docs/service-account-secrets.md of Argo
		ObjectMeta: metav1.ObjectMeta{Name: "default.service-account-token", Annotations: map[string]string{corev1.ServiceAccountNameKey: "default"}},
		Type:       corev1.SecretTypeServiceAccountToken,
	}, metav1.CreateOptions{})
	agentErr := allow(t.Context(), wec, namespace, "agent", rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: "default"},
		rbacv1.PolicyRule{APIGroups: []string{"argoproj.io"}, Resources: []string{"workflowtasksets"}, Verbs: []string{"list", "watch"}},
		rbacv1.PolicyRule{APIGroups: []string{"argoproj.io"}, Resources: []string{"workflowtasksets/status"}, Verbs: []string{"patch"}})
	cacheErr := allow(t.Context(), wec, argoNamespace, namespace, rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: argoNamespace, Name: "argo"},
		rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"create", "update"}})
	// Argo's own manifests do not let its controller take an answer of the agent off the task set again.
	answerErr := allow(t.Context(), wec, namespace, "controller", rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: argoNamespace, Name: "argo"},
		rbacv1.PolicyRule{APIGroups: []string{"argoproj.io"}, Resources: []string{"workflowtasksets/status"}, Verbs: []string{"patch"}})
	if err := errors.Join(spaceErr, tokenErr, agentErr, cacheErr, answerErr); err != nil {
		t.Fatalf("prepare namespace %s of %s: %v", namespace, wec.name, err)
	}
}

// allow gives a ServiceAccount rights in a namespace.
func allow(ctx context.Context, c *cluster, namespace, name string, who rbacv1.Subject, what ...rbacv1.PolicyRule) error {
	meta := metav1.ObjectMeta{Name: name}
	_, roleErr := c.core.RbacV1().Roles(namespace).Create(ctx, &rbacv1.Role{ObjectMeta: meta, Rules: what}, metav1.CreateOptions{})
	_, bindingErr := c.core.RbacV1().RoleBindings(namespace).Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: meta, Subjects: []rbacv1.Subject{who}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
	}, metav1.CreateOptions{})
	return errors.Join(roleErr, bindingErr)
}

// endDirect deletes what the suite has on a WEC outside of the hub's sight, and outside of its namespace.
func (f *fleet) endDirect(t *testing.T, wec *cluster, namespace string) {
	ctx, cancel := context.WithTimeout(context.Background(), moment)
	defer cancel()
	err := wec.workflows.Namespace(namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: labelDirect})
	caches := wec.core.CoreV1().ConfigMaps(argoNamespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "workflows.argoproj.io/configmap-type=Cache"})
	role := wec.core.RbacV1().Roles(argoNamespace).Delete(ctx, namespace, metav1.DeleteOptions{})
	binding := wec.core.RbacV1().RoleBindings(argoNamespace).Delete(ctx, namespace, metav1.DeleteOptions{})
	for _, err := range []error{err, caches, role, binding} {
		if err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("clean up on %s: %v", wec.name, err)
		}
	}
}

// deleteManagers deletes one of the manager's pods after the other until the context ends.
func (f *fleet) deleteManagers(ctx context.Context, t *testing.T) {
	lots := rand.New(rand.NewPCG(chaosSeed(t), 7))
	var deleted []string
	for {
		select {
		case <-ctx.Done():
			t.Logf("%d pods of the manager were deleted: %v", len(deleted), deleted)
			if len(deleted) < 5 {
				t.Errorf("only %d pods of the manager were deleted: this shows little", len(deleted))
			}
			return
		case <-time.After(4*time.Second + some(lots, 10*time.Second)):
		}
		pods := f.hub.core.CoreV1().Pods(stellarflow.SystemNamespace)
		list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: managerSelector})
		if err != nil || len(list.Items) == 0 {
			continue
		}
		options, name := metav1.DeleteOptions{}, list.Items[lots.IntN(len(list.Items))].Name
		if lots.IntN(2) == 0 {
			options.GracePeriodSeconds = new(int64) // at once, without a word to anybody
		}
		if err := pods.Delete(ctx, name, options); err == nil {
			deleted = append(deleted, name)
		}
	}
}
