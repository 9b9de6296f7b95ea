// Package inventory builds what bindingpolicy.Resolve sees of the clusters: their labels, whether they can be used, and how
// many unfinished Workflows are placed on each. pkg/hub/placement and pkg/hub/policy read it.
package inventory

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/bindingpolicy"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/cluster"
)

// The index of the Workflow cache: by cluster for placed, unfinished hub copies, by Ending for finished ones that something is left to do
// for, and Waiting for unfinished Workflows that are not placed.
const (
	Index   = "stellarflow.placed"
	Waiting = "-" // no DNS label, as those of Ending
)

// Ending returns the value of Index for the finished hub copies of a cluster that are being deleted, or of which something is asked.
func Ending(cluster stellarflow.ClusterName) string { return "ending/" + string(cluster) }

// IndexWorkflow is the client.IndexerFunc of Index.
func IndexWorkflow(object client.Object) []string {
	placement, placed := stellarflow.PlacementOf(object)
	switch completed := stellarflow.Completed(object); {
	case placed && !completed:
		return []string{string(placement.Cluster)}
	case placed && (object.GetDeletionTimestamp() != nil || object.GetAnnotations()[stellarflow.AnnotationIntents] != ""):
		return []string{Ending(placement.Cluster)}
	case !placed && !completed:
		return []string{Waiting}
	}
	return nil
}

// Indexed returns the metadata of the Workflows with a value of Index. They must not be changed.
func Indexed(ctx context.Context, cache client.Reader, value string) ([]metav1.PartialObjectMetadata, error) {
	var list metav1.PartialObjectMetadataList
	list.SetGroupVersionKind(stellarflow.WorkflowKind.GroupVersion().WithKind("WorkflowList"))
	if err := cache.List(ctx, &list, client.MatchingFields{Index: value}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list the Workflows of %q: %w", value, err)
	}
	return list.Items, nil
}

// Connections knows the state of a cluster's connection.
type Connections interface {
	Get(stellarflow.ClusterName) (*cluster.Connection, bool)
}

// List returns all ManagedClusters as placement sees them, with the Workflows that the cache shows as unfinished there.
func List(ctx context.Context, cache client.Reader, connections Connections) ([]bindingpolicy.Cluster, error) {
	var managed clusterv1.ManagedClusterList
	if err := cache.List(ctx, &managed); err != nil {
		return nil, fmt.Errorf("list the managed clusters: %w", err)
	}
	clusters := make([]bindingpolicy.Cluster, 0, len(managed.Items))
	for i := range managed.Items {
		name := stellarflow.ClusterName(managed.Items[i].Name)
		placed, err := Indexed(ctx, cache, string(name))
		if err != nil {
			return nil, err
		}
		clusters = append(clusters, bindingpolicy.Cluster{
			Name: name, Labels: managed.Items[i].Labels, Unfinished: len(placed), Unhealthy: unhealthy(&managed.Items[i], connections),
		})
	}
	return clusters, nil
}

func unhealthy(managed *clusterv1.ManagedCluster, connections Connections) string {
	name := stellarflow.ClusterName(managed.Name)
	connection, found := connections.Get(name)
	if !found {
		for _, condition := range managed.Status.Conditions {
			if condition.Type == stellarflow.ConditionConnected && condition.Status == metav1.ConditionFalse {
				return condition.Message
			}
		}
		return fmt.Sprintf("it has not joined: run `stellarflow join %s`", name)
	}
	if state := connection.State(); !state.Healthy() {
		return state.Message
	}
	return ""
}
