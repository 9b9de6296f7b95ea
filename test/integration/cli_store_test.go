package integration

import (
	"errors"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/artifact"
	"stellarflow.io/stellarflow/pkg/cli"
	"stellarflow.io/stellarflow/pkg/wec"
)

// storeSecret makes the Secret that a hub, or for an empty id somebody else, puts into a namespace.
func (s *server) storeSecret(t *testing.T, namespace, hubID, secretKey string) *corev1.Secret {
	t.Helper()
	_, err := s.core.CoreV1().Namespaces().Create(t.Context(), namespaceObject(namespace), metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	secret := artifact.Secret(artifact.Store{AccessKey: "integration", SecretKey: secretKey}, namespace, types.UID(hubID))
	created, err := s.core.CoreV1().Secrets(namespace).Create(t.Context(), secret, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return created
}

// storeKey is the secret key that a namespace has.
func (s *server) storeKey(t *testing.T, namespace string) string {
	t.Helper()
	secret, err := s.core.CoreV1().Secrets(namespace).Get(t.Context(), artifact.CredentialsSecret, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return string(secret.Data[artifact.KeySecretKey])
}

// withoutSecretList is a kubeconfig of one who may do everything but list Secrets.
func (s *server) withoutSecretList(t *testing.T) []byte {
	t.Helper()
	const name = "restricted"
	every := []string{"*"}
	groups := []string{"apps", "argoproj.io", "rbac.authorization.k8s.io", "coordination.k8s.io", "apiextensions.k8s.io", "authorization.k8s.io"}
	_, roleErr := s.core.RbacV1().ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: []rbacv1.PolicyRule{
		{APIGroups: groups, Resources: every, Verbs: every},
		{APIGroups: []string{""}, Resources: []string{"namespaces", "serviceaccounts", "configmaps"}, Verbs: every},
		{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get", "create", "update", "patch", "delete"}},
	}}, metav1.CreateOptions{})
	_, bindingErr := s.core.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: "default", Name: name}},
	}, metav1.CreateOptions{})
	_, accountErr := s.core.CoreV1().ServiceAccounts("default").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err := errors.Join(roleErr, bindingErr, accountErr); err != nil {
		t.Fatal(err)
	}
	kubeconfig, err := wec.MinimalKubeconfig("https://"+s.address(), s.config.CAData, s.token(t, "default", name))
	if err != nil {
		t.Fatal(err)
	}
	return kubeconfig
}

// testStoreKeys changes the store's key: it reaches what this hub made, on the hub and on the cluster, and nothing else.
func testStoreKeys(t *testing.T, c *commandLine, wec1 *server) {
	const old, renewed = "integration-secret", "integration-secret-renewed"
	hubID := systemUID(t, c.hub)
	c.hub.storeSecret(t, "used", hubID, old)
	wec1.storeSecret(t, "made", hubID, old) // the hub made this namespace: no join names it
	others := map[string]*server{"no-one": c.hub, "somebody": wec1, "other-hub": wec1}
	before := map[string]string{}
	for namespace, s := range others {
		id := ""
		if namespace == "other-hub" {
			id = "another-hub"
		}
		before[namespace] = s.storeSecret(t, namespace, id, "integration-secret-of-theirs").ResourceVersion
	}
	c.file("renewed.env", []byte(strings.ReplaceAll(storeEnv, old, renewed)))
	var answer struct{ RenewedNamespaces, OutdatedClusters []string }
	install := []string{"install", "--kubeconfig=DIR/hub.kubeconfig", "--artifact-store=DIR/renewed.env", "--skip-store-check", "--wait=false"}
	code := c.json(&answer, slices.Clone(install)...)
	if code != cli.ExitOK || !slices.Equal(answer.RenewedNamespaces, []string{"used"}) || !slices.Equal(answer.OutdatedClusters, []string{"cluster1"}) || c.hub.storeKey(t, "used") != renewed {
		t.Errorf("install with a new key: %d, %+v", code, answer)
	}
	c.must([]string{
		"warning: on the hub, secret no-one/stellarflow-artifacts holds other credentials", "label it stellarflow.io/origin=" + hubID + " and install again",
		"warning: cluster cluster1 has earlier credentials of the store: bring it these with `stellarflow join cluster1 --kubeconfig FILE`",
	}, slices.Clone(install)...)
	if wec1.storeKey(t, "argo") != old {
		t.Error("nobody with rights to has changed the cluster's yet")
	}
	c.must([]string{"brought the store's credentials to the namespaces that had earlier ones: argo, made"},
		"join", "cluster1", "--kubeconfig=DIR/wec1.kubeconfig", "--hub-kubeconfig=DIR/hub.kubeconfig", "--wait=false", "--namespaces=argo")
	for _, namespace := range []string{"argo", "made"} {
		if wec1.storeKey(t, namespace) != renewed {
			t.Errorf("namespace %s of the cluster has the old key", namespace)
		}
	}
	c.must([]string{"warning: on cluster1, secret somebody/stellarflow-artifacts holds other credentials", "and join again"},
		"join", "cluster1", "--kubeconfig=DIR/wec1.kubeconfig", "--hub-kubeconfig=DIR/hub.kubeconfig", "--wait=false", "--namespaces=argo,somebody")
	c.file("restricted.kubeconfig", wec1.withoutSecretList(t))
	c.must([]string{`cannot list resource "secrets"`, "whether a namespace there has earlier credentials of the store is not known", "joined cluster1"},
		"join", "cluster1", "--kubeconfig=DIR/restricted.kubeconfig", "--hub-kubeconfig=DIR/hub.kubeconfig", "--wait=false")
	if code := c.json(&answer, slices.Clone(install)...); code != cli.ExitOK || len(answer.RenewedNamespaces)+len(answer.OutdatedClusters) > 0 {
		t.Errorf("install when all have the key: %d, %+v", code, answer)
	}
	for namespace, s := range others {
		after, err := s.core.CoreV1().Secrets(namespace).Get(t.Context(), artifact.CredentialsSecret, metav1.GetOptions{})
		if err != nil || after.ResourceVersion != before[namespace] {
			t.Errorf("the Secret of %s is not ours and was touched: %v", namespace, err)
		}
	}
}
