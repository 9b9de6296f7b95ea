package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/google/go-cmp/cmp"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// asking waits for a person's answer and prints it.
const asking = `
- name: main
  steps:
  - - {name: ask, template: ask}
  - - {name: tell, template: tell, arguments: {parameters: [{name: text, value: "{{steps.ask.outputs.parameters.answer}}"}]}}
- name: ask
  suspend: {}
  outputs: {parameters: [{name: answer, globalName: final, valueFrom: {supplied: {}}}]}
- name: tell
  inputs: {parameters: [{name: text}]}
  container: {image: busybox, command: [echo], args: ["{{inputs.parameters.text}}"]}
`

// pausing waits for a person.
const pausing = `
- name: main
  steps:
  - - {name: pause, template: pause}
  - - {name: go, template: go}
- name: pause
  suspend: {}
- name: go
  container: {image: busybox, command: [echo], args: [went]}
`

// naming waits for a person and then prints the Workflow's own label and annotation.
const naming = `
- name: main
  steps:
  - - {name: pause, template: pause}
  - - {name: tell, template: tell, arguments: {parameters: [{name: text, value: "{{workflow.labels.team}} {{workflow.annotations.ticket}}"}]}}
- name: pause
  suspend: {}
- name: tell
  inputs: {parameters: [{name: text}]}
  container: {image: busybox, command: [echo], args: ["{{inputs.parameters.text}}"]}
`

// failing fails until its parameter is another.
func failing(name, target string) string {
	return strings.Replace(suspended(name, target, `
- name: main
  steps:
  - - {name: good, template: good}
  - - {name: bad, template: bad}
- name: good
  container: {image: busybox, command: [echo], args: [good]}
- name: bad
  container: {image: alpine:3.7, command: [sh, -c], args: ["exit {{workflow.parameters.code}}"]}
`), "entrypoint: main", "entrypoint: main\n  arguments: {parameters: [{name: code, value: '3'}]}", 1)
}

// testActions does on the hub, with Argo's own tools, what acts on a Workflow that runs elsewhere.
func testActions(t *testing.T, f *fleet) {
	namespace := f.newNamespace(t, "actions")
	a := actions{fleet: f, namespace: namespace}
	for _, manifest := range []string{
		suspended("ui", "cluster1", asking), suspended("cli", "cluster2", asking), suspended("whole", "cluster1", pausing),
		suspended("declined", "cluster2", pausing), suspended("cancelled", "cluster1", pausing), failing("again", "cluster1"), failing("memo", "cluster2"),
		strings.Replace(suspended("named", "cluster1", naming), "labels: {", "annotations: {ticket: none, old: '1'}\n  labels: {team: red, old: '1', ", 1), long("deleted", "cluster2"),
	} {
		f.create(t, namespace, manifest)
	}
	for name, run := range map[string]func(*testing.T){
		"ui": a.approveInTheUI, "cli": a.approveByCommand, "whole": a.resume, "declined": a.stopByCommand, "cancelled": a.stopInTheUI, "held": a.hold, "again": a.retry,
		"memo":  a.resubmit,
		"named": a.label, "deleted": a.delete,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t)
		})
	}
}

var errSame = errors.New("it shows the run before")

type actions struct {
	*fleet
	namespace string
}

// waits waits until a node with this name is suspended.
func (a actions) waits(t *testing.T, name, node string) {
	t.Helper()
	a.hub.await(t, a.namespace, name, "waits for a person", func(w *wfv1.Workflow) error {
		found := w.Status.Nodes.FindByDisplayName(node)
		if found == nil || !found.IsActiveSuspendNode() {
			return fmt.Errorf("node %s is %v", node, found)
		}
		return nil
	})
}

