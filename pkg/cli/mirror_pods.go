package cli

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/podmirror"
)

// removeVirtual removes the mirrored pods and the virtual Nodes of the hub, once no manager makes them again.
func removeVirtual(ctx context.Context, hub client.Client, report func(what string)) error {
	var pods corev1.PodList
	if err := hub.List(ctx, &pods, client.HasLabels{stellarflow.LabelMirrorOf}); err != nil {
		return fmt.Errorf("list the mirrored pods: %w", err)
	}
	for i := range pods.Items {
		if err := hub.Delete(ctx, &pods.Items[i], client.GracePeriodSeconds(0)); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete mirrored pod %s/%s: %w", pods.Items[i].Namespace, pods.Items[i].Name, err)
		}
	}
	var nodes corev1.NodeList
	if err := hub.List(ctx, &nodes, client.HasLabels{stellarflow.LabelCluster}); err != nil {
		return fmt.Errorf("list the virtual nodes: %w", err)
	}
	for i := range nodes.Items {
		if _, ours := podmirror.OfCluster(&nodes.Items[i]); !ours {
			continue
		}
		if err := hub.Delete(ctx, &nodes.Items[i]); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete virtual node %s: %w", nodes.Items[i].Name, err)
		}
		report("Node " + nodes.Items[i].Name)
	}
	return nil
}
