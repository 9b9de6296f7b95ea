package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/cli"
	"stellarflow.io/stellarflow/pkg/hub/guard"
	"stellarflow.io/stellarflow/pkg/wec"
)

var (
	managedClusters = schema.GroupVersionResource{Group: "cluster.open-cluster-management.io", Version: "v1", Resource: "managedclusters"}
	bindingPolicies = schema.GroupVersionResource{Group: "control.kubestellar.io", Version: "v1alpha1", Resource: "bindingpolicies"}
	crdResource     = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	guardPolicies   = schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingadmissionpolicies"}
)

// breakable is what tests of the CLI break.
var breakable = map[string]schema.GroupVersionResource{
	"guards": guardPolicies, "guardBindings": {Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingadmissionpolicybindings"},
	"deployments": {Group: "apps", Version: "v1", Resource: "deployments"},
	"roles":       {Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "roles"}, "clusterroles": {Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterroles"},
	"rolebindings":    {Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings"},
	"managedclusters": managedClusters, "leases": {Group: "coordination.k8s.io", Version: "v1", Resource: "leases"},
	"secrets": {Version: "v1", Resource: "secrets"}, "configmaps": {Version: "v1", Resource: "configmaps"},
}

const storeEnv = "MINIO_ENDPOINT=127.0.0.1:9000\nMINIO_BUCKET=workflows\nMINIO_ACCESS_KEY=integration\nMINIO_SECRET_KEY=integration-secret\nMINIO_INSECURE=true\n"

func TestCLI(t *testing.T) {
	hub, wec1 := startAPIServer(t), startAPIServer(t)
	controllerManager(t, hub)
	controllerManager(t, wec1)
	c := newCommandLine(t, hub)
	c.file("wec1.kubeconfig", wec1.kubeconfig)

	t.Run("Install", func(t *testing.T) { c.t = t; testInstall(t, c) })
	t.Run("Join", func(t *testing.T) { c.t = t; testJoin(t, c, wec1) })
	t.Run("Rights", func(t *testing.T) { testRights(t, c, wec1) })
	t.Run("StoreKeys", func(t *testing.T) { c.t = t; testStoreKeys(t, c, wec1) })
	t.Run("Explain", func(t *testing.T) { c.t = t; testExplain(t, c) })
	t.Run("Leave", func(t *testing.T) { c.t = t; testLeave(t, c, wec1) })
	t.Run("Uninstall", func(t *testing.T) { c.t = t; testUninstall(t, c) })
}

func testInstall(t *testing.T, c *commandLine) {
	install := []string{"install", "--kubeconfig=DIR/hub.kubeconfig", "--artifact-store=DIR/store.env", "--skip-store-check", "--wait=false"}
	c.refuses(cli.ExitFailure, "no Argo controller was found on the hub", append(install, "--timeout=1s")...)
	c.refuses(cli.ExitFailure, "the hub has no namespace stellarflow-system: run `stellarflow install` there first",
		"join", "cluster1", "--kubeconfig=DIR/wec1.kubeconfig", "--hub-kubeconfig=DIR/hub.kubeconfig")
	argoDeployment(t, c.hub, "argo", "argo")
	argoDeployment(t, c.hub, "team", "")
	c.refuses(cli.ExitFailure, "--artifact-store is missing, and the hub has no store yet", "install", "--kubeconfig=DIR/hub.kubeconfig")
	deployArgoServer(t, c.hub, "argo", map[string]string{"columns": "- {name: Team, type: label, key: team}\n"})
	deployArgoServer(t, c.hub, "team", nil)
	c.refuses(cli.ExitUsage, `--argo-url "argo.test": Argo allows links of http and https only`, append(slices.Clone(install), "--argo-url=argo.test")...)
	c.refuses(cli.ExitUsage, "--argo-url is for links in Argo's UI, which --argo-ui=false leaves alone", append(slices.Clone(install), "--argo-url=https://argo.test", "--argo-ui=false")...)
	c.must([]string{
		"Argo controller on the hub: system:serviceaccount:argo:argo v3.7.18", "system:serviceaccount:team:default",
		"Argo's UI gets a column for the cluster and links to the Workflows of one (ConfigMap argo/workflow-controller-configmap)",
		"warning: Argo's UI does not show clusters: ConfigMap team/workflow-controller-configmap: it does not exist",
	}, append(slices.Clone(install), "--argo-url=https://argo.test/")...)
	wantArgoUI(t, c.hub, true)

	policy, err := c.hub.dynamic.Resource(guardPolicies).Get(t.Context(), "stellarflow-guard-controller", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	conditions, _, _ := unstructured.NestedSlice(policy.Object, "spec", "matchConditions")
	want := `request.userInfo.username in ["system:serviceaccount:argo:argo", "system:serviceaccount:team:default"]`
	if diff := cmp.Diff(want, conditions[0].(map[string]any)["expression"]); diff != "" {
		t.Errorf("the guard does not know the controllers (-want +got):\n%s", diff)
	}
	secret, err := c.hub.core.CoreV1().Secrets(stellarflow.SystemNamespace).Get(t.Context(), "artifact-store", metav1.GetOptions{})
	if err != nil || string(secret.Data["endpoint"]) != "127.0.0.1:9000" || string(secret.Data["secretkey"]) != "integration-secret" {
		t.Errorf("the store is not what the file says: %v, %v", secret.Data, err)
	}
	before := versions(t, c.hub)
	mutatesDeletions(t, c.hub)
	var answer struct {
		ArgoControllers, Applied []string
		Store                    string
		Available                bool
	}
	again := slices.DeleteFunc(slices.Clone(install), func(arg string) bool { return strings.HasPrefix(arg, "--artifact-store") })
	if code := c.json(&answer, again...); code != cli.ExitOK || len(answer.Applied) < 15 || answer.Available || answer.Store != "http://127.0.0.1:9000/workflows" {
		t.Errorf("the answer of install: %d, %+v", code, answer)
	}
	if diff := cmp.Diff(before, versions(t, c.hub)); diff != "" {
		t.Errorf("a second install, without the store's file, changes what did not change (-before +after):\n%s", diff)
	}
	mutating, err := c.hub.core.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), guard.Configuration, metav1.GetOptions{})
	if err != nil || len(mutating.Webhooks) != 2 {
		t.Errorf("a webhook of an earlier version is left: %v, %v", mutating, err)
	}
	c.refuses(cli.ExitFailure, "deployment stellarflow-system/stellarflow-hub is not available after 2s: the controller manager has not seen it yet: it has no pod: correct that",
		append(install[:4:4], "--timeout=2s")...)
}

// mutatesDeletions puts the webhook of deletions where earlier versions had it too, among the mutating ones, with their manager's CA.
func mutatesDeletions(t *testing.T, s *server) {
	t.Helper()
	webhooks := s.core.AdmissionregistrationV1()
	mutating, err := webhooks.MutatingWebhookConfigurations().Get(t.Context(), guard.Configuration, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	validating, err := webhooks.ValidatingWebhookConfigurations().Get(t.Context(), guard.Configuration, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	deletions := validating.Webhooks[0]
	earlier := &admissionregistrationv1.MutatingWebhookConfiguration{
		TypeMeta: metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: "MutatingWebhookConfiguration"}, ObjectMeta: metav1.ObjectMeta{Name: mutating.Name, Labels: mutating.Labels},
		Webhooks: append(mutating.Webhooks, admissionregistrationv1.MutatingWebhook{
			Name: deletions.Name, ClientConfig: deletions.ClientConfig, Rules: deletions.Rules, ObjectSelector: deletions.ObjectSelector, SideEffects: deletions.SideEffects,
			AdmissionReviewVersions: deletions.AdmissionReviewVersions,
		}),
	}
	raw, err := json.Marshal(earlier)
	if err != nil {
		t.Fatal(err)
	}
	patch := func(kind types.PatchType, manager, patch string, force *bool) {
		if _, err := webhooks.MutatingWebhookConfigurations().Patch(t.Context(), mutating.Name, kind, []byte(patch), metav1.PatchOptions{FieldManager: manager, Force: force}); err != nil {
			t.Fatal(err)
		}
	}
	patch(types.ApplyPatchType, "stellarflow", string(raw), ptr.To(true))
	patch(types.JSONPatchType, "stellarflow-hub", `[{"op":"add","path":"/webhooks/2/clientConfig/caBundle","value":"Cg=="}]`, nil)
}

// versions are the resourceVersions of what an installation applies.
func versions(t *testing.T, s *server) map[string]string {
	t.Helper()
	found := map[string]string{}
	add := func(objects ...metav1.Object) {
		for _, object := range objects {
			found[fmt.Sprintf("%T %s", object, object.GetName())] = object.GetResourceVersion()
		}
	}
	deployment, err := s.core.AppsV1().Deployments(stellarflow.SystemNamespace).Get(t.Context(), "stellarflow-hub", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	secret, err := s.core.CoreV1().Secrets(stellarflow.SystemNamespace).Get(t.Context(), "artifact-store", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	role, err := s.core.RbacV1().ClusterRoles().Get(t.Context(), "stellarflow-hub", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	server, err := s.core.AppsV1().Deployments("argo").Get(t.Context(), "argo-server", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	add(deployment, secret, role, server)
	for _, resource := range []schema.GroupVersionResource{crdResource, guardPolicies} {
		list, err := s.dynamic.Resource(resource).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range list.Items {
			add(&list.Items[i])
		}
	}
	return found
}

func testJoin(t *testing.T, c *commandLine, wec1 *server) {
	join := []string{"join", "cluster1", "--kubeconfig=DIR/wec1.kubeconfig", "--hub-kubeconfig=DIR/hub.kubeconfig", "--wait=false"}
	c.refuses(cli.ExitFailure, `--namespaces "argo" does not exist there: remove it`, append(join, "--namespaces=argo")...)
	c.must([]string{"workflows: get, list, watch, create, patch, delete"}, append(join, "--dry-run")...)
	if _, err := wec1.core.CoreV1().Namespaces().Get(t.Context(), stellarflow.SystemNamespace, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Fatalf("--dry-run changed the cluster: %v", err)
	}
	argoDeployment(t, wec1, "argo", "argo")
	c.must([]string{"joined cluster1", "clusterroles: bind (only stellarflow-executor)"}, append(join, "--namespaces=argo", "--labels=region=eu,gpu=true")...)
	preparedNamespace(t, wec1, "argo")

	cluster, err := c.hub.dynamic.Resource(managedClusters).Get(t.Context(), "cluster1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	wantLabels := map[string]string{"name": "cluster1", "region": "eu", "gpu": "true", "app.kubernetes.io/part-of": "stellarflow"}
	if diff := cmp.Diff(wantLabels, cluster.GetLabels()); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if got := cluster.GetAnnotations()[stellarflow.AnnotationNamespaces]; got != "argo" {
		t.Errorf("accepted namespaces: want argo, got %q", got)
	}
	if got := cluster.GetAnnotations()[stellarflow.AnnotationArgoVersion]; got != "v3.7.18" {
		t.Errorf("Argo's version: want v3.7.18, got %q", got)
	}
	c.must(nil, append(join, "--labels=region=us")...)
	c.must([]string{"joined cluster1: ManagedCluster cluster1 (labels name=cluster1,region=us)"}, join...)
	cluster, err = c.hub.dynamic.Resource(managedClusters).Get(t.Context(), "cluster1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"name": "cluster1", "region": "us", "app.kubernetes.io/part-of": "stellarflow"}, cluster.GetLabels()); diff != "" {
		t.Errorf("labels after a join that names another, and one that names none (-want +got):\n%s", diff)
	}
	if got := cluster.GetAnnotations()[stellarflow.AnnotationNamespaces]; got != "argo" {
		t.Errorf("accepted namespaces after joins that name none: want argo, got %q", got)
	}

	c.refuses(cli.ExitFailure, `cluster "other" is joined already, as "cluster1"`, "join", "other", "--kubeconfig=DIR/wec1.kubeconfig", "--hub-kubeconfig=DIR/hub.kubeconfig")
	c.refuses(cli.ExitFailure, `cluster "self" is the hub itself`, "join", "self", "--kubeconfig=DIR/hub.kubeconfig", "--hub-kubeconfig=DIR/hub.kubeconfig")
	c.refuses(cli.ExitFailure, "cluster1 is joined, but the hub is not connected to it after 1s: the hub manager has not looked at it yet", append(join[:4:4], "--timeout=1s")...)
	c.must([]string{"cluster1   Unknown   -            v3.7.18   0"}, "clusters", "--kubeconfig=DIR/hub.kubeconfig")
}

// preparedNamespace checks that a join leaves in an accepted namespace what the hub would create there with the first Workflow.
func preparedNamespace(t *testing.T, s *server, namespace string) {
	t.Helper()
	repository, err := s.core.CoreV1().ConfigMaps(namespace).Get(t.Context(), "artifact-repositories", metav1.GetOptions{})
	if err != nil || !strings.Contains(repository.Data["stellarflow"], "bucket: workflows") {
		t.Errorf("the artifact repository: %v, %v", repository.Data, err)
	}
	secret, err := s.core.CoreV1().Secrets(namespace).Get(t.Context(), "stellarflow-artifacts", metav1.GetOptions{})
	if err != nil || string(secret.Data["accesskey"]) != "integration" {
		t.Errorf("the store's Secret: %v, %v", secret.Data, err)
	}
	binding, err := s.core.RbacV1().RoleBindings(namespace).Get(t.Context(), "stellarflow-executor-default", metav1.GetOptions{})
	if err != nil || binding.RoleRef.Name != "stellarflow-executor" || len(binding.Subjects) != 1 || binding.Subjects[0].Name != "default" {
		t.Errorf("the executor's rights: %+v, %v", binding, err)
	}
}

// testRights uses the stored credential: what the hub needs works, and nothing else does.
func testRights(t *testing.T, c *commandLine, wec1 *server) {
	secret, err := c.hub.core.CoreV1().Secrets(stellarflow.SystemNamespace).Get(t.Context(), "cluster-cluster1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if secret.Labels[stellarflow.LabelManagedCluster] != "cluster1" {
		t.Errorf("the credential does not name its cluster: %v", secret.Labels)
	}
	config, err := wec.ParseKubeconfig(secret.Data[stellarflow.SecretKeyKubeconfig], wec.KubeconfigOptions{AllowLoopback: true})
	if err != nil {
		t.Fatal(err)
	}
	if config.BearerToken == "" || len(config.CertData) > 0 || config.Host != strings.TrimSuffix(wec1.config.Host, "/") {
		t.Errorf("the stored kubeconfig is not server, CA and token: %s (want %s), token %t, certificate %t", config.Host, wec1.config.Host, config.BearerToken != "", len(config.CertData) > 0)
	}
	allowed := []authorizationv1.ResourceAttributes{
		{Group: "argoproj.io", Resource: "workflows", Verb: "create", Namespace: "any"},
		{Group: "argoproj.io", Resource: "workflows", Verb: "delete", Namespace: "any"},
		{Resource: "namespaces", Verb: "create"},
		{Resource: "secrets", Verb: "create", Namespace: "any"},
		{Resource: "configmaps", Verb: "create", Namespace: "any"},
		{Resource: "configmaps", Verb: "update", Namespace: "any"},
		{Group: "argoproj.io", Resource: "workflowtemplates", Verb: "get", Namespace: "any"},
		{Resource: "persistentvolumeclaims", Verb: "create", Namespace: "any"},
		{Resource: "pods", Verb: "get", Namespace: "any"},
		{Resource: "pods", Subresource: "exec", Verb: "create", Namespace: "any"},
		{Group: "rbac.authorization.k8s.io", Resource: "rolebindings", Verb: "create", Namespace: "any"},
		{Group: "rbac.authorization.k8s.io", Resource: "clusterroles", Verb: "bind", Name: "stellarflow-executor"},
	}
	denied := []authorizationv1.ResourceAttributes{
		{Resource: "secrets", Verb: "get", Namespace: "any", Name: "stellarflow-artifacts"},
		{Resource: "secrets", Verb: "get", Namespace: "stellarflow-system", Name: "stellarflow-token"},
		{Resource: "secrets", Verb: "list", Namespace: "any"},
		{Resource: "secrets", Verb: "update", Namespace: "any"},
		{Resource: "persistentvolumeclaims", Verb: "delete", Namespace: "any"},
		{Resource: "pods", Verb: "create", Namespace: "any"},
		{Resource: "pods", Verb: "patch", Namespace: "any"},
		{Resource: "pods", Subresource: "eviction", Verb: "create", Namespace: "any"},
		{Resource: "namespaces", Verb: "delete", Name: "any"},
		{Group: "argoproj.io", Resource: "workflows", Verb: "update", Namespace: "any"},
		{Group: "rbac.authorization.k8s.io", Resource: "clusterroles", Verb: "bind", Name: "cluster-admin"},
		{Group: "rbac.authorization.k8s.io", Resource: "roles", Verb: "create", Namespace: "any"},
		{Resource: "serviceaccounts", Subresource: "token", Verb: "create", Namespace: "any"},
	}
	core, err := kubernetes.NewForConfig(rest.CopyConfig(config))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(attributes authorizationv1.ResourceAttributes, want bool) {
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &attributes}}
		answer, err := core.AuthorizationV1().SelfSubjectAccessReviews().Create(t.Context(), review, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if answer.Status.Allowed != want {
			t.Errorf("%s %s/%s %s: want allowed=%t", attributes.Verb, attributes.Group, attributes.Resource, attributes.Name, want)
		}
	}
	for _, attributes := range allowed {
		ask(attributes, true)
	}
	for _, attributes := range denied {
		ask(attributes, false)
	}
}

func testExplain(t *testing.T, c *commandLine) {
	var policy unstructured.Unstructured
	raw, err := os.ReadFile("../../samples/bindingpolicy-cluster1.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(raw, &policy.Object); err != nil {
		t.Fatal(err)
	}
	if _, err := c.hub.dynamic.Resource(bindingPolicies).Create(t.Context(), &policy, metav1.CreateOptions{}); err != nil {
		t.Fatalf("the sample policy is refused: %v", err)
	}
	if _, err := workflows(c.hub.dynamic).Create(t.Context(), guardedWorkflow("waiting"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	hub := "--kubeconfig=DIR/hub.kubeconfig"
	c.must([]string{"Waiting for a cluster.", "workflows-cluster1  Offers", "cluster1  Unhealthy"}, "explain", "waiting", hub)
	placed(t, c.hub, "running")
	c.must([]string{`Placed on cluster "cluster1" by policy "p" since 1970-01-01T00:00:00Z (attempt 1)`, "cluster1  Placed", "Nothing was mirrored yet."}, "explain", "running", hub)
	if _, err := patchWorkflow(t.Context(), c.hub.as(t, hubManager), "running", `{"metadata":{"annotations":{"stellarflow.io/observed":"u/7/3/h"}},"status":{"phase":"Running"}}`); err != nil {
		t.Fatal(err)
	}
	var explained struct {
		Phase, Sync string
		LastSync    *time.Time
		Placement   *stellarflow.Placement
		Clusters    []struct{ Name, Reason string }
	}
	if err := json.Unmarshal([]byte(c.must(nil, "explain", "running", hub, "-o", "json")), &explained); err != nil {
		t.Fatal(err)
	}
	if explained.Phase != "Running" || explained.LastSync == nil || !strings.Contains(explained.Sync, "resourceVersion 7") || explained.Placement.Cluster != "cluster1" {
		t.Errorf("explain -o json lacks something: %+v", explained)
	}
	c.refuses(cli.ExitFailure, "workflow default/nothing does not exist", "explain", "nothing", hub)
	c.must([]string{"cluster1   Unknown   -            v3.7.18   1"}, "clusters", hub)
}

func testLeave(t *testing.T, c *commandLine, wec1 *server) {
	leave := []string{"leave", "cluster1", "--hub-kubeconfig=DIR/hub.kubeconfig", "--kubeconfig=DIR/wec1.kubeconfig"}
	c.refuses(cli.ExitFailure, "wait for them, delete them, or use --force", leave...)
	c.refuses(cli.ExitFailure, `cluster "nobody" is not joined`, "leave", "nobody", "--hub-kubeconfig=DIR/hub.kubeconfig")
	finished := `{"metadata":{"labels":{"workflows.argoproj.io/completed":"true"}}}`
	if _, err := patchWorkflow(t.Context(), c.hub.as(t, hubManager), "running", finished); err != nil {
		t.Fatal(err)
	}
	c.refuses(cli.ExitFailure, `--kubeconfig is of another cluster than "cluster1"`, append(leave[:3:3], "--kubeconfig=DIR/hub.kubeconfig")...)
	c.must([]string{"deleted ManagedCluster cluster1 on the hub", "deleted ClusterRole stellarflow-wec on cluster1"}, leave...) // TestClusterLeaves deletes what ran there
	if _, err := c.hub.dynamic.Resource(managedClusters).Get(t.Context(), "cluster1", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the ManagedCluster is still there: %v", err)
	}
	if _, err := wec1.core.RbacV1().ClusterRoles().Get(t.Context(), "stellarflow-wec", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the hub's rights are still there: %v", err)
	}
}

func testUninstall(t *testing.T, c *commandLine) {
	hub := "--kubeconfig=DIR/hub.kubeconfig"
	placed(t, c.hub, "unfinished")
	c.refuses(cli.ExitFailure, "1 placed Workflows are unfinished:\n  default/unfinished on cluster1", "uninstall", hub)
	c.must([]string{
		"these may still run on their clusters", "removed finalizer stellarflow.io/cleanup from 2 Workflows", "their CRDs stay",
		"Argo's UI loses a column for the cluster (ConfigMap argo/workflow-controller-configmap)",
	}, "uninstall", hub, "--force")
	wantArgoUI(t, c.hub, false)
	list, err := workflows(c.hub.dynamic).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, workflow := range list.Items {
		if len(workflow.GetFinalizers()) > 0 {
			t.Errorf("workflow %s would hang: it has %v", workflow.GetName(), workflow.GetFinalizers())
		}
	}
	if len(list.Items) != 3 {
		t.Errorf("want the users' 3 Workflows untouched, got %d", len(list.Items))
	}
	if _, err := c.hub.dynamic.Resource(bindingPolicies).Get(t.Context(), "workflows-cluster1", metav1.GetOptions{}); err != nil {
		t.Errorf("the user's policy is gone: %v", err)
	}
	c.must([]string{"deleted CustomResourceDefinition bindingpolicies.control.kubestellar.io"}, "uninstall", hub, "--crds")
}

// Open Cluster Management's CRD is not ours to change.
func TestInstallLeavesOCMAlone(t *testing.T) {
	hub := startAPIServer(t)
	c := newCommandLine(t, hub)
	raw, err := os.ReadFile("../../config/crd/cluster.open-cluster-management.io_managedclusters.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var crd unstructured.Unstructured
	if err := yaml.Unmarshal(raw, &crd.Object); err != nil {
		t.Fatal(err)
	}
	created, err := hub.dynamic.Resource(crdResource).Create(t.Context(), &crd, metav1.CreateOptions{FieldManager: "registration-operator"})
	if err != nil {
		t.Fatal(err)
	}
	c.must([]string{"CRD managedclusters.cluster.open-cluster-management.io is there already and is not ours: it stays as it is"},
		"install", "--kubeconfig=DIR/hub.kubeconfig", "--artifact-store=DIR/store.env", "--skip-store-check", "--wait=false", "--argo-controller=none")
	after, err := hub.dynamic.Resource(crdResource).Get(t.Context(), created.GetName(), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(created.Object["spec"], after.Object["spec"]); diff != "" || after.GetLabels() != nil {
		t.Errorf("it changed: %s %v", diff, after.GetLabels())
	}
	if _, err := hub.dynamic.Resource(guardPolicies).Get(t.Context(), "stellarflow-guard-controller", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("with --argo-controller none there is no controller to hold off: %v", err)
	}
}
