package chaos

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/test/chaos/history"
)

// decoys makes Workflows on the WECs that are not ours. Some have a name that one of ours will want: without a label, with another
// hub's, and one that lies: it says that it is of this hub and belongs to a Workflow that never was. Another such liar runs under a
// name of its own, and nobody may end it on suspicion.
func (r *run) decoys(ctx context.Context, namespace string, plans []plan) error {
	system, err := r.fleet.hub().core.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		return err
	}
	origins := []string{"", "another-hub", string(system.UID), string(system.UID)}
	names := append(wanted(plans, namespace, len(origins)-1), "decoy-orphan")
	for _, cluster := range clusterNames {
		for i, name := range names {
			if err := r.decoy(ctx, cluster, newWorkflow(namespace, name, ""), origins[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// wanted returns names that placed Workflows of a namespace will have, spread over the plans.
func wanted(plans []plan, namespace string, n int) []string {
	var names []string
	for i := range plans {
		if due := len(plans) * len(names) / n; len(names) < n && i >= due && plans[i].namespace == namespace && plans[i].to != "" {
			names = append(names, plans[i].name)
		}
	}
	return names
}

func (r *run) decoy(ctx context.Context, cluster string, w *unstructured.Unstructured, origin string) error {
	labels := map[string]string{history.LabelDecoy: "true", stellarflow.ArgoLabelPhase: "Running", stellarflow.ArgoLabelCompleted: "false"}
	if origin != "" {
		labels[stellarflow.LabelOrigin] = origin
		w.SetAnnotations(map[string]string{stellarflow.AnnotationHubUID: "00000000-0000-0000-0000-000000000000", stellarflow.AnnotationAttempt: "1"})
	}
	w.SetLabels(labels)
	w.Object["status"] = map[string]any{"phase": "Running", "message": "a decoy on " + cluster}
	_, err := r.fleet.servers[cluster].dynamic.Resource(workflows).Namespace(w.GetNamespace()).Create(ctx, w, metav1.CreateOptions{})
	return err
}
