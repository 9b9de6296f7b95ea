package placement

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/cluster"
	"stellarflow.io/stellarflow/pkg/wec"
)

func TestRefusal(t *testing.T) {
	connected := &cluster.State{Name: "cluster1", Connected: true, Facts: wec.Facts{ID: "id-1"}}
	type change = func(*metav1.PartialObjectMetadata, *stellarflow.Placement)
	deleting := func(w *metav1.PartialObjectMetadata, _ *stellarflow.Placement) {
		w.DeletionTimestamp = &metav1.Time{Time: time.Unix(0, 0)}
	}
	ended := func(w *metav1.PartialObjectMetadata, _ *stellarflow.Placement) {
		w.Labels[stellarflow.ArgoLabelCompleted] = "true"
	}
	givenUp := func(w *metav1.PartialObjectMetadata, _ *stellarflow.Placement) {
		w.Annotations[stellarflow.AnnotationAbandoned] = "2026-01-01T00:00:00Z"
	}
	notPlaced := func(_ *metav1.PartialObjectMetadata, p *stellarflow.Placement) { p.UID = "hub-2" }
	seen := func(_ *metav1.PartialObjectMetadata, p *stellarflow.Placement) { p.WECUID = "wec-1" }
	for name, test := range map[string]struct {
		request string
		changes []change
		state   *cluster.State
		says    string // empty: it is done
		// restored is when the hub was restored from a backup; the placement is of 2026-01-02.
		restored time.Time
	}{
		"unknown":                     {"stop", nil, connected, `stellarflow.io/request="stop" is unknown: abandon gives the Workflow up, move places one that never started on another cluster`, time.Time{}},
		"empty":                       {"", nil, connected, `stellarflow.io/request="" is unknown`, time.Time{}},
		"unknown, not placed":         {"stop", []change{notPlaced}, nil, `"stop" is unknown`, time.Time{}},
		"abandon, not placed":         {"abandon", []change{notPlaced}, nil, "it is not placed on a cluster, so there is nothing to abandon: delete it if it is not wanted", time.Time{}},
		"move, not placed":            {"move", []change{notPlaced}, nil, "nothing to move", time.Time{}},
		"abandon":                     {"abandon", nil, connected, "", time.Time{}},
		"abandon, no connection":      {"abandon", nil, nil, "", time.Time{}},
		"abandon, deleting":           {"abandon", []change{deleting}, nil, "", time.Time{}},
		"abandon, seen":               {"abandon", []change{seen}, nil, "", time.Time{}},
		"abandon, ended":              {"abandon", []change{ended}, connected, "it has ended: delete it", time.Time{}},
		"abandon, ended, deleting":    {"abandon", []change{ended, deleting}, nil, "", time.Time{}},
		"abandon again":               {"abandon", []change{ended, givenUp}, nil, "", time.Time{}},
		"move":                        {"move", nil, connected, "", time.Time{}},
		"move, given up":              {"move", []change{ended, givenUp}, connected, "it was given up: resubmit it", time.Time{}},
		"move, deleting":              {"move", []change{deleting}, connected, "it is being deleted", time.Time{}},
		"move, ended":                 {"move", []change{ended}, connected, "it has ended: resubmit it", time.Time{}},
		"move, seen":                  {"move", []change{seen}, connected, "its copy was seen on cluster cluster1 and may have run: give it up", time.Time{}},
		"move, no connection":         {"move", nil, nil, "cluster cluster1 cannot be reached, so nobody knows whether it runs there: wait until it is back, or give it up", time.Time{}},
		"move, away":                  {"move", nil, &cluster.State{Facts: wec.Facts{ID: "id-1"}}, "cannot be reached", time.Time{}},
		"move, another cluster":       {"move", nil, &cluster.State{Connected: true, Facts: wec.Facts{ID: "id-2"}}, "behind the name cluster1 is another cluster now", time.Time{}},
		"move, wrong clock":           {"move", nil, &cluster.State{Connected: true, Reason: wec.ReasonClockSkew, Facts: wec.Facts{ID: "id-1"}}, "", time.Time{}},
		"move, hub restored since":    {"move", nil, connected, "the hub was restored from a backup at 2026-01-03T00:00:00Z", time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC)},
		"move, hub restored before":   {"move", nil, connected, "", time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)},
		"abandon, hub restored since": {"abandon", nil, connected, "", time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC)},
	} {
		t.Run(name, func(t *testing.T) {
			workflow := stellarflow.NewWorkflowMetadata()
			placement := stellarflow.Placement{UID: "hub-1", Cluster: "cluster1", ClusterID: "id-1", Attempt: 1, Time: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)}
			workflow.UID, workflow.Labels = "hub-1", map[string]string{stellarflow.LabelCluster: "cluster1"}
			workflow.Annotations = map[string]string{stellarflow.AnnotationRequest: test.request}
			for _, change := range test.changes {
				change(workflow, &placement)
			}
			workflow.Annotations[stellarflow.AnnotationPlacement] = placement.String()
			got := refusal(workflow, test.state, test.restored)
			if (got == "") != (test.says == "") || !strings.Contains(got, test.says) {
				t.Errorf("it says %q, want %q", got, test.says)
			}
		})
	}
}

func TestHeldBack(t *testing.T) {
	restored := time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)
	for name, test := range map[string]struct {
		at, restored time.Time
		held         bool
	}{
		"never restored":    {restored, time.Time{}, false},
		"from before":       {restored.Add(-time.Hour), restored, true},
		"in that second":    {restored.Truncate(time.Second), restored, true},
		"from after":        {restored.Add(time.Second), restored, false},
		"at that very time": {restored, restored, true},
	} {
		t.Run(name, func(t *testing.T) {
			if why := heldBack(test.at, test.restored); (why != "") != test.held {
				t.Errorf("it says %q", why)
			}
		})
	}
	if why := heldBack(restored, restored); why != "the hub was restored from a backup at 2026-01-02T03:04:05Z, and whether this has run before cannot be known: resubmit it to run it, or delete it" {
		t.Errorf("it says %q", why)
	}
}
