package truth

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// template is the status of a run with a step that has written an artifact, and failed; words in capitals belong to the run.
const template = `{
  "phase": "Failed", "message": "child 'NAME-1234567890' failed", "startedAt": "AT", "finishedAt": "AT", "resourcesDuration": {"cpu": 1},
  "conditions": [{"type": "PodRunning", "status": "False"}, {"type": "Completed", "status": "True"}],
  "nodes": {
    "NAME": {"id": "NAME", "name": "NAME", "displayName": "NAME", "type": "Steps", "phase": "Failed", "children": [CHILDREN]},
    "NAME-1234567890": {
      "id": "NAME-1234567890", "name": "NAME[0].say", "displayName": "say", "type": "Pod", "phase": "Failed", "boundaryID": "NAME",
      "templateName": "say", "templateScope": "local/NAME", "startedAt": "AT", "finishedAt": "AT", "podIP": "ADDRESS", "hostNodeName": "HOST",
      "outputs": {"exitCode": "1", "parameters": [{"name": "who", "value": "NAME-say-1234567890 of SPACE at ADDRESS:80"}],
        "artifacts": [{"name": "log", "s3": {"key": "cluster1/SPACE/NAME/THIS/NAME-say-1234567890/main.log"}}]}
    },
    "NAME-22222222": {"id": "NAME-22222222", "name": "NAME[0]", "displayName": "[0]", "type": "StepGroup", "phase": "Failed"}
  }
}`

// fill makes the status of one run.
func fill(run Run, words ...string) []byte {
	words = append(words, "NAME", run.Name, "SPACE", run.Namespace, "THIS", run.UID)
	return []byte(strings.NewReplacer(words...).Replace(template))
}

var (
	one      = Run{Namespace: "t-1", Name: "truth-say", UID: "0d0f"}
	other    = Run{Namespace: "t-2", Name: "direct-say", UID: "77aa"}
	ofOne    = fill(one, "AT", "yesterday", "ADDRESS", "10.0.0.1", "HOST", "a", "CHILDREN", `"truth-say-22222222", "truth-say-1234567890"`)
	ofOther  = fill(other, "AT", "today", "ADDRESS", "10.0.0.10", "HOST", "b", "CHILDREN", `"direct-say-1234567890", "direct-say-22222222"`)
	toNumber = func(number string) string { return strings.ReplaceAll(string(ofOther), "1234567890", number) }
)