// ran checks the end, on both sides and that nothing of it was on the hub.
func (a actions) ran(t *testing.T, name, target string, phase wfv1.WorkflowPhase) *wfv1.Workflow {
	t.Helper()
	ended := a.hub.awaitPhase(t, a.namespace, name, phase)
	a.compareCopies(t, ended, a.wecs[target])
	if n := a.hub.countPods(t, a.namespace, name); n > 0 {
		t.Errorf("%s has %d pods on the hub", name, n)
	}
	if left := ended.Annotations[stellarflow.AnnotationIntents] + ended.Annotations[stellarflow.AnnotationRefused]; left != "" {
		t.Errorf("%s: what was asked is not done: %s", name, left)
	}
	return ended
}

func (a actions) must(t *testing.T, args ...string) {
	t.Helper()
	if out, err := a.argo(t, append(args, "-n", a.namespace)...); err != nil {
		t.Fatalf("argo %v: %v: %s", args, err, out)
	}
}

// press does what a button of the UI does: it calls the Argo server, with what the form of that button says. The answer is the Workflow.
func (a actions) press(t *testing.T, name, verb, form string) *wfv1.Workflow {
	t.Helper()
	if form != "" {
		form = "," + form
	}
	answer, err := a.ask(t, http.MethodPut, "/api/v1/workflows/"+a.namespace+"/"+name+"/"+verb, fmt.Sprintf(`{"name":%q,"namespace":%q%s}`, name, a.namespace, form))
	if err != nil {
		t.Fatalf("%s: %v: %s", verb, err, answer)
	}
	var workflow wfv1.Workflow
	if err := json.Unmarshal([]byte(answer), &workflow); err != nil {
		t.Fatalf("%s: %v: %s", verb, err, answer)
	}
	return &workflow
}

// approveInTheUI does what the UI's button does: set, and at once resume.
func (a actions) approveInTheUI(t *testing.T) {
	a.waits(t, "ui", "ask")
	a.press(t, "ui", "set", `"nodeFieldSelector":"displayName=ask","outputParameters":"{\"answer\":\"yes\"}"`)
	a.press(t, "ui", "resume", `"nodeFieldSelector":"displayName=ask"`)
	a.told(t, "ui", "cluster1", "yes")
}

func (a actions) approveByCommand(t *testing.T) {
	a.waits(t, "cli", "ask")
	a.must(t, "node", "set", "cli", "--node-field-selector", "displayName=ask", "--output-parameter", "answer=no", "--message", "by hand")
	a.must(t, "resume", "cli", "--node-field-selector", "displayName=ask")
	a.told(t, "cli", "cluster2", "no")
}

// told checks that the answer reached the next step and the Workflow's own outputs.
func (a actions) told(t *testing.T, name, target, answer string) {
	t.Helper()
	ended := a.ran(t, name, target, wfv1.WorkflowSucceeded)
	if tell := ended.Status.Nodes.FindByDisplayName("tell"); tell == nil || tell.Inputs.GetParameterByName("text").Value.String() != answer {
		t.Errorf("%s: the next step was told %v", name, tell)
	}
	if outputs := ended.Status.Outputs; outputs == nil || len(outputs.Parameters) != 1 || outputs.Parameters[0].Value.String() != answer {
		t.Errorf("%s: its own outputs are %v", name, outputs)
	}
}

func (a actions) resume(t *testing.T) {
	a.waits(t, "whole", "pause")
	a.must(t, "resume", "whole")
	a.ran(t, "whole", "cluster1", wfv1.WorkflowSucceeded)
}

func (a actions) stopByCommand(t *testing.T) {
	a.waits(t, "declined", "pause")
	a.must(t, "stop", "declined", "--node-field-selector", "displayName=pause", "--message", "declined")
	a.stopped(t, "declined", "cluster2")
}

// stopInTheUI also resubmits what it has stopped, and stops that.
func (a actions) stopInTheUI(t *testing.T) {
	const form = `"nodeFieldSelector":"displayName=pause","message":"declined"`
	a.waits(t, "cancelled", "pause")
	a.press(t, "cancelled", "stop", form)
	a.stopped(t, "cancelled", "cluster1")
	again := a.press(t, "cancelled", "resubmit", "").Name
	a.waits(t, again, "pause")
	a.press(t, again, "stop", form)
	a.stopped(t, again, "cluster1")
}

