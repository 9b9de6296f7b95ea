package policy

import (
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// placementChanged passes Workflows that were placed or deleted, not each change of their status.
func placementChanged() predicate.Predicate {
	placed := func(workflow client.Object) bool { return workflow.GetLabels()[stellarflow.LabelCluster] != "" }
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return placed(e.Object) },
		UpdateFunc: func(e event.UpdateEvent) bool { return placed(e.ObjectNew) != placed(e.ObjectOld) },
		DeleteFunc: func(e event.DeleteEvent) bool { return placed(e.Object) },
	}
}
