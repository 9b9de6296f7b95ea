package intent

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy/hubcopytest"
	"stellarflow.io/stellarflow/pkg/hub/upsync"
)

var at = metav1.Date(2026, 1, 1, 0, 5, 0, 0, time.UTC)

const (
	asking = `{"phase":"Running","nodes":{"wf":{"id":"wf","type":"Steps","phase":"Running","children":["wf-1"]},
		"wf-1":{"id":"wf-1","displayName":"ask","type":"Suspend","phase":"Running","unknown":1234567890123456789,"outputs":{"parameters":[{"name":"a","valueFrom":{"supplied":{}}}]}}}}`
	answered = `{"phase":"Running","nodes":{"wf-1":{"displayName":"ask","type":"Suspend","phase":"Succeeded"}}}`
	failed   = `{"phase":"Failed","message":"child failed","finishedAt":"2026-01-01T00:04:00Z","startedAt":"2026-01-01T00:00:00Z","conditions":[{"type":"PodRunning","status":"False"},{"type":"Completed","status":"True"}],
		"persistentVolumeClaims":[{"name":"v"}],"storedWorkflowTemplateSpec":{"shutdown":"Stop","entrypoint":"main"},
		"nodes":{"wf":{"id":"wf","type":"Steps","phase":"Failed","message":"m","children":["wf-1","wf-2"],"outboundNodes":["wf-2"]},"wf-1":{"id":"wf-1","type":"Suspend","phase":"Succeeded","outputs":{"parameters":[{"name":"a","value":"x"}]}},"wf-2":{"id":"wf-2","type":"Pod","phase":"Failed"}}}`
	retried = `{"phase":"Running","message":"","finishedAt":null,"startedAt":"2026-01-01T00:05:00Z","conditions":[{"type":"PodRunning","status":"False"},{"type":"Completed","status":"False"}],
		"storedWorkflowTemplateSpec":{"entrypoint":"main"},
		"nodes":{"wf":{"id":"wf","type":"Steps","phase":"Running","startedAt":"2026-01-01T00:05:00Z","finishedAt":null,"children":["wf-1"]},"wf-1":{"id":"wf-1","type":"Suspend","phase":"Running","startedAt":"2026-01-01T00:05:00Z","finishedAt":null,"outputs":{"parameters":[{"name":"a","valueFrom":{"supplied":{}}}]}}}}`
)

