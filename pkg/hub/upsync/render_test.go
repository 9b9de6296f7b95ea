package upsync

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// rules are those of a hub with a store.
var rules = Rules{Bucket: "artifacts", Endpoint: "minio:9000", Repository: map[string]any{"default": true}}

// wecCopy is a WEC copy with a status and labels in pairs.
func wecCopy(status string, labels ...string) WECCopy {
	c := WECCopy{Status: json.RawMessage(status), Metadata: metav1.ObjectMeta{Labels: map[string]string{}}}
	for i := 0; i < len(labels); i += 2 {
		c.Metadata.Labels[labels[i]] = labels[i+1]
	}
	return c
}

const (
	phaseLabel     = stellarflow.ArgoLabelPhase
	completedLabel = stellarflow.ArgoLabelCompleted
)

func TestRender(t *testing.T) {
	full := wecCopy(`{"phase":"Succeeded","startedAt":"2026-01-02T03:04:05Z"}`,
		phaseLabel, "Succeeded", completedLabel, "true", stellarflow.ArgoLabelWorkflowTemplate, "t", stellarflow.ArgoLabelClusterWorkflowTemplate, "ct",
		"evil", "yes", stellarflow.LabelCluster, "cluster2", "workflows.argoproj.io/workflow-archiving-status", "Archived")
	full.Metadata.Annotations = map[string]string{stellarflow.ArgoAnnotationPodNameFormat: "v2", stellarflow.AnnotationPlacement: "{}", "evil": "yes"}
	full.Spec.Shutdown = "Stop"
	none := map[string]string{}
	cases := map[string]struct {
		reason string
		copy   WECCopy
		rules  Rules
		want   Rendered
	}{
		"Full": {"only Argo's keys from the fixed list travel", full, Rules{}, Rendered{
			Status: json.RawMessage(`{"phase":"Succeeded","startedAt":"2026-01-02T03:04:05Z"}`),
			Labels: map[string]string{
				phaseLabel: "Succeeded", completedLabel: "true", stellarflow.ArgoLabelWorkflowTemplate: "t", stellarflow.ArgoLabelClusterWorkflowTemplate: "ct",
			},
			Annotations: map[string]string{stellarflow.ArgoAnnotationPodNameFormat: "v2"}, Terminal: true,
		}},
		"NoStatus":    {"Argo has not looked at it", wecCopy(""), rules, Rendered{Labels: none, Annotations: none}},
		"NullStatus":  {"nor here", wecCopy("null"), rules, Rendered{Labels: none, Annotations: none}},
		"EmptyStatus": {"nor here", wecCopy("{}"), rules, Rendered{Labels: none, Annotations: none}},
		"NoPhase": {"a status without a phase, as of a memoized resubmit", wecCopy(`{"nodes":{}}`), Rules{}, Rendered{
			Status: json.RawMessage(`{"nodes":{}}`), Labels: none, Annotations: none,
		}},
		"NullPhase": {"the same", wecCopy(`{"phase":null}`), Rules{}, Rendered{Status: json.RawMessage(`{"phase":null}`), Labels: none, Annotations: none}},
		"Repository": {"the hub's own repository replaces the WEC's", wecCopy(`{"phase":"Running","artifactRepositoryRef":{"artifactRepository":{"s3":{"endpoint":"evil"}}}}`), rules, Rendered{
			Status: json.RawMessage(`{"artifactRepositoryRef":{"default":true},"phase":"Running"}`), Labels: none, Annotations: none,
		}},
		"NoRepository": {"without a store there is none", wecCopy(`{"phase":"Running","artifactRepositoryRef":{"configMap":"evil"}}`), Rules{}, Rendered{
			Status: json.RawMessage(`{"phase":"Running"}`), Labels: none, Annotations: none,
		}},
		"Dropped": {
			"locks and offloaded nodes mean nothing on the hub, in whatever case",
			wecCopy(`{"phase":"Running","synchronization":{"mutex":{}},"offloadNodeStatusVersion":"fnv:1","Synchronization":{},"COMPRESSEDNODES":"x","Nodes":{"n":{}}}`),
			Rules{},
			Rendered{
				Status: json.RawMessage(`{"phase":"Running"}`), Labels: none, Annotations: none,
			},
		},
		"Numbers": {
			"no whole number passes through a float",
			wecCopy(`{"phase":"Running","estimatedDuration":9007199254740993,"x":[1.10]}`),
			Rules{},
			Rendered{
				Status: json.RawMessage(`{"estimatedDuration":9007199254740993,"phase":"Running","x":[1.1]}`), Labels: none, Annotations: none,
			},
		},
		"Ended": {"the phase may come before the label", wecCopy(`{"phase":"Error"}`), Rules{}, Rendered{
			Status: json.RawMessage(`{"phase":"Error"}`), Labels: none, Annotations: none, Terminal: true,
		}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			before := string(tc.copy.Status)
			got, err := Render(tc.copy, tc.rules)
			if err != nil {
				t.Fatalf("%s: %v", tc.reason, err)
			}
			if len(got.Hash) != 16 {
				t.Errorf("the hash %q is not 16 digits", got.Hash)
			}
			got.Hash = ""
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s: -want +got:\n%s", tc.reason, diff)
			}
			if string(tc.copy.Status) != before {
				t.Errorf("the WEC copy was changed to %s", tc.copy.Status)
			}
		})
	}
}

