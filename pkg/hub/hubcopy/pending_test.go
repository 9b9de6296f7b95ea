package hubcopy

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// pendingCase is an object before and after; want is before if nothing is written.
type pendingCase struct {
	reason, before, want string
}

func checkPending(t *testing.T, cases map[string]pendingCase, operations func(*unstructured.Unstructured) []Operation) {
	t.Helper()
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			before := object(t, tc.before)
			made := operations(before)
			if (len(made) == 0) != (tc.before == tc.want) {
				t.Errorf("%s: the operations are %v", tc.reason, made)
			}
			got, err := patched(t, before, made)
			if err != nil {
				t.Fatalf("%s: %v", tc.reason, err)
			}
			if diff := cmp.Diff(object(t, tc.want).Object, got); diff != "" {
				t.Errorf("%s: -want +got:\n%s", tc.reason, diff)
			}
			if again := operations(&unstructured.Unstructured{Object: got}); len(again) > 0 {
				t.Errorf("%s: a second time would write again: %v", tc.reason, again)
			}
			if diff := cmp.Diff(object(t, tc.before), before); diff != "" {
				t.Errorf("the object was changed:\n%s", diff)
			}
		})
	}
}

const pendingLabels = `"metadata":{"labels":{"x":"y","workflows.argoproj.io/phase":"Pending"}}`

func TestPending(t *testing.T) {
	const done = `{` + pendingLabels + `,"status":{"phase":"Pending","message":"m"}}`
	checkPending(t, map[string]pendingCase{
		"New":         {"no status at all", `{"metadata":{"labels":{"x":"y"}}}`, done},
		"EmptyStatus": {"an empty status", `{"metadata":{"labels":{"x":"y"}},"status":{}}`, done},
		"OddStatus":   {"what is no object is replaced", `{"metadata":{"labels":{"x":"y"}},"status":"?"}`, done},
		"Same":        {"it says so already", done, done},
		"NoLabel":     {"only the label is missing", `{"metadata":{"labels":{"x":"y"}},"status":{"phase":"Pending","message":"m"}}`, done},
		"Message":     {"another reason", `{` + pendingLabels + `,"status":{"phase":"Pending","message":"old"}}`, done},
		"Nodes": {
			"nodes of a memoized resubmit stay", `{"metadata":{"labels":{"x":"y"}},"status":{"nodes":{"n":{"phase":"Succeeded"}},"storedTemplates":{"t":{}}}}`,
			`{` + pendingLabels + `,"status":{"phase":"Pending","message":"m","nodes":{"n":{"phase":"Succeeded"}},"storedTemplates":{"t":{}}}}`,
		},
		"Started": {
			"the hub's controller looked at it first and believes that it runs",
			`{"metadata":{"labels":{"x":"y","workflows.argoproj.io/phase":"Running"}},"status":{"phase":"Running","startedAt":"2026-01-02T03:04:05Z","progress":"0/1"}}`,
			`{` + pendingLabels + `,"status":{"phase":"Pending","message":"m","progress":"0/1"}}`,
		},
	}, func(u *unstructured.Unstructured) []Operation { return Pending(u, "m") })
}

func TestNotPending(t *testing.T) {
	const running = `{"metadata":{"labels":{"workflows.argoproj.io/phase":"Running"}},"status":{"phase":"Running","message":"m"}}`
	checkPending(t, map[string]pendingCase{
		"Waited":    {"the hub's controller begins with it as with a new one", `{` + pendingLabels + `,"status":{"phase":"Pending","message":"m","nodes":{}}}`, `{"metadata":{"labels":{"x":"y"}},"status":{"nodes":{}}}`},
		"NoMessage": {"without a message", `{` + pendingLabels + `,"status":{"phase":"Pending"}}`, `{"metadata":{"labels":{"x":"y"}},"status":{}}`},
		"NoLabel":   {"without the label", `{"metadata":{},"status":{"phase":"Pending"}}`, `{"metadata":{},"status":{}}`},
		"Running":   {"somebody runs it by now: what it says is not ours", running, running},
		"New":       {"nothing was said", `{"metadata":{}}`, `{"metadata":{}}`},
	}, NotPending)
}