func packed(t *testing.T, status string) string {
	t.Helper()
	var object map[string]any
	if err := json.Unmarshal([]byte(status), &object); err != nil {
		t.Fatal(err)
	}
	text, err := upsync.Pack(object["nodes"])
	if err != nil {
		t.Fatal(err)
	}
	delete(object, "nodes")
	object["compressedNodes"] = text
	raw, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// TestApply is what each intent does to a WEC copy.
func TestApply(t *testing.T) {
	ended := `"workflows.argoproj.io/completed":"true","workflows.argoproj.io/phase":"Failed"`
	retry := &stellarflow.RetryChange{Removed: []string{"-2"}, Reset: []string{"", "-1"}, StartedAt: at}
	yes := map[string]stellarflow.NodeChange{"wf-1": {Phase: "Succeeded", FinishedAt: &at, Message: "by hand", Outputs: map[string]string{"a": "yes"}}}
	succeeded := strings.NewReplacer(`"displayName":"ask","type":"Suspend","phase":"Running"`, `"displayName":"ask","type":"Suspend","phase":"Succeeded","message":"by hand","finishedAt":"2026-01-01T00:05:00Z"`,
		`"valueFrom":{"supplied":{}}`, `"value":"yes"`).Replace(asking)
	cases := map[string]struct {
		reason               string
		intent               stellarflow.Intent
		labels, spec, status string
		refusal              string
		wantSpec, wantStatus string
		removed              map[string]bool
	}{
		"Suspend":     {"spec.suspend", stellarflow.Intent{Kind: stellarflow.IntentSuspend}, "", `{"a":1}`, asking, "", `{"a":1,"suspend":true}`, asking, nil},
		"ResumeWhole": {"only what is suspended is touched", stellarflow.Intent{Kind: stellarflow.IntentResume, Whole: true}, "", `{"suspend":true}`, asking, "", `{}`, asking, nil},
		"ResumeNot":   {"there is nothing to resume: what was wanted is so", stellarflow.Intent{Kind: stellarflow.IntentResume, Whole: true}, "", `{}`, answered, "", `{}`, answered, nil},
		"Resume":      {"the node, and nothing that we do not know of it", stellarflow.Intent{Kind: stellarflow.IntentResume, Whole: true, Nodes: yes}, "", `{"suspend":true}`, asking, "", `{}`, succeeded, nil},
		"Packed":      {"nodes are stored as they were", stellarflow.Intent{Kind: stellarflow.IntentSet, Nodes: yes}, "", `{}`, packed(t, asking), "", `{}`, packed(t, succeeded), nil},
		"Outputs": {
			"the Workflow's own",
			stellarflow.Intent{Kind: stellarflow.IntentSet, Nodes: yes, Outputs: map[string]string{"o": "1"}},
			"", `{}`, asking, "", `{}`,
			strings.Replace(succeeded, `"phase":"Running",`, `"phase":"Running","outputs":{"parameters":[{"name":"o","value":"1"}]},`, 1), nil,
		},
		"Late":       {"it was answered there", stellarflow.Intent{Kind: stellarflow.IntentSet, Nodes: yes}, "", `{}`, answered, "no node of those that were meant is suspended there any more", "", "", nil},
		"NoSuch":     {"another template's node", stellarflow.Intent{Kind: stellarflow.IntentSet, Nodes: map[string]stellarflow.NodeChange{"wf-1": {Outputs: map[string]string{"b": "x"}}}}, "", `{}`, asking, `has no output parameter "b" there`, "", "", nil},
		"Answered":   {"two people", stellarflow.Intent{Kind: stellarflow.IntentSet, Nodes: yes}, "", `{}`, strings.Replace(asking, `"valueFrom":{"supplied":{}}`, `"value":"no"`, 1), "has got a value there meanwhile", "", "", nil},
		"Offloaded":  {"nobody here sees what is suspended", stellarflow.Intent{Kind: stellarflow.IntentResume, Whole: true}, "", `{"suspend":true}`, `{"phase":"Running","offloadNodeStatusVersion":"fnv:1"}`, "kept in a database there", "", "", nil},
		"Ended":      {"too late", stellarflow.Intent{Kind: stellarflow.IntentSuspend}, ended, `{}`, failed, "it has ended meanwhile", "", "", nil},
		"EarlierRun": {"the copy is another one", stellarflow.Intent{Kind: stellarflow.IntentSuspend, WECUID: "other"}, "", `{}`, asking, "it was asked of an earlier run", "", "", nil},
		"Retry": {
			"argo retry",
			stellarflow.Intent{Kind: stellarflow.IntentRetry, Base: "hash", Retry: retry},
			ended, `{"shutdown":"Stop","activeDeadlineSeconds":0,"arguments":{}}`, failed, "",
			`{"shutdown":"","arguments":{}}`, retried,
			map[string]bool{"wf-2": true},
		},
		"RetryPacked": {
			"of a large one, with arguments",
			stellarflow.Intent{Kind: stellarflow.IntentRetry, Base: "hash", Retry: &stellarflow.RetryChange{Removed: retry.Removed, Reset: retry.Reset, StartedAt: at, Arguments: json.RawMessage(`{"parameters":[]}`)}},
			ended, `{"activeDeadlineSeconds":9}`, packed(t, failed), "", `{"activeDeadlineSeconds":9,"arguments":{"parameters":[]}}`, packed(t, retried),
			map[string]bool{"wf-2": true},
		},
		"RetryTwice":   {"two people", stellarflow.Intent{Kind: stellarflow.IntentRetry, Base: "hash", Retry: retry}, "", `{}`, asking, "it runs again already", "", "", nil},
		"RetryChanged": {"the person saw something else", stellarflow.Intent{Kind: stellarflow.IntentRetry, Base: "old", Retry: retry}, ended, `{}`, failed, "its copy has changed since", "", "", nil},
		"RetryAway":    {"its nodes are in a database there", stellarflow.Intent{Kind: stellarflow.IntentRetry, Base: "hash", Retry: retry}, ended, `{}`, `{"phase":"Failed"}`, "its nodes are not in its status there", "", "", nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			object := fmt.Sprintf(`{"metadata":{"name":"wf","uid":"w","resourceVersion":"7","labels":{"l":"x"%s},"annotations":{"a":"b"},"finalizers":["stellarflow.io/harvest"]},"spec":%s,"status":%s}`,
				strings.Repeat(",", min(1, len(tc.labels)))+tc.labels, tc.spec, tc.status)
			wecCopy, err := upsync.Decode([]byte(object))
			if err != nil {
				t.Fatal(err)
			}
			tc.intent.ID = "id"
			effect, err := Apply(tc.intent, wecCopy, "hash")
			var no *Refusal
			if tc.refusal != "" {
				if !errors.As(err, &no) || !strings.Contains(no.Message, tc.refusal) {
					t.Errorf("%s: want %q, got %v", tc.reason, tc.refusal, err)
				}
				return
			}
			if err != nil {
				t.Fatalf("%s: %v", tc.reason, err)
			}
			got := apply(t, object, effect.Operations)
			for what, want := range map[string]string{"spec": tc.wantSpec, "status": tc.wantStatus} {
				if diff := cmp.Diff(string(upsync.Canonical([]byte(want))), string(upsync.Canonical(got[what]))); diff != "" {
					t.Errorf("%s: %s: -want +got:\n%s", tc.reason, what, diff)
				}
			}
			if diff := cmp.Diff(tc.removed, effect.Removed); diff != "" {
				t.Errorf("%s: removed nodes: -want +got:\n%s", tc.reason, diff)
			}
			checkMetadata(t, tc.intent.Kind, got["metadata"])
		})
	}
}

