package tombstone

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// Index is the index of the cached tombstones: by cluster name, and by the cluster's identity with the Workflow's key.
const Index = "stellarflow.tombstone"

// IndexConfigMap is the client.IndexerFunc of Index. What cannot be parsed is in no index.
func IndexConfigMap(object client.Object) []string {
	configMap, ok := object.(*corev1.ConfigMap)
	if !ok {
		return nil
	}
	t, err := Parse(configMap)
	if err != nil {
		return nil
	}
	return []string{string(t.Cluster), exact(t.ClusterID, t.Workflow)}
}

func exact(id types.UID, workflow types.NamespacedName) string {
	return string(id) + "/" + workflow.String()
}

// Store reads and writes tombstones.
type Store struct {
	// Client reads from the cache, which has Index, and writes; Live reads from the API server.
	Client client.Client
	Live   client.Reader
}

// Put stores a tombstone. One that an earlier try left is replaced, so that whoever is about to remove that one does not remove
// this.
func (s *Store) Put(ctx context.Context, t Tombstone) error {
	err := s.Client.Create(ctx, t.ConfigMap())
	if err == nil || !apierrors.IsAlreadyExists(err) {
		return wrap("create", t, err)
	}
	var existing corev1.ConfigMap
	if err := s.Live.Get(ctx, client.ObjectKey{Namespace: stellarflow.SystemNamespace, Name: t.Name()}, &existing); err != nil {
		return wrap("read", t, err)
	}
	old, err := Parse(&existing)
	if err != nil {
		return err
	}
	if old.ClusterID != t.ClusterID || old.Workflow != t.Workflow {
		return fmt.Errorf("tombstone %s exists and names another copy: delete that ConfigMap", t.Name())
	}
	if err := s.Remove(ctx, old); err != nil {
		return err
	}
	return wrap("create", t, s.Client.Create(ctx, t.ConfigMap()))
}

// For returns the cached tombstones of a Workflow on the cluster with an identity, by name.
func (s *Store) For(ctx context.Context, id types.UID, workflow types.NamespacedName) ([]Tombstone, error) {
	return s.list(ctx, exact(id, workflow))
}

// On returns the cached tombstones of a cluster, by name.
func (s *Store) On(ctx context.Context, cluster stellarflow.ClusterName) ([]Tombstone, error) {
	return s.list(ctx, string(cluster))
}

func (s *Store) list(ctx context.Context, value string) ([]Tombstone, error) {
	var list corev1.ConfigMapList
	if err := s.Client.List(ctx, &list, client.InNamespace(stellarflow.SystemNamespace), client.MatchingFields{Index: value}); err != nil {
		return nil, fmt.Errorf("list the tombstones of %q: %w", value, err)
	}
	var found []Tombstone
	for i := range list.Items {
		if t, err := Parse(&list.Items[i]); err == nil && list.Items[i].DeletionTimestamp == nil {
			found = append(found, t)
		}
	}
	slices.SortFunc(found, func(a, b Tombstone) int { return strings.Compare(a.Name(), b.Name()) })
	return found, nil
}

// Remove deletes a tombstone that was read before, and no other of its name.
func (s *Store) Remove(ctx context.Context, t Tombstone) error {
	return wrap("delete", t, client.IgnoreNotFound(s.Client.Delete(ctx, t.ConfigMap(), client.Preconditions{UID: &t.Object})))
}

func wrap(action string, t Tombstone, err error) error {
	if err != nil {
		return fmt.Errorf("%s tombstone %s: %w", action, t.Name(), err)
	}
	return nil
}