// stopped checks the end of what waited for a person who has declined.
func (a actions) stopped(t *testing.T, name, target string) {
	t.Helper()
	ended := a.ran(t, name, target, wfv1.WorkflowFailed)
	if node := ended.Status.Nodes.FindByDisplayName("pause"); node == nil || node.Phase != wfv1.NodeFailed || node.Message != "declined" {
		t.Errorf("the node is %v", node)
	}
}

// hold suspends between two steps. On a shared hub argo suspend cannot, since the hub copy is suspended already.
func (a actions) hold(t *testing.T) {
	a.create(t, a.namespace, strings.ReplaceAll(suspended("held", "cluster2", pausing), "suspend: {}", "container: {image: alpine:3.7, command: [sh, -c], args: [sleep 30]}"))
	a.hub.awaitPod(t, a.namespace, "held")
	a.must(t, "suspend", "held")
	if a.profile == stellarflow.ProfileDedicated {
		a.suspends(t, a.namespace, "held", true, func() error { return nil })
	} else if out, err := a.stellarflow(t, "suspend", "held", "-n", a.namespace); err != nil || wants(out, "suspended on cluster cluster2") != nil {
		t.Fatalf("stellarflow suspend: %v: %s", err, out)
	}
	if out, err := a.stellarflow(t, "explain", "held", "-n", a.namespace); err != nil || wants(out, `Suspended on cluster "cluster2"`, "suspend: done 1, refused 0") != nil {
		t.Errorf("explain: %v: %s", err, out)
	}
	a.hub.await(t, a.namespace, "held", "its first step ends and no other begins", func(w *wfv1.Workflow) error {
		if node := w.Status.Nodes.FindByDisplayName("pause"); node == nil || node.Phase != wfv1.NodeSucceeded {
			return fmt.Errorf("the step is %v", node)
		}
		return nil
	})
	if w, err := a.wecs["cluster2"].get(t.Context(), a.namespace, "held"); err != nil || w.Status.Nodes.FindByDisplayName("go") != nil {
		t.Errorf("the next step began: %v", err)
	}
	a.must(t, "resume", "held")
	a.ran(t, "held", "cluster2", wfv1.WorkflowSucceeded)
}

func (a actions) retry(t *testing.T) {
	first := a.ran(t, "again", "cluster1", wfv1.WorkflowFailed)
	a.must(t, "retry", "again", "-p", "code=0")
	a.runsAgain(t, "again", first)
	second := a.ran(t, "again", "cluster1", wfv1.WorkflowSucceeded)
	if good(first) != good(second) {
		t.Errorf("the step that had succeeded ran again: %s, then %s", good(first), good(second))
	}
	a.wantCode(t, second, "0")
	a.must(t, "retry", "again", "--restart-successful", "--node-field-selector", "displayName=good")
	a.runsAgain(t, "again", second)
	third := a.ran(t, "again", "cluster1", wfv1.WorkflowSucceeded)
	a.press(t, "again", "retry", `"restartSuccessful":true,"nodeFieldSelector":"displayName=good","parameters":["code=00"]`)
	a.runsAgain(t, "again", third)
	fourth := a.ran(t, "again", "cluster1", wfv1.WorkflowSucceeded)
	if good(second) == good(third) || good(third) == good(fourth) {
		t.Error("the step that was to run again did not")
	}
	a.wantCode(t, fourth, "00")
	if out, err := a.argo(t, "retry", "again", "-n", a.namespace); err == nil { // Argo's own answer
		t.Errorf("what has succeeded was retried: %s", out)
	}
}

// good is when the first step of what failing has made was done.
func good(w *wfv1.Workflow) string {
	return w.Status.Nodes.FindByDisplayName("good").FinishedAt.String()
}

