package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/artifact"
	"stellarflow.io/stellarflow/pkg/cli/diagnosis"
)

// mostWorkflows is how many Workflows of a cluster are read for the ServiceAccounts that they name.
const mostWorkflows = 500

// defaultRepository is Argo's annotation that names the key of a namespace's default repository.
const defaultRepository = "workflows.argoproj.io/default-artifact-repository"

// observeNamespaces looks into the namespaces that the cluster accepts and those in which unfinished Workflows are placed.
func (e *wecExam) observeNamespaces(ctx context.Context) error {
	accounts := map[string]map[string]bool{}
	if e.Cluster != nil {
		for _, namespace := range acceptedNamespaces(e.Cluster) {
			accounts[namespace] = map[string]bool{defaultAccount: true}
		}
	}
	if err := e.accountsInUse(ctx, accounts); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(accounts)) {
		namespace, err := e.observeNamespace(ctx, name, slices.Sorted(maps.Keys(accounts[name])))
		if err != nil {
			return fmt.Errorf("cluster %q, namespace %s: %w", e.Name, name, err)
		}
		e.found.Namespaces = append(e.found.Namespaces, namespace)
	}
	return nil
}

// accountsInUse adds the ServiceAccounts of unfinished Workflows that have a copy on the cluster.
func (e *wecExam) accountsInUse(ctx context.Context, accounts map[string]map[string]bool) error {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(stellarflow.WorkflowKind.GroupVersion().WithKind("WorkflowList"))
	if err := e.hub.List(ctx, list, client.MatchingLabels{stellarflow.LabelCluster: string(e.Name)}, client.Limit(mostWorkflows)); err != nil {
		return fmt.Errorf("list the workflows on %q: %w", e.Name, err)
	}
	for i := range list.Items {
		workflow := &list.Items[i]
		placement, placed := stellarflow.PlacementOf(workflow)
		if !placed || placement.WECUID == "" || stellarflow.Completed(workflow) || workflow.GetDeletionTimestamp() != nil {
			continue
		}
		named, _, _ := unstructured.NestedString(workflow.Object, "spec", "serviceAccountName")
		if accounts[workflow.GetNamespace()] == nil {
			accounts[workflow.GetNamespace()] = map[string]bool{}
		}
		accounts[workflow.GetNamespace()][firstOf(named, defaultAccount)] = true
	}
	return nil
}

// observeNamespace looks into one namespace. What the hub may create and not read is tried with a dry run: it is there if the answer
// is that it exists.
func (e *wecExam) observeNamespace(ctx context.Context, name string, accounts []string) (diagnosis.Namespace, error) {
	found, core := diagnosis.Namespace{Name: name}, e.Clients.Core
	_, err := core.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		found.Missing = true
		return found, nil
	}
	if err != nil {
		return found, fmt.Errorf("read it: %w", err)
	}
	dry := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	for _, account := range accounts {
		_, err := core.CoreV1().ServiceAccounts(name).Get(ctx, account, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			found.Accounts = append(found.Accounts, account)
		} else if err != nil {
			return found, fmt.Errorf("read ServiceAccount %s: %w", account, err)
		}
		binding := &rbacv1.RoleBinding{}
		*binding = *executorBinding(name, account)
		_, err = core.RbacV1().RoleBindings(name).Create(ctx, binding, dry)
		if err == nil {
			found.Bindings = append(found.Bindings, account)
		} else if !apierrors.IsAlreadyExists(err) {
			return found, fmt.Errorf("look for RoleBinding %s: %w", binding.Name, err)
		}
	}
	if e.store == nil {
		return found, nil
	}
	_, err = core.CoreV1().Secrets(name).Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: artifact.CredentialsSecret}}, dry)
	if found.NoSecret = err == nil; err != nil && !apierrors.IsAlreadyExists(err) {
		return found, fmt.Errorf("look for Secret %s: %w", artifact.CredentialsSecret, err)
	}
	repository, err := core.CoreV1().ConfigMaps(name).Get(ctx, artifact.ConfigMapName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		found.NoRepository = true
		return found, nil
	}
	if err != nil {
		return found, fmt.Errorf("read ConfigMap %s: %w", artifact.ConfigMapName, err)
	}
	found.OtherStore = otherStore(repository, *e.store)
	return found, nil
}

// otherStore is the store of a namespace's default repository if that is not the shared one.
func otherStore(repository *corev1.ConfigMap, store artifact.Store) string {
	key := repository.Annotations[defaultRepository]
	if key == "" {
		return "no default repository"
	}
	var named struct {
		S3 struct {
			Endpoint string `json:"endpoint"`
			Bucket   string `json:"bucket"`
		} `json:"s3"`
	}
	if err := yaml.Unmarshal([]byte(repository.Data[key]), &named); err != nil || named.S3.Bucket == "" {
		return fmt.Sprintf("no S3 bucket in its default key %q", key)
	}
	if named.S3.Bucket != store.Bucket || named.S3.Endpoint != store.Endpoint {
		return fmt.Sprintf("%s/%s", named.S3.Endpoint, named.S3.Bucket)
	}
	return ""
}
