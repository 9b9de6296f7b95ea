package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/google/go-cmp/cmp"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// report writes two lines to its log, and an artifact.
const report = `
- name: main
  steps:
  - - {name: count, template: count}
- name: count
  container: {image: alpine:3.7, command: [sh, -c], args: ["echo counting; seq 1 1000 > /tmp/numbers; echo counted"]}
  outputs: {artifacts: [{name: numbers, path: /tmp/numbers}]}
`

// build's first task runs until somebody who looks on has seen it run.
const build = `
- name: main
  dag:
    tasks:
    - {name: fetch, template: wait}
    - {name: compile, template: work, dependencies: [fetch]}
    - {name: test, template: work, dependencies: [fetch]}
- name: wait
  container: {image: busybox, command: [sh, -c, "until [ -e ` + gateFile + ` ]; do sleep 1; done"]}
- name: work
  container: {image: busybox, command: [sleep, "1"]}
`

// ticking writes a line a second until somebody who looks on has seen enough of them.
const ticking = "i=0; until [ -e " + gateFile + " ]; do i=$((i+1)); echo line $i; sleep 1; done; echo over"

// inspected is a Workflow of the hub's own that needs no pod.
const inspected = `
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {name: inspection}
spec:
  entrypoint: main
  templates: [{name: main, suspend: {}}]
`

// testUI looks at Workflows that run elsewhere in the hub's Argo UI, as people do, with a browser.
func testUI(t *testing.T, f *fleet) {
	namespace := f.newNamespace(t, "ui")
	b := f.browser(t, namespace)
	for _, manifest := range []string{suspended("build", "cluster2", build), suspended("report", "cluster2", report), suspended("release", "cluster1", pausing), suspended("ticking", "cluster1", shell(ticking)), inspected} {
		f.create(t, namespace, manifest)
	}
	t.Run("graph", func(t *testing.T) {
		t.Parallel()
		b.graph(t)
	})
	t.Run("follow", func(t *testing.T) {
		t.Parallel()
		b.follow(t)
	})
	t.Run("meanwhile", func(t *testing.T) {
		t.Parallel()
		finished := f.awaitRun(t, namespace, "report", "cluster2", 1)
		t.Run("list", b.list)
		t.Run("node", func(t *testing.T) { b.node(t, finished) })
		t.Run("log", func(t *testing.T) { b.log(t, finished) })
		t.Run("artifact", func(t *testing.T) { b.artifact(t, finished) })
		t.Run("resume", b.resume)
	})
}

// graph looks on while the nodes of a Workflow change, without a second look at the page.
func (b *browser) graph(t *testing.T) {
	var seen struct {
		Phases map[string][]string
		Pages  int
	}
	b.visit(t, "graph", "build", map[string]any{"runs": "fetch", "comes": "compile"}, &seen, func() { b.openGate(t, b.wecs["cluster2"], b.namespace, "build") })
	if seen.Pages != 1 {
		t.Errorf("the page was loaded %d times, wanted once", seen.Pages)
	}
	for _, node := range []string{"build", "fetch", "compile", "test"} {
		phases := seen.Phases[node]
		if len(phases) == 0 || phases[len(phases)-1] != string(wfv1.NodeSucceeded) || !slices.IsSorted(ranks(phases)) {
			t.Errorf("node %s was shown as %v", node, phases)
		}
	}
	if !slices.Contains(seen.Phases["fetch"], string(wfv1.NodeRunning)) {
		t.Errorf("the first task was never shown as running: %v", seen.Phases)
	}
	ended := b.hub.awaitPhase(t, b.namespace, "build", wfv1.WorkflowSucceeded)
	if len(seen.Phases) != len(ended.Status.Nodes) {
		t.Errorf("the graph has the nodes %v, the Workflow has %d", slices.Sorted(maps.Keys(seen.Phases)), len(ended.Status.Nodes))
	}
}

// ranks are the ranks of phases that the UI has shown.
func ranks(phases []string) []int {
	found := make([]int, len(phases))
	for i, phase := range phases {
		found[i] = rank(wfv1.WorkflowPhase(phase))
	}
	return found
}

// list finds in the list which cluster each Workflow runs on, and asks for those of one.
func (b *browser) list(t *testing.T) {
	var seen struct{ All, Some, Again map[string]string }
	b.visit(t, "list", "", map[string]any{"rows": 5, "filtered": 2, "column": "CLUSTER", "label": stellarflow.LabelCluster + "=cluster2"}, &seen)
	ofOne := map[string]string{"build": "cluster2", "report": "cluster2"}
	all := map[string]string{"build": "cluster2", "report": "cluster2", "release": "cluster1", "ticking": "cluster1", "inspection": "unknown"}
	for what, d := range map[string]string{"all": cmp.Diff(all, seen.All), "filtered": cmp.Diff(ofOne, seen.Some), "all again": cmp.Diff(all, seen.Again)} {
		if d != "" {
			t.Errorf("%s: the list shows (-wanted +got):\n%s", what, d)
		}
	}
}

