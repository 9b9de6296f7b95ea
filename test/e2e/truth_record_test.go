package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	watchtools "k8s.io/client-go/tools/watch"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/artifact"
	"stellarflow.io/stellarflow/pkg/hub/upsync"
	"stellarflow.io/stellarflow/test/e2e/truth"
)

// chronicle holds every state of every copy, by cluster and name, in the order of the cluster.
type chronicle struct {
	mu  sync.Mutex
	all map[string]map[string][]*unstructured.Unstructured
}

func newChronicle() *chronicle {
	return &chronicle{all: map[string]map[string][]*unstructured.Unstructured{}}
}

// add is told of each state by the recorder of a cluster.
func (c *chronicle) add(cluster string, object *unstructured.Unstructured, gone bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all[cluster] == nil {
		c.all[cluster] = map[string][]*unstructured.Unstructured{}
	}
	if gone { // nobody deletes any while it is recorded: a state that is nowhere, which the judge finds
		object.Object["status"] = map[string]any{"message": "it was deleted"}
	}
	c.all[cluster][object.GetName()] = append(c.all[cluster][object.GetName()], object)
}

func (c *chronicle) states(cluster, name string) []*unstructured.Unstructured {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.all[cluster][name])
}

func (c *chronicle) last(cluster, name string) *unstructured.Unstructured {
	if states := c.states(cluster, name); len(states) > 0 {
		return states[len(states)-1]
	}
	return &unstructured.Unstructured{}
}

func (c *chronicle) count(clusters ...string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, cluster := range clusters {
		for _, states := range c.all[cluster] {
			n += len(states)
		}
	}
	return n
}

// begun returns an error as long as there is no WEC copy of a run's Workflow.
func (c *chronicle) begun(run truthRun) error {
	if name := federatedPrefix + run.truthWorkflow.name; len(c.states(run.target.name, name)) == 0 {
		return fmt.Errorf("%s has no copy of %s", run.target.name, name)
	}
	return nil
}

// ended returns what is missing until a run is over: its Workflow has ended, and if it is federated the hub shows the last that its
// cluster says.
func (c *chronicle) ended(run truthRun) error {
	onWEC := c.last(run.target.name, run.name())
	if phase := phaseOf(onWEC); !stellarflow.Completed(onWEC) || !phase.Completed() {
		return fmt.Errorf("%s is %q on %s", run.name(), phase, run.target.name)
	}
	if run.direct {
		return nil
	}
	onHub := c.last("hub", run.name())
	if phase := phaseOf(onHub); !stellarflow.Completed(onHub) || phase != phaseOf(onWEC) {
		return fmt.Errorf("%s is %q on %s, and %q on the hub", run.name(), phaseOf(onWEC), run.target.name, phase)
	}
	if slices.Contains(onWEC.GetFinalizers(), stellarflow.FinalizerHarvest) {
		return fmt.Errorf("%s has ended, and %s still holds it", run.name(), stellarflow.FinalizerHarvest)
	}
	return nil
}

func phaseOf(object *unstructured.Unstructured) wfv1.WorkflowPhase {
	phase, _, _ := unstructured.NestedString(object.Object, "status", "phase")
	return wfv1.WorkflowPhase(phase)
}

// truthMarks are the labels and annotations that travel with a status.
var truthMarks = []string{
	stellarflow.ArgoLabelCompleted, stellarflow.ArgoLabelPhase, stellarflow.ArgoLabelWorkflowTemplate,
	stellarflow.ArgoLabelClusterWorkflowTemplate, stellarflow.ArgoAnnotationPodNameFormat,
}

// marks are those that there are.
func marks(labels, annotations map[string]string) map[string]string {
	found := map[string]string{}
	for _, from := range []map[string]string{labels, annotations} {
		for _, key := range truthMarks {
			if value, there := from[key]; there {
				found[key] = value
			}
		}
	}
	return found
}

