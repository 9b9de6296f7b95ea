package e2e

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	gocmp "github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/test/chaos/recorder"
	"stellarflow.io/stellarflow/test/e2e/truth"
)

const (
	// truthFiles is how many Workflows testdata/truth has.
	truthFiles = 30
	// truthAtOnce is how many of them may be under way at once, so that their pods do not starve other suites of the processors.
	truthAtOnce = 8
	// directPrefix begins the names of those that run on a WEC without us, federatedPrefix the names of the others. A name that is no
	// word of a manifest can be found again in a status.
	directPrefix, federatedPrefix = "direct-", "truth-"
	// untilTaken is a command that ends when Argo's executor has taken what a step has written. A step with a result does not end before: else
	// it may have none (see log), in one of two runs that are compared.
	untilTaken = "until [ -s /var/run/argo/ctr/main/stdout ]; do sleep 0.1; done"
)

// truthEnds are how those end that do not succeed: without it one could fail in both runs and show nothing any more.
var truthEnds = map[string]wfv1.WorkflowPhase{
	"dag-fail-slow": wfv1.WorkflowFailed, "exit-handler": wfv1.WorkflowFailed, "failing": wfv1.WorkflowFailed,
	"retry-gives-up": wfv1.WorkflowFailed, "timing-out": wfv1.WorkflowFailed,
}

// truthSlow are those with a step of 90 s. They begin first, and nothing waits for their end.
var truthSlow = map[string]int{"long": 1, "long-steps": 1}

// truthWorkflow is one of testdata/truth.
type truthWorkflow struct {
	name   string
	target *cluster
	// workflow is as a person writes it for one cluster; needs are the WorkflowTemplates that it refers to.
	workflow *unstructured.Unstructured
	needs    []*unstructured.Unstructured
}

// readTruth reads testdata/truth. Each WEC gets every second one.
func (f *fleet) readTruth(t *testing.T) []truthWorkflow {
	t.Helper()
	files, err := filepath.Glob("testdata/truth/*.yaml")
	if err != nil || len(files) != truthFiles {
		t.Fatalf("testdata/truth has %d Workflows, wanted %d (%v)", len(files), truthFiles, err)
	}
	fill := strings.NewReplacer("STORE", f.store.Endpoint, "BUCKET", f.store.Bucket, "TAKEN", untilTaken)
	var all []truthWorkflow
	for i, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		one := truthWorkflow{name: strings.TrimSuffix(filepath.Base(file), ".yaml"), target: f.wecs[wecNames[i%len(wecNames)]]}
		for _, document := range strings.Split(fill.Replace(string(raw)), "\n---\n") {
			object := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte(document), object); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if object.GetKind() == stellarflow.WorkflowKind.Kind {
				one.workflow = object
			} else {
				one.needs = append(one.needs, object)
			}
		}
		all = append(all, one)
	}
	return all
}

// testTruth runs every kind of Workflow that Argo has on the WECs, federated and directly. Nothing that the hub shows of one may differ
// from what its WEC has said before, and a federated run must come to what a direct one comes to.
func testTruth(t *testing.T, f *fleet) { f.runTruth(t, nil) }

