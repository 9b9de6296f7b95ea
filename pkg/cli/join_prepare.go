package cli

import (
	"context"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
// the executor's rights of the ServiceAccount default, the store's Secret and Argo's artifact repository. What exists stays as it is.
func (j *joining) prepare(ctx context.Context) ([]string, error) {
	prepared := []string{}
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
			objects = append(objects, artifact.Secret(*store, namespace), repository)
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
	return prepared, nil
}

// executorBinding gives a ServiceAccount what Argo's executor needs, under the name that the hub uses.
func executorBinding(namespace, account string) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: executorRole + "-" + account},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: executorRole},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: account}},
	}
}
