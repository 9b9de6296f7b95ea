package cli

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/cli/diagnosis"
)

// observeWorkflows reads the hub's Workflows, as metadata, and what is left of those that were given up.
func (d *doctor) observeWorkflows(ctx context.Context) error {
	var err error
	if d.workflows, err = listWorkflows(ctx, d.hub); err != nil {
		return err
	}
	for i := range d.workflows {
		workflow := &d.workflows[i]
		placement, placed := stellarflow.PlacementOf(workflow)
		if !placed {
			continue
		}
		d.placed++
		w := diagnosis.Workflow{
			Namespace: workflow.Namespace, Name: workflow.Name, Cluster: placement.Cluster, Finished: stellarflow.Completed(workflow),
			Sync: workflow.Annotations[stellarflow.AnnotationSync], Request: workflow.Annotations[stellarflow.AnnotationRequest],
		}
		if workflow.DeletionTimestamp != nil {
			w.Deleted = workflow.DeletionTimestamp.Time
		}
		d.facts.Workflows = append(d.facts.Workflows, w)
	}
	var tombstones corev1.ConfigMapList
	if err := d.hub.List(ctx, &tombstones, client.InNamespace(stellarflow.SystemNamespace), client.HasLabels{stellarflow.LabelTombstone}); err != nil {
		return fmt.Errorf("list what is left of given-up Workflows: %w", err)
	}
	for i := range tombstones.Items {
		stone := &tombstones.Items[i]
		since, err := time.Parse(time.RFC3339, stone.Data["time"])
		if err != nil {
			since = stone.CreationTimestamp.Time
		}
		d.facts.Tombstones = append(d.facts.Tombstones, diagnosis.Tombstone{
			Name: stone.Name, Workflow: stone.Data["namespace"] + "/" + stone.Data["name"],
			Cluster: stellarflow.ClusterName(stone.Labels[stellarflow.LabelTombstone]), Since: since,
		})
	}
	return nil
}
