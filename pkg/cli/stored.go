package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/artifact"
	"stellarflow.io/stellarflow/pkg/wec"
)

// storedWEC is a cluster as the hub manager knows it: by the credential that a join stored.
type storedWEC struct {
	Name stellarflow.ClusterName
	// Cluster is nil if only the credential is left.
	Cluster *clusterv1.ManagedCluster
	// storeSum tells which credentials of the store the last join brought there; empty if none is known to have.
	storeSum string
	// Clients are nil if there is no usable credential; Err says why.
	Clients *wec.Clients
	Err     error
}

// errNoCredential says that a ManagedCluster has no Secret.
var errNoCredential = errors.New("there is no credential for it on the hub")

// storedWECs are the clusters that have a ManagedCluster, a credential, or both, sorted by name. Nothing is asked of them.
func storedWECs(ctx context.Context, env Env, hub client.Client) ([]storedWEC, error) {
	clusters, err := listClusters(ctx, hub)
	if err != nil {
		return nil, err
	}
	var secrets corev1.SecretList
	if err := hub.List(ctx, &secrets, client.InNamespace(stellarflow.SystemNamespace), client.HasLabels{stellarflow.LabelManagedCluster}); err != nil {
		return nil, fmt.Errorf("list the credentials of the clusters: %w", err)
	}
	var wecs []storedWEC
	for i := range clusters {
		wecs = append(wecs, storedWEC{Name: stellarflow.ClusterName(clusters[i].Name), Cluster: &clusters[i], Err: errNoCredential})
	}
	for i := range secrets.Items {
		secret := &secrets.Items[i]
		name := stellarflow.ClusterName(secret.Labels[stellarflow.LabelManagedCluster])
		if secret.Name != stellarflow.CredentialName(name) {
			continue // it does not count for the hub manager either
		}
		at := slices.IndexFunc(wecs, func(w storedWEC) bool { return w.Name == name })
		if at < 0 {
			at, wecs = len(wecs), append(wecs, storedWEC{Name: name})
		}
		wecs[at].storeSum = string(secret.Data[stellarflow.SecretKeyStoreSum])
		wecs[at].Clients, wecs[at].Err = dialStored(env, secret)
	}
	slices.SortFunc(wecs, func(a, b storedWEC) int { return cmp.Compare(a.Name, b.Name) })
	return wecs, nil
}

// dialStored makes the clients of a stored credential, as the hub manager does.
func dialStored(env Env, secret *corev1.Secret) (*wec.Clients, error) {
	config, err := wec.ParseKubeconfig(secret.Data[stellarflow.SecretKeyKubeconfig], wec.KubeconfigOptions{AllowLoopback: env.AllowLoopback})
	if err != nil {
		return nil, fmt.Errorf("secret %s/%s: %w", secret.Namespace, secret.Name, err)
	}
	return wec.Dial(config)
}

// outdated reports whether the cluster is known to have other credentials than the store's.
func (w storedWEC) outdated(store *artifact.Store) bool {
	return store != nil && w.storeSum != "" && w.storeSum != store.CredentialsSum()
}

// recordedID is the identity that the join found; empty if nobody recorded it.
func (w storedWEC) recordedID() types.UID {
	if w.Cluster == nil {
		return ""
	}
	return types.UID(clusterID(w.Cluster))
}

// identify refuses a cluster that cannot be used, and one that is another than was joined.
func (w storedWEC) identify(ctx context.Context) error {
	if w.Err != nil {
		return fmt.Errorf("cluster %q: %w", w.Name, w.Err)
	}
	system, err := w.Clients.Core.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("cluster %q: read namespace kube-system: %w", w.Name, err)
	}
	if recorded := w.recordedID(); recorded != "" && recorded != system.UID {
		return fmt.Errorf("cluster %q: behind its address is another cluster than the one that was joined (UID of kube-system %s, not %s)", w.Name, system.UID, recorded)
	}
	return nil
}

// copies lists the WEC copies of this hub on a cluster, metadata only.
func (w storedWEC) copies(ctx context.Context, hubID types.UID) ([]metav1.PartialObjectMetadata, error) {
	if err := w.identify(ctx); err != nil {
		return nil, err
	}
	list, err := w.Clients.Metadata.Resource(stellarflow.Workflows).List(ctx, metav1.ListOptions{LabelSelector: stellarflow.LabelOrigin + "=" + string(hubID)})
	if err != nil {
		return nil, fmt.Errorf("cluster %q: list workflows: %w", w.Name, err)
	}
	return list.Items, nil
}

// each calls do for every cluster, side by side, so that one that hangs delays no other. The errors are in the order of the clusters.
func each(ctx context.Context, wecs []storedWEC, do func(ctx context.Context, i int) error) []error {
	errs := make([]error, len(wecs))
	var all sync.WaitGroup
	for i := range wecs {
		all.Go(func() { errs[i] = do(ctx, i) })
	}
	all.Wait()
	return slices.DeleteFunc(errs, func(err error) bool { return err == nil })
}

// readHubID is the UID of the hub's kube-system Namespace.
func readHubID(ctx context.Context, hub client.Client) (types.UID, error) {
	var system corev1.Namespace
	if err := hub.Get(ctx, client.ObjectKey{Name: metav1.NamespaceSystem}, &system); err != nil {
		return "", fmt.Errorf("read the hub's namespace kube-system: %w", err)
	}
	return system.UID, nil
}