// runTruth runs the Workflows of testdata/truth federated, and directly if nobody has yet, and judges what was recorded. disturb is
// called until all have ended.
func (f *fleet) runTruth(t *testing.T, disturb func(context.Context, *testing.T)) {
	workflows := f.readTruth(t)
	namespace := f.newNamespace(t, "truth")
	f.prepareTruth(t, namespace, workflows)
	tale := newChronicle()
	books := make([]*recorder.Recorder, 0, 1+len(wecNames))
	log := &recorder.Log{}
	for _, c := range f.all() {
		book := f.recorder(t, c, namespace, log)
		book.Changed = tale.add
		if err := book.Start(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		books = append(books, book)
	}
	pods := f.hub.watchPods(t, namespace)
	f.runAll(t, namespace, workflows, tale, disturb)
	for _, book := range books {
		if err := book.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, record := range log.All() {
		if record.Text != "" {
			t.Errorf("the recording says: %s", record.Text)
		}
	}
	if found := pods.stop(); len(found) > 0 {
		t.Errorf("pods of Workflows were on the hub: %v", found)
	}
	f.checkEventsOfArgo(t, namespace)
	direct := f.directShapes(t, workflows, tale)
	for _, w := range workflows {
		t.Run(w.name, func(t *testing.T) { f.judgeTruth(t, w, tale, direct[w.name]) })
	}
	t.Logf("%d states of hub copies, %d of WEC copies and of direct runs", tale.count(f.hub.name), tale.count(wecNames...))
}

// truthRun is one run of a Workflow.
type truthRun struct {
	truthWorkflow
	direct bool
}

// runAll creates everything, a few at a time, and waits until all has ended and the hub shows it.
func (f *fleet) runAll(t *testing.T, namespace string, workflows []truthWorkflow, tale *chronicle, disturb func(context.Context, *testing.T)) {
	t.Helper()
	var runs, begun []truthRun
	for _, direct := range []bool{false, true} {
		for _, w := range workflows {
			if !direct || f.direct == nil {
				runs = append(runs, truthRun{w, direct})
			}
		}
	}
	slices.SortStableFunc(runs, func(a, b truthRun) int {
		return cmp.Compare(truthSlow[b.truthWorkflow.name], truthSlow[a.truthWorkflow.name])
	})
	if disturb != nil {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			disturb(ctx, t)
		}()
		defer func() { cancel(); <-done }()
	}
	underWay := func(most int) func(context.Context) error {
		return func(context.Context) error {
			var left []string
			for _, run := range begun {
				if most > 0 && truthSlow[run.truthWorkflow.name] > 0 {
					continue
				}
				if err := tale.ended(run); err != nil {
					left = append(left, err.Error())
				}
			}
			if len(left) > most {
				return errors.New(strings.Join(left, "; "))
			}
			return nil
		}
	}
	for _, run := range runs {
		eventually(t, patience, "some of what is under way ends", underWay(truthAtOnce-1))
		if run.direct { // for then the hub has made the namespace ready
			eventually(t, patience, "the federated run of "+run.truthWorkflow.name+" is there", func(context.Context) error { return tale.begun(run) })
		}
		f.begin(t, namespace, run)
		begun = append(begun, run)
	}
	eventually(t, patience, "all ends, and the hub shows it", underWay(0))
}

// name is the name of the object.
func (r truthRun) name() string {
	if r.direct {
		return directPrefix + r.truthWorkflow.name
	}
	return federatedPrefix + r.truthWorkflow.name
}

// begin creates the Workflow of a run.
func (f *fleet) begin(t *testing.T, namespace string, run truthRun) {
	t.Helper()
	object, where := run.workflow.DeepCopy(), f.hub
	object.SetName(run.name())
	if run.direct {
		object.SetLabels(map[string]string{labelDirect: "true"})
		where = run.target
	} else {
		object.SetLabels(map[string]string{labelTruth: namespace + "-" + run.target.name})
		if f.profile != stellarflow.ProfileDedicated { // there it is as the UI makes it
			if err := unstructured.SetNestedField(object.Object, true, "spec", "suspend"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := where.workflows.Namespace(namespace).Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatalf("create Workflow %s on %s: %v", run.name(), where.name, err)
	}
}

// judgeTruth judges one Workflow.
func (f *fleet) judgeTruth(t *testing.T, w truthWorkflow, tale *chronicle, direct map[string]any) {
	name := federatedPrefix + w.name
	onHub, onWEC := tale.states(f.hub.name, name), f.rendered(t, tale.states(w.target.name, name))
	shown := f.checkShown(t, onHub)
	for _, finding := range slices.Concat(truth.Follow(shown, onWEC), truth.End(shown, onWEC)) {
		t.Error(finding)
	}
	for _, step := range truth.OnlyBackwards(shown, onWEC) {
		t.Errorf("resourceVersion %s of the hub copy: node %s went back from %q to %q, which it did not on the WEC", step.Version, step.Node, step.From, step.To)
	}
	for _, step := range truth.Backwards(onWEC) {
		t.Logf("on the WEC, at resourceVersion %s, node %s went back from %q to %q", step.Version, step.Node, step.From, step.To)
	}
	if t.Failed() {
		return
	}
	last := onHub[len(onHub)-1]
	hubCopy := typed(t, last)
	wanted := wfv1.WorkflowSucceeded
	if end, other := truthEnds[w.name]; other {
		wanted = end
	}
	if hubCopy.Status.Phase != wanted || hubCopy.Labels[stellarflow.LabelCluster] != w.target.name {
		t.Errorf("it ended %s on %s: %s%s; wanted %s on %s", hubCopy.Status.Phase, hubCopy.Labels[stellarflow.LabelCluster],
			hubCopy.Status.Message, stuckNodes(hubCopy), wanted, w.target.name)
	}
	f.compareCopies(t, hubCopy, w.target)
	if diff := gocmp.Diff(direct, shapeOf(t, hubCopy, shown[len(shown)-1])); diff != "" {
		t.Errorf("it came to something else than the same Workflow run directly on %s (-direct +federated):\n%s", w.target.name, diff)
	}
	t.Logf("%d states of the hub copy, %d of them mirrored; the WEC copy had %d", len(onHub), len(shown), len(onWEC))
}

// checkShown checks the states of a hub copy before its WEC has said anything, and returns those that are mirrored.
func (f *fleet) checkShown(t *testing.T, onHub []*unstructured.Unstructured) []truth.State {
	t.Helper()
	var shown []truth.State
	for _, object := range onHub {
		observed, mirrored := stellarflow.ParseObserved(object.GetAnnotations()[stellarflow.AnnotationObserved])
		switch event := typed(t, object); {
		case mirrored:
			shown = append(shown, stored(t, object, observed.ResourceVersion))
		case len(shown) > 0:
			t.Errorf("resourceVersion %s: it does not say any more what it was mirrored from", event.ResourceVersion)
		case len(event.Status.Nodes) > 0 || event.Status.Phase.Completed():
			t.Errorf("resourceVersion %s: it is %q with %d nodes, and nothing says where they come from", event.ResourceVersion, event.Status.Phase, len(event.Status.Nodes))
		}
	}
	return shown
}

// checkEventsOfArgo checks that the hub's Argo controller has said of none that it has failed or lost a pod.
func (f *fleet) checkEventsOfArgo(t *testing.T, namespace string) {
	t.Helper()
	events, err := f.hub.core.CoreV1().Events(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range events.Items {
		event := &events.Items[i]
		if event.Source.Component == "workflow-controller" && (strings.Contains(event.Message, "pod deleted") || strings.HasPrefix(event.Reason, "WorkflowNode")) {
			t.Errorf("the hub's Argo controller said of %s: %s %s", event.InvolvedObject.Name, event.Reason, event.Message)
		}
	}
}