func (a actions) wantCode(t *testing.T, w *wfv1.Workflow, wanted string) {
	t.Helper()
	if got := w.Spec.Arguments.GetParameterByName("code").Value.String(); got != wanted {
		t.Errorf("%s: its parameter is shown as %q, wanted %q", w.Name, got, wanted)
	}
}

// runsAgain waits until the hub shows another run: until the cluster has begun it, it shows the end of the one before.
func (a actions) runsAgain(t *testing.T, name string, before *wfv1.Workflow) {
	t.Helper()
	a.hub.await(t, a.namespace, name, "runs again", func(w *wfv1.Workflow) error {
		if w.Status.StartedAt.Equal(&before.Status.StartedAt) {
			return errSame
		}
		return nil
	})
}

// resubmit makes new Workflows of one that runs elsewhere; memoized ones take what has succeeded along.
func (a actions) resubmit(t *testing.T) {
	first := a.ran(t, "memo", "cluster2", wfv1.WorkflowFailed)
	out, err := a.argo(t, "resubmit", "memo", "--memoized", "-p", "code=0", "-n", a.namespace, "-o", "name")
	if err != nil {
		t.Fatalf("argo resubmit: %v: %s", err, out)
	}
	lines := strings.Fields(out)
	byCommand := strings.TrimPrefix(lines[len(lines)-1], "workflow.argoproj.io/")
	inTheUI := a.press(t, "memo", "resubmit", `"memoized":true,"parameters":["code=00"]`).Name
	for name, code := range map[string]string{byCommand: "0", inTheUI: "00"} {
		ended := a.ran(t, name, "cluster2", wfv1.WorkflowSucceeded)
		if node := ended.Status.Nodes.FindByDisplayName("good"); node == nil || node.Phase != wfv1.NodeSkipped {
			t.Errorf("%s: what had succeeded is %v", name, node)
		}
		a.wantCode(t, ended, code)
	}
	a.retryGone(t, first)
}

// retryGone retries what has failed and is not on its cluster any more: it goes there anew, with what it has done.
func (a actions) retryGone(t *testing.T, first *wfv1.Workflow) {
	wec := a.wecs["cluster2"]
	before, err := wec.get(t.Context(), a.namespace, first.Name)
	if err != nil {
		t.Fatal(err)
	}
	a.kubectl(t, wec, "-n", a.namespace, "delete", "workflow", first.Name)
	a.must(t, "retry", first.Name, "-p", "code=0")
	a.runsAgain(t, first.Name, first)
	second := a.hub.awaitPhase(t, a.namespace, first.Name, wfv1.WorkflowSucceeded)
	placement, _ := stellarflow.PlacementOf(second)
	if placement.Attempt != 2 || placement.Cluster != "cluster2" || placement.WECUID == before.UID {
		t.Errorf("its placement is %s, wanted a second attempt on cluster2", placement)
	}
	if node := second.Status.Nodes.FindByDisplayName("good"); good(first) != good(second) || node.Phase != wfv1.NodeSucceeded {
		t.Errorf("the step that had succeeded ran again: %s, then %s (%s)", good(first), good(second), node.Phase)
	}
	a.wantCode(t, second, "0")
	there, err := wec.get(t.Context(), a.namespace, first.Name)
	if err != nil || there.UID != placement.WECUID {
		t.Fatalf("its copy is %+v (%v)", there, err)
	}
	if diff := cmp.Diff(treeOf(there), treeOf(second)); diff != "" {
		t.Errorf("the hub copy shows another node tree than the WEC copy (-WEC +hub):\n%s", diff)
	}
	eventually(t, moment, "only the pod of the step that had failed is there", func(ctx context.Context) error { // the old copy's go with it
		pods, err := wec.pods(ctx, a.namespace, first.Name)
		if err == nil && len(pods) != 1 {
			err = fmt.Errorf("there are %d", len(pods))
		}
		return err
	})
	if n := a.hub.countPods(t, a.namespace, first.Name); n > 0 {
		t.Errorf("it has %d pods on the hub", n)
	}
}