func TestRenderPhases(t *testing.T) {
	for phase, terminal := range map[string]bool{"": false, "Pending": false, "Running": false, "Succeeded": true, "Failed": true, "Error": true} {
		got, err := Render(wecCopy(`{"phase":"`+phase+`"}`, phaseLabel, phase), Rules{})
		if err != nil || got.Terminal != terminal {
			t.Errorf("phase %q: terminal is %v, %v, want %v", phase, got.Terminal, err, terminal)
		}
	}
}

func TestRenderRefuses(t *testing.T) {
	cases := map[string]struct {
		reason string
		copy   WECCopy
		err    string
	}{
		"NoObject":       {"a status is an object", wecCopy(`[1]`), "json: cannot unmarshal array into Go value of type map[string]interface {}"},
		"UnknownPhase":   {"users' tools decide by the phase", wecCopy(`{"phase":"Won"}`), "phase Won is none of Argo's"},
		"NodePhase":      {"a phase of nodes is none of Workflows", wecCopy(`{"phase":"Skipped"}`), "phase Skipped is none of Argo's"},
		"PhaseNoText":    {"a number is none", wecCopy(`{"phase":1}`), "phase 1 is none of Argo's"},
		"UnknownLabel":   {"argo list selects by the label", wecCopy(`{"phase":"Running"}`, phaseLabel, "Won"), `label workflows.argoproj.io/phase="Won" is none of Argo's phases`},
		"EarlyCompleted": {"the hub's TTL would delete a running Workflow", wecCopy(`{"phase":"Running"}`, completedLabel, "true"), "it is labelled completed but its phase is not terminal"},
		"NoStatusEnded":  {"also without a status", wecCopy("", completedLabel, "true"), "it is labelled completed but its phase is not terminal"},
		"NoBase64":       {"nodes that nobody can read", wecCopy(`{"phase":"Running","compressedNodes":"!"}`), "compressedNodes: illegal base64 data at input byte 0"},
		"NoGzip":         {"nodes that nobody can read", wecCopy(`{"phase":"Running","compressedNodes":"aGVsbG8gd29ybGQ="}`), "compressedNodes: gzip: invalid header"},
		"Huge":           {"it does not fit into etcd", wecCopy(`{"phase":"Running","message":"` + strings.Repeat("m", maxStatusBytes) + `"}`), "without its nodes it still has "},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := Render(tc.copy, rules)
			if !errors.Is(err, ErrNotMirrorable) {
				t.Fatalf("%s: Render() = %+v, %v, want ErrNotMirrorable", tc.reason, got, err)
			}
			if !strings.HasPrefix(err.Error(), ErrNotMirrorable.Error()+": "+tc.err) {
				t.Errorf("%s: the error is %q, want %q", tc.reason, err, tc.err)
			}
		})
	}
}

