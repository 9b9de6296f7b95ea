package upsync

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// TestMirrorArchive is when a hub copy is labelled for the archive of the hub's Argo controller: once for each end.
func TestMirrorArchive(t *testing.T) {
	const label = "workflows.argoproj.io~1workflow-archiving-status"
	const pending, gone = `{"op":"add","path":"/metadata/labels/` + label + `","value":"Pending"}`, `{"op":"remove","path":"/metadata/labels/` + label + `"`
	const ends, other = `{"finishedAt":"2026-01-02T03:04:05Z","phase":"Succeeded"}`, `{"finishedAt":"2026-01-02T03:03:00Z","phase":"Failed"}`
	cases := map[string]struct {
		reason    string
		archive   string
		ended     bool   // the hub copy was labelled completed
		archiving string // its archiving status
		same      bool   // it shows what the WEC says
		running   bool   // the WEC copy runs
		live      string // its status
		want      string // "pending", "gone" or "none"
	}{
		"First":       {"its end", "all", false, "", false, false, "", "pending"},
		"LabelOnly":   {"its end was shown, the label was lost with the answer", "all", false, "", true, false, "", "pending"},
		"Selected":    {"as the controller's ConfigMap says", "mine=yes", false, "", false, false, "", "pending"},
		"ByPhase":     {"with the labels of the end", phaseLabel + "=Succeeded", false, "", false, false, "", "pending"},
		"NotSelected": {"as the controller's ConfigMap says", "mine=no", false, "", false, false, "", "none"},
		"Off":         {"the controller would write Archived, and no archive would have it", "none", false, "", false, false, "", "none"},
		"Running":     {"not before its end", "all", false, "", false, true, "", "none"},
		"Again":       {"the same end with another status: Argo archives once", "all", true, "Archived", false, false, strings.Replace(ends, "}", `,"progress":"1/1"}`, 1), "none"},
		"Settled":     {"nothing has changed", "all", true, "Archived", true, false, "", "none"},
		"Missed":      {"a retry that was never seen to run has another end", "all", true, "Archived", false, false, other, "pending"},
		"Hastily":     {"and the cache is behind the archive", "all", true, "Pending", false, false, other, "pending"},
		"Retried":     {"it runs again", "all", true, "Archived", false, true, "", "gone"},
		"RetriedOff":  {"also when there is no archive any more", "none", true, "Archived", false, true, "", "gone"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			current := wecCopy(ends, phaseLabel, "Succeeded", completedLabel, "true", stellarflow.ArgoLabelArchivingStatus, "Archived")
			if tc.running {
				current = wecCopy(`{"phase":"Running"}`, phaseLabel, "Running", stellarflow.ArgoLabelArchivingStatus, "Archived")
			}
			current.Metadata.UID, current.Metadata.ResourceVersion = "wec-1", "101"
			observed := "wec-1/100/7/old"
			if tc.same {
				rendered, err := Render(current, Rules{})
				if err != nil {
					t.Fatal(err)
				}
				observed = "wec-1/100/7/" + rendered.Hash
			}
			hubCopy := hubCopy(recordKnown, observed)
			if tc.ended {
				hubCopy.Labels[completedLabel], hubCopy.Labels[phaseLabel] = "true", "Succeeded"
			}
			if tc.archiving != "" {
				hubCopy.Labels[stellarflow.ArgoLabelArchivingStatus] = tc.archiving
			}
			h := &hub{}
			if tc.live != "" {
				h.live = live(tc.live, "hub-1", "7")
			}
			m := h.mirrorer(t)
			var err error
			if m.Hub.Archive, err = stellarflow.ParseArchive(tc.archive); err != nil {
				t.Fatal(err)
			}
			pass := Pass{Key: types.NamespacedName{Namespace: "argo", Name: "w"}, HubCopy: hubCopy, Placement: recordKnown, WECCopy: current}
			if _, err := m.Mirror(t.Context(), pass); err != nil || len(h.patches) > 1 {
				t.Fatalf("%s: Mirror() = %v, %v", tc.reason, err, h.patches)
			}
			patch := strings.Join(h.patches, "")
			got := "none"
			if strings.Contains(patch, pending) {
				got = "pending"
			} else if strings.Contains(patch, gone) {
				got = "gone"
			}
			if got != tc.want || got == "none" && strings.Contains(patch, label) {
				t.Errorf("%s: %s, want %s: %s", tc.reason, got, tc.want, patch)
			}
		})
	}
}

// TestMirrorArchiveRaces: what was read is not what the pass was made from.
func TestMirrorArchiveRaces(t *testing.T) {
	current := wecCopy(`{"finishedAt":"2026-01-02T03:04:05Z","phase":"Succeeded"}`, phaseLabel, "Succeeded", completedLabel, "true")
	current.Metadata.UID, current.Metadata.ResourceVersion = "wec-1", "101"
	for reason, h := range map[string]*hub{
		"it is gone": {}, "another has its name": {live: live(`{}`, "hub-2", "7")}, "it has changed": {live: live(`{}`, "hub-1", "8")}, "no answer": {refuse: 500},
	} {
		hubCopy := hubCopy(recordKnown, "wec-1/100/7/old")
		hubCopy.Labels[completedLabel] = "true"
		m := h.mirrorer(t)
		m.Hub.Archive, _ = stellarflow.ParseArchive("all")
		pass := Pass{Key: types.NamespacedName{Namespace: "argo", Name: "w"}, HubCopy: hubCopy, Placement: recordKnown, WECCopy: current}
		if _, err := m.Mirror(t.Context(), pass); err == nil || len(h.patches) > 0 {
			t.Errorf("%s: %v, %v", reason, err, h.patches)
		}
	}
}