func shape(t *testing.T, status []byte, run Run) map[string]any {
	t.Helper()
	got, err := Shape(status, run)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestShapeOfEqualRuns(t *testing.T) {
	want := shape(t, ofOne, one)
	for name, status := range map[string]string{
		"another run": string(ofOther), "numbers of nodes are its names": toNumber("987654321"),
		"a pod still ran": strings.Replace(string(ofOther), `"PodRunning", "status": "False"`, `"PodRunning", "status": "True"`, 1),
	} {
		if diff := cmp.Diff(want, shape(t, []byte(status), other)); diff != "" {
			t.Errorf("%s (-one +other):\n%s", name, diff)
		}
	}
	nodes, _ := want["nodes"].(map[string]any)
	node, _ := nodes["<WORKFLOW[0].say>"].(map[string]any)
	outputs, _ := node["outputs"].(map[string]any)
	wanted := map[string]any{
		"exitCode":   "1",
		"parameters": []any{map[string]any{"name": "who", "value": "<WORKFLOW[0].say> of NAMESPACE at ADDRESS:80"}},
		"artifacts":  []any{map[string]any{"name": "log", "s3": map[string]any{"key": "cluster1/NAMESPACE/WORKFLOW/UID/<WORKFLOW[0].say>/main.log"}}},
	}
	if diff := cmp.Diff(wanted, outputs); diff != "" {
		t.Errorf("outputs (-want +got):\n%s", diff)
	}
}

// TestShapeShowsWhatDiffers checks that each of what a person would call a difference is one.
func TestShapeShowsWhatDiffers(t *testing.T) {
	want := shape(t, ofOne, one)
	for name, change := range map[string][2]string{
		"the phase":                 {`"phase": "Failed", "message"`, `"phase": "Error", "message"`},
		"the message":               {"failed\"", "was lost\""},
		"the phase of a node":       {`"StepGroup", "phase": "Failed"`, `"StepGroup", "phase": "Error"`},
		"the type of a node":        {`"type": "StepGroup"`, `"type": "TaskGroup"`},
		"the template of a node":    {`"templateName": "say"`, `"templateName": "shout"`},
		"a node is called another":  {`"name": "direct-say[0].say"`, `"name": "direct-say[1].say"`},
		"an exit code":              {`"exitCode": "1"`, `"exitCode": "2"`},
		"the value of an output":    {`at 10.0.0.10:80`, `at 10.0.0.10:81`},
		"the key of an artifact":    {`main.log`, `wait.log`},
		"an artifact elsewhere":     {`"key": "cluster1/t-2/`, `"key": "cluster1/t-3/`},
		"a condition":               {`"Completed", "status": "True"`, `"Completed", "status": "False"`},
		"a child less":              {`"direct-say-1234567890", "direct-say-22222222"]`, `"direct-say-1234567890"]`},
		"the pod of another node":   {`"value": "direct-say-say-1234567890`, `"value": "direct-say-say-22222222`},
		"a field that is new there": {`"type": "StepGroup"`, `"type": "StepGroup", "daemoned": true`},
	} {
		changed := strings.Replace(string(ofOther), change[0], change[1], 1)
		if changed == string(ofOther) {
			t.Errorf("%s: the test changes nothing", name)
		}
		if cmp.Equal(want, shape(t, []byte(changed), other)) {
			t.Errorf("%s differs, and the shape is the same", name)
		}
	}
}

// TestShapeOfADeadline checks that what is left of a pod that a deadline has ended is no difference, and that it is one otherwise; nor is it
// one whether the kubelet or Argo's controller saw the deadline first.
func TestShapeOfADeadline(t *testing.T) {
	for message, equal := range map[string]bool{deadlines[0]: true, deadlines[1]: true, "Error (exit code 1)": false} {
		late := strings.NewReplacer(`"displayName": "say"`, `"displayName": "say", "message": "`+message+`"`)
		killed := strings.Replace(late.Replace(string(ofOther)), `"exitCode": "1"`, `"exitCode": "137"`, 1)
		if got := cmp.Equal(shape(t, []byte(late.Replace(string(ofOne))), one), shape(t, []byte(killed), other)); got != equal {
			t.Errorf("after %q: two exit codes are equal: %v, want %v", message, got, equal)
		}
	}
	says := func(status []byte, message string) []byte {
		return []byte(strings.NewReplacer(`"displayName": "say"`, `"displayName": "say", "message": "`+message+`"`, `"phase": "Failed", "message": "child`, `"phase": "Failed", "message": "`+message+`", "was": "child`).Replace(string(status)))
	}
	kubelet, argo := shape(t, says(ofOne, deadlines[0]), one), shape(t, says(ofOther, deadlines[1]), other)
	if diff := cmp.Diff(kubelet, argo); diff != "" || kubelet["message"] != deadlines[0] {
		t.Errorf("a deadline that the kubelet saw first, and one that Argo did: %s", diff)
	}
}

func TestShapeRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		status string
		run    Run
		want   string
	}{
		"no JSON":                  {"{", one, "read the status"},
		"packed nodes":             {`{"compressedNodes": "H4s"}`, one, "packed"},
		"a node without a name":    {`{"nodes": {"truth-say": {}}}`, one, "no name"},
		"two nodes with one name":  {`{"nodes": {"truth-say-11111": {"name": "x"}, "truth-say-22222": {"name": "x"}}}`, one, "both called x"},
		"a run that is called not": {`{}`, Run{}, "has a name"},
	} {
		if _, err := Shape([]byte(tc.status), tc.run); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want %q", name, err, tc.want)
		}
	}
}
