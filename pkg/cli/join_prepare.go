package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/artifact"
)

const (
	// executorRole is what a Workflow's pods need; config/wec holds it.
	executorRole = "stellarflow-executor"
	// defaultAccount runs the Workflows that name no ServiceAccount.
	defaultAccount = "default"
)

// prepare creates in the accepted namespaces what the hub would with the first Workflow, and what somebody may have deleted since:
// the executor's rights of the ServiceAccount default, the store's Secret and Argo's artifact repository. What exists stays as it is,
// but for the store's credentials in Secrets that are labelled as this hub's.
func (j *joining) prepare(ctx context.Context) ([]string, error) {
	prepared := []string{}
	hubID, err := readHubID(ctx, j.hub)
	if err != nil {
		return nil, err
	}
	store, err := storedStore(ctx, j.hub)
	if err != nil { // a hub without a usable store: the hub manager says so on every Workflow
		j.env.sayf("the accepted namespaces get no artifact repository: %v", err)
		store = nil
	}
	for _, namespace := range j.namespaces {
		objects := []client.Object{executorBinding(namespace, defaultAccount)}
		if store != nil {
			repository, err := artifact.ConfigMap(*store, stellarflow.ClusterName(j.name), namespace)
			if err != nil {
				return nil, err
			}
			objects = append(objects, artifact.Secret(*store, namespace, hubID), repository)
		}
		for _, object := range objects {
			err := j.wec.client.Create(ctx, object)
			switch {
			case apierrors.IsNotFound(err): // it was accepted before and is gone: the hub creates it when a Workflow needs it
				continue
			case err != nil && !apierrors.IsAlreadyExists(err):
				return nil, fmt.Errorf("prepare namespace %s of cluster %q: create %T %s: %w", namespace, j.name, object, object.GetName(), err)
			}
		}
		prepared = append(prepared, namespace)
	}
	if store == nil {
		return prepared, nil
	}
	return prepared, j.bringCredentials(ctx, hubID, *store)
}

// bringCredentials brings the store's credentials to the namespaces that this hub filled, those that it made included, and records
// which they are: the hub may not read them there.
func (j *joining) bringCredentials(ctx context.Context, hubID types.UID, store artifact.Store) error {
	stale, err := staleCredentials(ctx, j.wec.client, hubID, store)
	if apierrors.IsForbidden(err) {
		j.env.sayf("warning: on %s, %v: whether a namespace there has earlier credentials of the store is not known", j.name, err)
		return nil //nolint:nilerr // all else is done, and no sum is recorded
	}
	if err != nil {
		return fmt.Errorf("cluster %q: %w", j.name, err)
	}
	brought, err := bringCredentials(ctx, j.wec.client, stale.ours, store)
	if err != nil {
		return fmt.Errorf("cluster %q: %w", j.name, err)
	}
	if len(brought) > 0 {
		j.env.sayf("brought the store's credentials to the namespaces that had earlier ones: %s", strings.Join(brought, ", "))
	}
	for i := range stale.foreign {
		if slices.Contains(j.namespaces, stale.foreign[i].Namespace) {
			j.env.sayf("warning: on %s, %s", j.name, claim(&stale.foreign[i], hubID, "join again"))
		}
	}
	key := credentialKey(j.name)
	record := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	patch := client.RawPatch(types.MergePatchType, []byte(fmt.Sprintf(`{"stringData":{%q:%q}}`, stellarflow.SecretKeyStoreSum, store.CredentialsSum())))
	if err := j.hub.Patch(ctx, record, patch); err != nil {
		return fmt.Errorf("record in secret %s which credentials of the store cluster %q has: %w", key, j.name, err)
	}
	return nil
}

// executorBinding gives a ServiceAccount what Argo's executor needs, under the name that the hub uses.
func executorBinding(namespace, account string) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: executorRole + "-" + account},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: executorRole},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: account}},
	}
}