// stored is a state as the hub holds it.
func stored(t *testing.T, object *unstructured.Unstructured, claims string) truth.State {
	t.Helper()
	raw, err := json.Marshal(object.Object["status"])
	if err != nil {
		t.Fatal(err)
	}
	return truth.State{
		Version: object.GetResourceVersion(), Claims: claims, Status: upsync.Canonical(raw), Marks: marks(object.GetLabels(), object.GetAnnotations()),
	}
}

// rendered are states of a WEC as the hub may show them, by the manager's own rules.
func (f *fleet) rendered(t *testing.T, onWEC []*unstructured.Unstructured) []truth.State {
	t.Helper()
	repository, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&struct {
		Default    bool `json:"default"`
		Repository any  `json:"artifactRepository"`
	}{true, artifact.Repository(f.store, "hub")})
	if err != nil {
		t.Fatal(err)
	}
	rules := upsync.Rules{Repository: repository, Bucket: f.store.Bucket, Endpoint: f.store.Endpoint}
	var states []truth.State
	for _, object := range onWEC {
		raw, err := object.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		wecCopy, err := upsync.Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		shown, err := upsync.Render(wecCopy, rules)
		if err != nil {
			t.Fatalf("resourceVersion %s of %s: %v", object.GetResourceVersion(), object.GetName(), err)
		}
		if shown.Status != nil {
			states = append(states, truth.State{Version: object.GetResourceVersion(), Status: shown.Status, Marks: marks(shown.Labels, shown.Annotations)})
		}
	}
	return states
}

// directShapes are what the direct runs have come to, by the name of the file.
func (f *fleet) directShapes(t *testing.T, workflows []truthWorkflow, tale *chronicle) map[string]map[string]any {
	t.Helper()
	if f.direct != nil {
		return f.direct
	}
	shapes := map[string]map[string]any{}
	for _, w := range workflows {
		name := directPrefix + w.name
		states := f.rendered(t, tale.states(w.target.name, name))
		shapes[w.name] = shapeOf(t, tale.last(w.target.name, name), states[len(states)-1])
	}
	f.direct = shapes
	return shapes
}

func shapeOf(t *testing.T, object metav1.Object, end truth.State) map[string]any {
	t.Helper()
	uid := object.GetUID()
	if placement, placed := stellarflow.PlacementOf(object); placed {
		uid = placement.WECUID // the one that the run knew
	}
	shape, err := truth.Shape(end.Status, truth.Run{Namespace: object.GetNamespace(), Name: object.GetName(), UID: string(uid)})
	if err != nil {
		t.Error(err)
	}
	return shape
}

// podWatch notes the pods of Workflows that run on a cluster.
type podWatch struct {
	stream *watchtools.RetryWatcher
	done   chan struct{}
	found  []string
}

// podWatcher lets a RetryWatcher watch the pods of Workflows.
type podWatcher struct {
	c         *cluster
	namespace string
}

func (w podWatcher) WatchWithContext(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	options.LabelSelector = podsHere
	return w.c.core.CoreV1().Pods(w.namespace).Watch(ctx, options)
}

// watchPods watches the pods of Workflows of a namespace that run on the cluster from now on.
func (c *cluster) watchPods(t *testing.T, namespace string) *podWatch {
	t.Helper()
	list, err := c.core.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w := &podWatch{done: make(chan struct{})}
	if w.stream, err = watchtools.NewRetryWatcherWithContext(t.Context(), list.ResourceVersion, podWatcher{c, namespace}); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(w.done)
		for event := range w.stream.ResultChan() {
			if pod, ok := event.Object.(*corev1.Pod); ok {
				w.found = append(w.found, strings.ToLower(string(event.Type))+" "+pod.Name)
			} else {
				w.found = append(w.found, fmt.Sprintf("and what the watch that broke has missed: %v", event.Object))
			}
		}
	}()
	return w
}

// stop ends the watch and returns what it has seen.
func (w *podWatch) stop() []string {
	w.stream.Stop()
	<-w.done
	return w.found
}
