package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// placedWorkflow is a hub copy with a placement that counts.
type placedWorkflow struct {
	Namespace, Name string
	Placement       stellarflow.Placement
	Finished        bool
	Finalizers      []string
}

// listWorkflows lists the hub's Workflows, metadata only; none if the hub does not serve the kind.
func listWorkflows(ctx context.Context, hub client.Client, options ...client.ListOption) ([]metav1.PartialObjectMetadata, error) {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(stellarflow.WorkflowKind.GroupVersion().WithKind("WorkflowList"))
	if err := hub.List(ctx, list, options...); err != nil && !isNoMatch(err) {
		return nil, fmt.Errorf("list workflows: %w", err)
	}
	return list.Items, nil
}

// listPlaced lists the hub copies that are placed, metadata only, sorted by namespace and name.
func listPlaced(ctx context.Context, hub client.Client) ([]placedWorkflow, error) {
	workflows, err := listWorkflows(ctx, hub, client.HasLabels{stellarflow.LabelCluster})
	if err != nil {
		return nil, err
	}
	var placed []placedWorkflow
	for i := range workflows {
		item := &workflows[i]
		if placement, counts := stellarflow.PlacementOf(item); counts {
			placed = append(placed, placedWorkflow{item.Namespace, item.Name, placement, stellarflow.Completed(item), item.Finalizers})
		}
	}
	slices.SortFunc(placed, func(a, b placedWorkflow) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return placed, nil
}

// unfinished are the placed Workflows that have not ended, on one cluster or, if it is empty, on any.
func unfinished(placed []placedWorkflow, cluster stellarflow.ClusterName) []placedWorkflow {
	var found []placedWorkflow
	for _, workflow := range placed {
		if !workflow.Finished && (cluster == "" || workflow.Placement.Cluster == cluster) {
			found = append(found, workflow)
		}
	}
	return found
}

// keysOf are the namespaces and names of Workflows.
func keysOf(workflows []placedWorkflow) []string {
	keys := make([]string, 0, len(workflows))
	for _, workflow := range workflows {
		keys = append(keys, workflow.Namespace+"/"+workflow.Name)
	}
	return keys
}

// listed writes at most 20 Workflows, one a line.
func listed(workflows []placedWorkflow) string {
	const most = 20
	var out strings.Builder
	for i, workflow := range workflows {
		if i == most {
			_, _ = fmt.Fprintf(&out, "\n  and %d more", len(workflows)-most)
			break
		}
		_, _ = fmt.Fprintf(&out, "\n  %s/%s on %s", workflow.Namespace, workflow.Name, workflow.Placement.Cluster)
	}
	return out.String()
}
