package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/artifact"
)

// staleSecrets are the Secrets of a cluster, in any namespace, under the name of the store's credentials that hold others than the
// store's.
type staleSecrets struct {
	hubID types.UID
	// ours are labelled with the hub's id, foreign are not.
	ours, foreign []corev1.Secret
	// all are the namespaces that have one, nil if that is not known.
	all map[string]bool
}

// lacking are the namespaces of the hub, sorted, without such a Secret in which Workflows have run on a cluster: Argo's server needs it for
// their logs and artifacts.
func (s staleSecrets) lacking(workflows []metav1.PartialObjectMetadata) []string {
	lacking := map[string]bool{}
	for i := range workflows {
		workflow := &workflows[i]
		placement, placed := stellarflow.PlacementOf(workflow)
		if s.all != nil && placed && placement.WECUID != "" && workflow.DeletionTimestamp == nil && !s.all[workflow.Namespace] {
			lacking[workflow.Namespace] = true
		}
	}
	return slices.Sorted(maps.Keys(lacking))
}

// staleCredentials looks for them with a person's rights: the hub manager may create these Secrets and not read them.
func staleCredentials(ctx context.Context, cluster client.Client, hubID types.UID, store artifact.Store) (staleSecrets, error) {
	stale := staleSecrets{hubID: hubID}
	var all corev1.SecretList
	if err := cluster.List(ctx, &all, client.MatchingFields{"metadata.name": artifact.CredentialsSecret}); err != nil {
		return stale, fmt.Errorf("list the secrets %s of all namespaces: %w", artifact.CredentialsSecret, err)
	}
	stale.all = map[string]bool{}
	for i := range all.Items {
		stale.all[all.Items[i].Namespace] = true
		switch secret := all.Items[i]; {
		case artifact.HoldsCredentials(&secret, store) || secret.DeletionTimestamp != nil:
		case secret.Labels[stellarflow.LabelOrigin] == string(hubID):
			stale.ours = append(stale.ours, secret)
		default:
			stale.foreign = append(stale.foreign, secret)
		}
	}
	return stale, nil
}

// bringCredentials puts the store's credentials into Secrets of this hub, and returns their namespaces.
func bringCredentials(ctx context.Context, cluster client.Client, ours []corev1.Secret, store artifact.Store) ([]string, error) {
	brought := []string{}
	for i := range ours {
		before := &ours[i]
		after := before.DeepCopy()
		after.Data = artifact.Secret(store, before.Namespace, "").Data
		err := cluster.Patch(ctx, after, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
		if client.IgnoreNotFound(err) != nil {
			return brought, fmt.Errorf("bring the store's credentials to secret %s/%s: %w", before.Namespace, before.Name, err)
		}
		if err == nil {
			brought = append(brought, before.Namespace)
		}
	}
	return brought, nil
}

// bringLacking puts Secrets with the store's credentials into the namespaces of the hub that lack one, and returns those.
func bringLacking(ctx context.Context, env Env, hub client.Client, stale staleSecrets, store artifact.Store) ([]string, error) {
	workflows, err := listWorkflows(ctx, hub, client.HasLabels{stellarflow.LabelCluster})
	if err != nil {
		return nil, err
	}
	lacking := stale.lacking(workflows)
	for _, namespace := range lacking {
		err := hub.Create(ctx, artifact.Secret(store, namespace, stale.hubID))
		if err != nil && !apierrors.IsAlreadyExists(err) && !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return nil, fmt.Errorf("create secret %s/%s: %w", namespace, artifact.CredentialsSecret, err)
		}
	}
	if len(lacking) > 0 {
		env.sayf("brought the store's credentials to the namespaces of the hub that had none: %s", strings.Join(lacking, ", "))
	}
	return lacking, nil
}

// renewCredentials brings the store's credentials to the namespaces of the hub, and says which clusters need them too.
func renewCredentials(ctx context.Context, env Env, hub client.Client, store artifact.Store, answer *installed) error {
	hubID, err := readHubID(ctx, hub)
	if err != nil {
		return err
	}
	stale, err := staleCredentials(ctx, hub, hubID, store)
	if apierrors.IsForbidden(err) { // all else can be done without
		env.sayf("warning: on the hub, %v: whether a namespace there has earlier credentials of the store is not known", err)
	} else if err != nil {
		return err
	}
	if answer.Renewed, err = bringCredentials(ctx, hub, stale.ours, store); err != nil {
		return err
	}
	if len(answer.Renewed) > 0 {
		env.sayf("brought the store's credentials to the namespaces of the hub that had earlier ones: %s", strings.Join(answer.Renewed, ", "))
	}
	lacking, err := bringLacking(ctx, env, hub, stale, store)
	if answer.Renewed = append(answer.Renewed, lacking...); err != nil {
		return err
	}
	for i := range stale.foreign {
		env.sayf("warning: on the hub, %s", claim(&stale.foreign[i], hubID, "install again"))
	}
	wecs, err := storedWECs(ctx, env, hub)
	if err != nil {
		return err
	}
	for _, w := range wecs {
		if w.outdated(&store) {
			answer.Outdated = append(answer.Outdated, string(w.Name))
			env.sayf("warning: cluster %s has earlier credentials of the store: bring it these with `stellarflow join %s --kubeconfig FILE`", w.Name, w.Name)
		}
	}
	return nil
}

// claim says how a person makes a Secret ours that holds other credentials; join or install then bring the store's.
func claim(secret *corev1.Secret, hubID types.UID, again string) string {
	return fmt.Sprintf("secret %s/%s holds other credentials than the store's and is not labelled as this hub's: it stays as it is; if it should follow the store, "+
		"label it %s=%s and %s", secret.Namespace, secret.Name, stellarflow.LabelOrigin, hubID, again)
}
