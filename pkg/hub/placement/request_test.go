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
	}{
		"unknown":                  {"stop", nil, connected, `stellarflow.io/request="stop" is unknown: abandon gives the Workflow up, move places one that never started on another cluster`},
		"empty":                    {"", nil, connected, `stellarflow.io/request="" is unknown`},
		"unknown, not placed":      {"stop", []change{notPlaced}, nil, `"stop" is unknown`},
		"abandon, not placed":      {"abandon", []change{notPlaced}, nil, "it is not placed on a cluster, so there is nothing to abandon: delete it if it is not wanted"},
		"move, not placed":         {"move", []change{notPlaced}, nil, "nothing to move"},
		"abandon":                  {"abandon", nil, connected, ""},
		"abandon, no connection":   {"abandon", nil, nil, ""},
		"abandon, deleting":        {"abandon", []change{deleting}, nil, ""},
		"abandon, seen":            {"abandon", []change{seen}, nil, ""},
		"abandon, ended":           {"abandon", []change{ended}, connected, "it has ended: delete it"},
		"abandon, ended, deleting": {"abandon", []change{ended, deleting}, nil, ""},
		"abandon again":            {"abandon", []change{ended, givenUp}, nil, ""},
		"move":                     {"move", nil, connected, ""},
		"move, given up":           {"move", []change{ended, givenUp}, connected, "it was given up: resubmit it"},
		"move, deleting":           {"move", []change{deleting}, connected, "it is being deleted"},
		"move, ended":              {"move", []change{ended}, connected, "it has ended: resubmit it"},
		"move, seen":               {"move", []change{seen}, connected, "its copy was seen on cluster cluster1 and may have run: give it up"},
		"move, no connection":      {"move", nil, nil, "cluster cluster1 cannot be reached, so nobody knows whether it runs there: wait until it is back, or give it up"},
		"move, away":               {"move", nil, &cluster.State{Facts: wec.Facts{ID: "id-1"}}, "cannot be reached"},
		"move, another cluster":    {"move", nil, &cluster.State{Connected: true, Facts: wec.Facts{ID: "id-2"}}, "behind the name cluster1 is another cluster now"},
		"move, wrong clock":        {"move", nil, &cluster.State{Connected: true, Reason: wec.ReasonClockSkew, Facts: wec.Facts{ID: "id-1"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			workflow := stellarflow.NewWorkflowMetadata()
			placement := stellarflow.Placement{UID: "hub-1", Cluster: "cluster1", ClusterID: "id-1", Attempt: 1}
			workflow.UID, workflow.Labels = "hub-1", map[string]string{stellarflow.LabelCluster: "cluster1"}
			workflow.Annotations = map[string]string{stellarflow.AnnotationRequest: test.request}
			for _, change := range test.changes {
				change(workflow, &placement)
			}
			workflow.Annotations[stellarflow.AnnotationPlacement] = placement.String()
			got := refusal(workflow, test.state)
			if (got == "") != (test.says == "") || !strings.Contains(got, test.says) {
				t.Errorf("it says %q, want %q", got, test.says)
			}
		})
	}
}