// node opens all that the UI has of a step that ran elsewhere.
func (b *browser) node(t *testing.T, finished *wfv1.Workflow) {
	var seen struct {
		Summary   map[string]string
		Container string
		Events    []string
	}
	b.visit(t, "node", finished.Name, map[string]any{"node": "count", "event": "created on cluster cluster2"}, &seen)
	node := nodesOf(finished, wfv1.NodeTypePod)["count"]
	for title, wanted := range map[string]string{"NAME": node.Name, "TYPE": "Pod", "PHASE": "Succeeded", "HOST NODE NAME": node.HostNodeName} {
		if got := seen.Summary[title]; !strings.Contains(got, wanted) {
			t.Errorf("the panel says %s %q, wanted %q", title, got, wanted)
		}
	}
	if !strings.Contains(seen.Container, "alpine:3.7") {
		t.Errorf("the panel says of the container %q", seen.Container)
	}
	for _, event := range []string{"Placed", "CreatedOnCluster"} {
		if !slices.ContainsFunc(seen.Events, func(row string) bool { return strings.Contains(row, event) }) {
			t.Errorf("the list of events has no %s: %q", event, seen.Events)
		}
	}
}

// log reads the log of a step whose pod ran elsewhere, from the store.
func (b *browser) log(t *testing.T, finished *wfv1.Workflow) {
	var seen struct{ Lines, From []string }
	b.visit(t, "log", finished.Name, map[string]any{"node": "count", "last": "counted"}, &seen)
	wanted := strings.Split(strings.TrimSpace(b.archivedLog(t, nodesOf(finished, wfv1.NodeTypePod)["count"])), "\n")
	if diff := cmp.Diff(wanted, seen.Lines); diff != "" {
		t.Errorf("the log (-store +shown):\n%s", diff)
	}
	if len(seen.From) != 1 || !strings.HasPrefix(seen.From[0], "/artifact-files/") {
		t.Errorf("the log was fetched from %v", seen.From)
	}
}

// follow looks on while the log of a step grows whose pod runs elsewhere.
func (b *browser) follow(t *testing.T) {
	var seen struct {
		States []struct {
			Phase string
			Lines []string
		}
	}
	b.visit(t, "follow", "ticking", map[string]any{"node": "ticking", "last": "over"}, &seen, func() { b.openGate(t, b.wecs["cluster1"], b.namespace, "ticking") })
	grown := 0
	for _, state := range seen.States {
		// Argo's executor writes to the log of its container too.
		lines := slices.DeleteFunc(state.Lines, func(line string) bool { return strings.Contains(line, " argo=true") || line == "over" })
		first := 0
		if len(lines) > 0 {
			_, _ = fmt.Sscanf(lines[0], "line %d", &first) // of those that the view has room for
		}
		wanted := make([]string, len(lines))
		for i := range lines {
			wanted[i] = fmt.Sprintf("line %d", first+i)
		}
		if diff := cmp.Diff(wanted, lines); diff != "" {
			t.Errorf("the log was shown with (-wanted +shown):\n%s", diff)
		}
		if state.Phase == string(wfv1.NodeRunning) && len(lines) > 0 {
			grown++
		}
	}
	if grown < 5 {
		t.Errorf("while the step ran, its log was shown in %d states, wanted it to grow: %+v", grown, seen.States)
	}
}

// artifact downloads an artifact from the panel of its step.
func (b *browser) artifact(t *testing.T, finished *wfv1.Workflow) {
	var seen struct{ Name string }
	file := filepath.Join(t.TempDir(), "downloaded")
	b.visit(t, "artifact", finished.Name, map[string]any{"node": "count", "artifact": "numbers", "file": file}, &seen)
	key := keyOf(t, nodesOf(finished, wfv1.NodeTypePod)["count"], "numbers")
	stored := b.read(t, key)
	if got, err := os.ReadFile(file); err != nil || string(got) != stored || seen.Name != filepath.Base(key) {
		t.Errorf("the browser got %d bytes as %q (%v), the store has %d under %s", len(got), seen.Name, err, len(stored), key)
	}
	if numbers := unpack(t, stored); !strings.HasSuffix(numbers, "\n999\n1000\n") {
		t.Errorf("the artifact holds %d bytes", len(numbers))
	}
}

// resume lets a Workflow go on that waits for a person elsewhere.
func (b *browser) resume(t *testing.T) {
	var seen struct{ Before, After map[string]string }
	b.visit(t, "resume", "release", map[string]any{"node": "pause"}, &seen)
	if _, there := seen.Before["go"]; there {
		t.Errorf("before the button was pressed the graph showed %v", seen.Before)
	}
	if seen.After["pause"] != "Succeeded" || seen.After["go"] != "Succeeded" {
		t.Errorf("in the end the graph shows %v", seen.After)
	}
	ended := b.awaitRun(t, b.namespace, "release", "cluster1", 1)
	b.wantLogs(t, ended, map[string]string{"go": "went"})
}