// label labels and annotates what runs elsewhere. Its steps see that, as they would have here, and so does who looks at the copy.
func (a actions) label(t *testing.T) {
	a.waits(t, "named", "pause")
	wec := a.wecs["cluster1"]
	a.kubectl(t, wec, "-n", a.namespace, "label", "workflow", "named", "theirs=1")
	a.kubectl(t, a.hub, "-n", a.namespace, "label", "workflow", "named", "--overwrite", "team=green", "added=1", "old-")
	a.kubectl(t, a.hub, "-n", a.namespace, "annotate", "workflow", "named", "--overwrite", "ticket=seven", "example.com/added=1", "old-")
	there := wec.await(t, a.namespace, "named", "has what was changed on the hub", func(w *wfv1.Workflow) error {
		if w.Labels["team"] != "green" || w.Labels["added"] != "1" || w.Annotations["ticket"] != "seven" || w.Annotations["example.com/added"] != "1" {
			return fmt.Errorf("its labels are %v, its annotations %v", w.Labels, w.Annotations)
		}
		return nil
	})
	_, label := there.Labels["old"]
	_, annotation := there.Annotations["old"]
	if label || annotation || there.Labels["theirs"] != "1" || there.Labels[stellarflow.ArgoLabelPhase] != "Running" {
		t.Errorf("its labels are %v, its annotations %v", there.Labels, there.Annotations)
	}
	a.must(t, "resume", "named")
	ended := a.ran(t, "named", "cluster1", wfv1.WorkflowSucceeded)
	if tell := ended.Status.Nodes.FindByDisplayName("tell"); tell == nil || tell.Inputs.GetParameterByName("text").Value.String() != "green seven" {
		t.Errorf("the next step was told %v", tell)
	}
	if ended.Labels["theirs"] != "" {
		t.Errorf("what somebody put on the copy came to the hub: %v", ended.Labels)
	}
}

// delete deletes what runs elsewhere as the UI does. By force it is refused, in the UI and by command, and runs on.
func (a actions) delete(t *testing.T) {
	a.hub.awaitPod(t, a.namespace, "deleted")
	wec, path := a.wecs["cluster2"], "/api/v1/workflows/"+a.namespace+"/deleted"
	_, byCommand := a.argo(t, "delete", "deleted", "--force", "-n", a.namespace)
	_, inTheUI := a.ask(t, http.MethodDelete, path+"?force=true", "")
	for _, err := range []error{byCommand, inTheUI} {
		if err == nil || wants(err.Error(), "finalizer stellarflow.io/cleanup keeps this Workflow until its copy on the other cluster is gone", "stellarflow abandon") != nil {
			t.Errorf("deleted by force: %v", err)
		}
	}
	for _, c := range []*cluster{a.hub, wec} {
		if w, err := c.get(t.Context(), a.namespace, "deleted"); err != nil || w.DeletionTimestamp != nil || w.Status.Phase != wfv1.WorkflowRunning {
			t.Errorf("on %s it does not run on: %+v (%v)", c.name, w, err)
		}
	}
	if n := wec.countPods(t, a.namespace, "deleted"); n != 1 {
		t.Errorf("it has %d pods on %s", n, wec.name)
	}
	if out, err := a.ask(t, http.MethodDelete, path, ""); err != nil {
		t.Fatalf("delete: %v: %s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), moment)
	defer cancel()
	a.awaitNone(ctx, t, a.namespace, "deleted")
	eventually(t, moment, "its pods are gone", func(ctx context.Context) error {
		pods, err := wec.pods(ctx, a.namespace, "deleted")
		if err == nil && len(pods) > 0 {
			err = fmt.Errorf("%d are there", len(pods))
		}
		return err
	})
}