// checkMetadata checks that what was done is noted, and that what runs again is not labelled as ended.
func checkMetadata(t *testing.T, kind stellarflow.IntentKind, raw json.RawMessage) {
	t.Helper()
	var metadata metav1.ObjectMeta
	if err := json.Unmarshal(raw, &metadata); err != nil {
		t.Fatal(err)
	}
	if metadata.Annotations[stellarflow.AnnotationApplied] != "id" || metadata.Annotations["a"] != "b" || metadata.Labels["l"] != "x" {
		t.Errorf("metadata %+v", metadata)
	}
	if kind == stellarflow.IntentRetry && (stellarflow.Completed(&metadata) || metadata.Labels[stellarflow.ArgoLabelPhase] != "Running") {
		t.Errorf("labels %v", metadata.Labels)
	}
}

// apply applies operations as an API server does, and only to the version that they were made from.
func apply(t *testing.T, object string, operations []hubcopy.Operation) map[string]json.RawMessage {
	t.Helper()
	if _, err := hubcopytest.Apply(t, []byte(strings.Replace(object, `"resourceVersion":"7"`, `"resourceVersion":"8"`, 1)), operations); err == nil {
		t.Error("it would be written over what came later")
	}
	after, err := hubcopytest.Apply(t, []byte(object), operations)
	if err != nil {
		t.Fatalf("apply %v: %v", operations, err)
	}
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(after, &parts); err != nil {
		t.Fatal(err)
	}
	return parts
}

// TestAgain makes the status that a retry begins with where no copy is left.
func TestAgain(t *testing.T) {
	change := &stellarflow.RetryChange{Removed: []string{"-2"}, Reset: []string{"", "-1"}, StartedAt: at}
	var want map[string]any
	if err := json.Unmarshal([]byte(retried), &want); err != nil {
		t.Fatal(err)
	}
	for name, status := range map[string]string{"Plain": failed, "Packed": packed(t, failed)} {
		t.Run(name, func(t *testing.T) {
			got, err := Again("wf", []byte(status), change)
			if err != nil {
				t.Fatal(err)
			}
			raw, err := json.Marshal(got)
			if err != nil {
				t.Fatal(err)
			}
			read, wasPacked, err := upsync.Unpacked(raw)
			if err != nil || wasPacked != (name == "Packed") {
				t.Errorf("packed %v: %v", wasPacked, err)
			}
			if diff := cmp.Diff(fmt.Sprint(want["nodes"]), fmt.Sprint(read["nodes"])); diff != "" || read["phase"] != nil || len(read) != 1 {
				t.Errorf("-want +got:\n%s\n%v", diff, read)
			}
		})
	}
	var no *Refusal
	if _, err := Again("wf", []byte(`{"phase":"Failed"}`), change); !errors.As(err, &no) {
		t.Errorf("without nodes: %v", err)
	}
}