func TestDecode(t *testing.T) {
	got, err := Decode([]byte(`{"metadata":{"uid":"w","resourceVersion":"7"},"spec":{"shutdown":"Terminate","templates":[]},"status":{"phase":"Running"}}`))
	if err != nil || got.Metadata.UID != "w" || got.Metadata.ResourceVersion != "7" || got.Spec.Shutdown != "Terminate" || string(got.Status) != `{"phase":"Running"}` {
		t.Errorf("Decode() = %+v, %v", got, err)
	}
	if _, err := Decode([]byte(`{`)); !errors.Is(err, ErrNotMirrorable) {
		t.Errorf("broken JSON gives %v", err)
	}
	if _, err := Decode(make([]byte, MaxWECCopyBytes+1)); !errors.Is(err, ErrNotMirrorable) || !strings.Contains(err.Error(), "it has 3145729 bytes, more than 3145728") {
		t.Errorf("too many bytes give %v", err)
	}
}

func TestHash(t *testing.T) {
	hash := func(c WECCopy) string {
		t.Helper()
		r, err := Render(c, rules)
		if err != nil {
			t.Fatal(err)
		}
		return r.Hash
	}
	withAnnotation := wecCopy(`{"phase":"Running","nodes":{"a":{"x":1},"b":{}}}`, phaseLabel, "Running")
	withAnnotation.Metadata.Annotations = map[string]string{stellarflow.ArgoAnnotationPodNameFormat: "v2"}
	base := hash(wecCopy(`{"phase":"Running","nodes":{"a":{"x":1},"b":{}}}`, phaseLabel, "Running"))
	cases := map[string]struct {
		reason string
		copy   WECCopy
		same   bool
	}{
		"Order":      {"the order of keys and white space mean nothing", wecCopy(`{ "nodes": {"b":{}, "a":{"x":1}}, "phase":"Running"}`, phaseLabel, "Running"), true},
		"Unmirrored": {"what does not travel does not count", wecCopy(`{"phase":"Running","nodes":{"a":{"x":1},"b":{}},"synchronization":{}}`, phaseLabel, "Running", "evil", "yes"), true},
		"Packed":     {"nor does how the WEC stores it", wecCopy(`{"phase":"Running","compressedNodes":"`+packed(t, `{"a":{"x":1},"b":{}}`)+`"}`, phaseLabel, "Running"), true},
		"Status":     {"another status", wecCopy(`{"phase":"Running","nodes":{"a":{"x":2},"b":{}}}`, phaseLabel, "Running"), false},
		"Label":      {"a label alone", wecCopy(`{"phase":"Running","nodes":{"a":{"x":1},"b":{}}}`, phaseLabel, "Pending"), false},
		"NoLabel":    {"a label less", wecCopy(`{"phase":"Running","nodes":{"a":{"x":1},"b":{}}}`), false},
		"Annotation": {"an annotation alone", withAnnotation, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := hash(tc.copy); (got == base) != tc.same {
				t.Errorf("%s: the hash is %s, that of the first %s", tc.reason, got, base)
			}
		})
	}
}

func TestCanonical(t *testing.T) {
	if a, b := Canonical([]byte(`{"b":1, "a":2}`)), Canonical([]byte(`{"a":2,"b":1}`)); string(a) != string(b) || a == nil {
		t.Errorf("%s and %s differ", a, b)
	}
	if got := Canonical([]byte(`[]`)); got != nil {
		t.Errorf("a list gives %s", got)
	}
}
