package upsync

import (
	"context"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// archives reports whether the hub's Argo controller is to archive the hub copy: once for each end, which a retry that was never seen to run
// has too. What changes of a status after its end is not archived again, as in Argo.
func (m *Mirrorer) archives(ctx context.Context, pass Pass, rendered Rendered, writes bool) (bool, error) {
	labels := map[string]*string{}
	wanted(labels, rendered.Labels, carriedLabels)
	switch {
	case rendered.Labels[stellarflow.ArgoLabelCompleted] != "true" || m.Hub.Archiving(pass.HubCopy, labels) == nil:
		return false, nil
	case !stellarflow.Completed(pass.HubCopy):
		return true, nil
	case !writes:
		return false, nil
	}
	live, err := m.live(ctx, pass)
	if err != nil {
		return false, err
	}
	shown, _, _ := unstructured.NestedString(live.Object, "status", "finishedAt")
	var status struct {
		FinishedAt string `json:"finishedAt"`
	}
	if err := json.Unmarshal(rendered.Status, &status); err != nil {
		return false, fmt.Errorf("workflow %s: read its end: %w", pass.Key, err)
	}
	return shown != status.FinishedAt, nil
}
