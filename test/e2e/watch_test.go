package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/watch"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// testEveryEvent runs a Workflow with a step of 40 s, during which the hub's own Argo controller looks at it again and again, and
// holds every event of the hub copy against what the WEC copy was at that time.
func testEveryEvent(t *testing.T, f *fleet) {
	namespace, wec := f.newNamespace(t, "watch"), f.wecs["cluster1"]
	onHub, onWEC := f.hub.record(t, namespace), wec.record(t, namespace)
	f.create(t, namespace, suspended("long", "cluster1", `
- name: main
  steps:
  - - {name: wait, template: wait}
  - - {name: say, template: say}
- name: wait
  container: {image: alpine:3.7, command: [sh, -c], args: ["sleep 40; echo slept"]}
- name: say
  container: {image: busybox, command: [echo], args: [awake]}
`))
	f.hub.awaitPod(t, namespace, "long")
	if got := f.hub.countPods(t, namespace, ""); got != 0 {
		t.Errorf("the hub has %d pods while the Workflow runs on cluster1", got)
	}
	last := f.awaitRun(t, namespace, "long", "cluster1", 2)
	events := onHub.until(t, last.ResourceVersion)
	reported := map[string]*wfv1.Workflow{}
	for _, event := range onWEC.all() {
		reported[event.ResourceVersion] = event
	}
	mirrored := checkEvents(t, events, reported)
	t.Logf("%d events of the hub copy, %d of them mirrored from one of %d states of the WEC copy", len(events), mirrored, len(reported))
	if mirrored < 4 {
		t.Errorf("only %d states were mirrored: that is no live status", mirrored)
	}
}

// checkEvents checks each event of a hub copy and returns how many different states were mirrored.
func checkEvents(t *testing.T, events []*wfv1.Workflow, reported map[string]*wfv1.Workflow) int {
	t.Helper()
	var phase wfv1.WorkflowPhase
	nodes, observed, mirrored := map[string]wfv1.NodePhase{}, "", 0
	for _, event := range events {
		name := fmt.Sprintf("event at resourceVersion %s", event.ResourceVersion)
		if event.Status.Phase == wfv1.WorkflowError || event.Status.Phase == wfv1.WorkflowFailed {
			t.Errorf("%s: the hub showed %s: %s", name, event.Status.Phase, event.Status.Message)
		}
		// Until it is placed a new Workflow is anybody's, and the hub's own Argo controller may call it Running.
		if _, placed := stellarflow.PlacementOf(event); placed {
			if rank(event.Status.Phase) < rank(phase) {
				t.Errorf("%s: the phase went back from %q to %q", name, phase, event.Status.Phase)
			}
			phase = event.Status.Phase
		}
		for id, node := range event.Status.Nodes {
			if strings.Contains(node.Message, "pod deleted") || node.Phase == wfv1.NodeError {
				t.Errorf("%s: node %s is %s: %s", name, node.Name, node.Phase, node.Message)
			}
			if rank(wfv1.WorkflowPhase(node.Phase)) < rank(wfv1.WorkflowPhase(nodes[id])) {
				t.Errorf("%s: node %s went back from %q to %q", name, node.Name, nodes[id], node.Phase)
			}
			nodes[id] = node.Phase
		}
		for id := range nodes {
			if _, there := event.Status.Nodes[id]; !there {
				t.Errorf("%s: node %s has vanished", name, id)
			}
		}
		seen, known := stellarflow.ParseObserved(event.Annotations[stellarflow.AnnotationObserved])
		if !known {
			if len(event.Status.Nodes) > 0 {
				t.Errorf("%s: it has nodes, and nothing says where they come from", name)
			}
			continue
		}
		if observed != "" {
			if order, err := resourceversion.CompareResourceVersion(seen.ResourceVersion, observed); err != nil || order < 0 {
				t.Errorf("%s: what was observed went back from %s to %s (%v)", name, observed, seen.ResourceVersion, err)
			}
		}
		if seen.ResourceVersion != observed {
			mirrored++
		}
		observed = seen.ResourceVersion
		source := reported[seen.ResourceVersion]
		if source == nil {
			t.Errorf("%s: it claims to be resourceVersion %s of the WEC copy, which never was", name, seen.ResourceVersion)
			continue
		}
		if diff := cmp.Diff(treeOf(source), treeOf(event)); diff != "" || source.Status.Phase != event.Status.Phase || source.Status.Progress != event.Status.Progress {
			t.Errorf("%s: phase %q (%s), the WEC said %q (%s); nodes (-WEC +hub):\n%s",
				name, event.Status.Phase, event.Status.Progress, source.Status.Phase, source.Status.Progress, diff)
		}
	}
	return mirrored
}

// rank orders phases by time.
func rank(phase wfv1.WorkflowPhase) int {
	switch phase {
	case "":
		return 0
	case wfv1.WorkflowPending:
		return 1
	case wfv1.WorkflowRunning:
		return 2
	default:
		return 3
	}
}

// recording is every state of the Workflows of a namespace since it began.
type recording struct {
	mu     sync.Mutex
	states []*wfv1.Workflow
	err    error
}

// record begins a recording.
func (c *cluster) record(t *testing.T, namespace string) *recording {
	t.Helper()
	stream, err := c.workflows.Namespace(namespace).Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatalf("watch the Workflows of %s on %s: %v", namespace, c.name, err)
	}
	r := &recording{}
	t.Cleanup(stream.Stop)
	go func() {
		for event := range stream.ResultChan() {
			r.add(event)
		}
	}()
	return r
}

func (r *recording) add(event watch.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	object, ok := event.Object.(*unstructured.Unstructured)
	if !ok || event.Type == watch.Error {
		r.err = fmt.Errorf("the watch ended: %v", event.Object)
		return
	}
	workflow, err := convert(object)
	if err != nil {
		r.err = err
		return
	}
	r.states = append(r.states, workflow)
}

// all are the states so far.
func (r *recording) all() []*wfv1.Workflow {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.states
}

// until waits for a state and returns all.
func (r *recording) until(t *testing.T, resourceVersion string) []*wfv1.Workflow {
	t.Helper()
	eventually(t, moment, "the watch delivers resourceVersion "+resourceVersion, func(context.Context) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, state := range r.states {
			if state.ResourceVersion == resourceVersion {
				return nil
			}
		}
		if r.err != nil {
			return finalError{r.err}
		}
		return fmt.Errorf("there are %d states", len(r.states))
	})
	return r.all()
}
