package upsync

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// TestMirrorSuspend is when spec.suspend of a hub copy is written, and as what.
func TestMirrorSuspend(t *testing.T) {
	const status = `{"phase":"Running"}`
	const off, on, none = `"path":"/spec/suspend","value":false`, `"path":"/spec/suspend","value":true`, `"path":"/spec/suspend"`
	waiting := `[{"id":"a","kind":"suspend","caller":"bob","time":"2026-01-01T00:00:00Z"}]`
	cases := map[string]struct {
		reason      string
		profile     stellarflow.Profile
		suspended   bool // on the WEC
		annotations map[string]string
		settled     *Settled
		hub         hub
		want        string
		written     bool
	}{
		"Shared":    {"it is always true there", stellarflow.ProfileShared, true, nil, nil, hub{}, none, true},
		"Status":    {"it goes with the status", stellarflow.ProfileDedicated, false, map[string]string{stellarflow.AnnotationFollows: "suspend"}, nil, hub{}, off, true},
		"Suspended": {"likewise", stellarflow.ProfileDedicated, true, map[string]string{stellarflow.AnnotationFollows: "suspend"}, nil, hub{}, on, true},
		"First":     {"the hub was a shared one when it was placed", stellarflow.ProfileDedicated, false, nil, nil, hub{}, off, true},
		"Waiting": {
			"a person's word stands", stellarflow.ProfileDedicated, false,
			map[string]string{stellarflow.AnnotationFollows: "suspend", stellarflow.AnnotationIntents: waiting},
			nil,
			hub{},
			none, true,
		},
		"Refused": {
			"and goes when the cluster has refused it", stellarflow.ProfileDedicated, false,
			map[string]string{stellarflow.AnnotationFollows: "suspend", stellarflow.AnnotationIntents: waiting},
			&Settled{Refused: "no"},
			hub{live: strings.Replace(live(status, "hub-1", "7"), `"status"`, `"spec":{"suspend":true},"status"`, 1)},
			off, true,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			current := wecCopy(status, phaseLabel, "Running")
			current.Metadata.UID, current.Metadata.ResourceVersion, current.Spec.Suspend = "wec-1", "101", tc.suspended
			hubCopy := hubCopy(recordKnown, "wec-1/100/7/old")
			for key, value := range tc.annotations {
				hubCopy.Annotations[key] = value
			}
			h := tc.hub
			m := h.mirrorer(t)
			m.Profile = tc.profile
			pass := Pass{Key: types.NamespacedName{Namespace: "argo", Name: "w"}, HubCopy: hubCopy, Placement: recordKnown, WECCopy: current, Settled: tc.settled}
			if written, err := m.Mirror(t.Context(), pass); err != nil || (written != nil) != tc.written || len(h.patches) > 1 {
				t.Fatalf("%s: Mirror() = %v, %v, %v", tc.reason, written, err, h.patches)
			}
			if has := strings.Contains(h.patches[0], tc.want); has == (tc.want == none) {
				t.Errorf("%s: %s", tc.reason, h.patches[0])
			}
		})
	}
}