func TestEnded(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 8, time.UTC)
	const labels = `"metadata":{"labels":{"x":"y","workflows.argoproj.io/completed":"true","workflows.argoproj.io/phase":"Error"}}`
	const failedLabels = `"metadata":{"labels":{"x":"y","workflows.argoproj.io/completed":"true","workflows.argoproj.io/phase":"Failed"}}`
	const failed = `"phase":"Failed","message":"Stopped with strategy 'Stop'","finishedAt":"2026-03-04T05:06:07Z"`
	store, archives := &Store{}, &Store{Archive: archive(t, "x=y")}
	ended := func(u *unstructured.Unstructured) []Operation { return store.Ended(u, "m", at) }
	stopped := func(u *unstructured.Unstructured) []Operation { return store.Stopped(u, "Stop", at) }
	archived := func(u *unstructured.Unstructured) []Operation { return archives.Ended(u, "m", at) }
	for name, test := range map[string]struct {
		end          func(*unstructured.Unstructured) []Operation
		before, want string
	}{
		"no status":    {ended, `{"metadata":{"labels":{"x":"y"}}}`, `{` + labels + `,"status":{"phase":"Error","message":"m","finishedAt":"2026-03-04T05:06:07Z"}}`},
		"odd status":   {ended, `{"metadata":{"labels":{"x":"y"}},"status":"?"}`, `{` + labels + `,"status":{"phase":"Error","message":"m","finishedAt":"2026-03-04T05:06:07Z"}}`},
		"nodes stay":   {ended, `{"metadata":{"labels":{"x":"y"}},"status":{"phase":"Running","nodes":{"n":{}}}}`, `{` + labels + `,"status":{"phase":"Error","message":"m","finishedAt":"2026-03-04T05:06:07Z","nodes":{"n":{}}}}`},
		"was not done": {ended, `{"metadata":{"labels":{"x":"y","workflows.argoproj.io/completed":"false"}},"status":{}}`, `{` + labels + `,"status":{"phase":"Error","message":"m","finishedAt":"2026-03-04T05:06:07Z"}}`},
		"archived": {
			archived, `{"metadata":{"labels":{"x":"y"}},"status":{}}`,
			`{"metadata":{"labels":{"x":"y","workflows.argoproj.io/completed":"true","workflows.argoproj.io/phase":"Error","workflows.argoproj.io/workflow-archiving-status":"Pending"}},` +
				`"status":{"phase":"Error","message":"m","finishedAt":"2026-03-04T05:06:07Z"}}`,
		},
		"not archived": {
			archived, `{"metadata":{"labels":{"x":"z","workflows.argoproj.io/workflow-archiving-status":"Archived"}},"status":{}}`,
			`{"metadata":{"labels":{"x":"z","workflows.argoproj.io/completed":"true","workflows.argoproj.io/phase":"Error"}},` +
				`"status":{"phase":"Error","message":"m","finishedAt":"2026-03-04T05:06:07Z"}}`,
		},
		"stopped while it waited": {
			stopped, `{"metadata":{"labels":{"x":"y"}},"status":{"phase":"Pending","message":"m"}}`,
			`{` + failedLabels + `,"status":{` + failed + `,"startedAt":"2026-03-04T05:06:07Z"}}`,
		},
		"stopped when the hub's controller had begun it": {
			stopped, `{"metadata":{"labels":{"x":"y"}},"status":{"phase":"Running","startedAt":"2026-01-01T00:00:00Z"}}`,
			`{` + failedLabels + `,"status":{` + failed + `,"startedAt":"2026-01-01T00:00:00Z"}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := object(t, test.before)
			got, err := patched(t, before, test.end(before))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(object(t, test.want).Object, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func archive(t *testing.T, text string) stellarflow.Archive {
	t.Helper()
	parsed, err := stellarflow.ParseArchive(text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// TestArchiving selects by the labels that a Workflow ends with.
func TestArchiving(t *testing.T) {
	phase := "Succeeded"
	with := map[string]*string{"phase": &phase, "gone": nil}
	for archives, cases := range map[string]map[string]bool{
		"none":            {`{"metadata":{}}`: false, `{"metadata":{"labels":{"a":"b"}}}`: false},
		"all":             {`{"metadata":{}}`: true, `{"metadata":{"labels":{"a":"b"}}}`: true},
		"phase=Succeeded": {`{"metadata":{}}`: true, `{"metadata":{"labels":{"phase":"Running"}}}`: true},
		"gone":            {`{"metadata":{"labels":{"gone":"x"}}}`: false},
		"a=b":             {`{"metadata":{}}`: false, `{"metadata":{"labels":{"a":"b"}}}`: true},
	} {
		for text, want := range cases {
			before := object(t, text)
			got := (&Store{Archive: archive(t, archives)}).Archiving(before, with)
			if (got != nil) != want || want && *got != "Pending" {
				t.Errorf("archive %s of %s: %v, want %v", archives, text, got, want)
			}
			if diff := cmp.Diff(object(t, text), before); diff != "" {
				t.Errorf("the object was changed:\n%s", diff)
			}
		}
	}
}
