package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// waits writes on a WEC what Argo does where a step waits for a person, and another runs.
func (s *server) waits(t *testing.T, ns, name string) {
	t.Helper()
	started := metav1.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s.write(t, ns, name, func(w *v1alpha1.Workflow) {
		w.Labels[stellarflow.ArgoLabelPhase], w.Labels[stellarflow.ArgoLabelCompleted] = "Running", "false"
		w.Status = v1alpha1.WorkflowStatus{Phase: v1alpha1.WorkflowRunning, StartedAt: started, Nodes: v1alpha1.Nodes{
			name: {ID: name, Name: name, Type: v1alpha1.NodeTypeSteps, Phase: v1alpha1.NodeRunning, StartedAt: started, Children: []string{name + "-1", name + "-2"}},
			name + "-1": {
				ID: name + "-1", Name: name + "[0].ask", DisplayName: "ask", Type: v1alpha1.NodeTypeSuspend, Phase: v1alpha1.NodeRunning, StartedAt: started, BoundaryID: name,
				Outputs: &v1alpha1.Outputs{Parameters: []v1alpha1.Parameter{{Name: "approve", ValueFrom: &v1alpha1.ValueFrom{Supplied: &v1alpha1.SuppliedValueFrom{}}}}},
			},
			name + "-2": {ID: name + "-2", Name: name + "[0].work", DisplayName: "work", Type: v1alpha1.NodeTypePod, Phase: v1alpha1.NodeRunning, StartedAt: started, BoundaryID: name},
		}}
	})
}

// write changes a Workflow as Argo does, until it is not too late for that.
func (s *server) write(t *testing.T, ns, name string, change func(*v1alpha1.Workflow)) {
	t.Helper()
	eventually(t, "the write of Argo", func(ctx context.Context) (bool, string) {
		if _, err := argoServer(ctx, s.dynamic, ns, name, change); err != nil {
			return false, err.Error()
		}
		return true, ""
	})
}

func nodePhase(w *unstructured.Unstructured, id string) string {
	if w == nil {
		return ""
	}
	phase, _, _ := unstructured.NestedString(w.Object, "status", "nodes", id, "phase")
	return phase
}

func noIntents(w *unstructured.Unstructured) bool {
	return w != nil && w.GetAnnotations()[stellarflow.AnnotationIntents] == ""
}

func resume(w *v1alpha1.Workflow) {
	w.Spec.Suspend = nil
	for id, node := range w.Status.Nodes {
		if node.IsActiveSuspendNode() {
			node.Phase, node.Message, node.FinishedAt = v1alpha1.NodeSucceeded, "Resumed by: map[]", metav1.Now()
			w.Status.Nodes[id] = node
		}
	}
}

func setOutput(id, name, value string) func(*v1alpha1.Workflow) {
	return func(w *v1alpha1.Workflow) {
		node := w.Status.Nodes[id]
		for i := range node.Outputs.Parameters {
			if node.Outputs.Parameters[i].Name == name {
				node.Outputs.Parameters[i].Value, node.Outputs.Parameters[i].ValueFrom = v1alpha1.AnyStringPtr(value), nil
			}
		}
		w.Status.Nodes[id] = node
	}
}

// acting is a hub whose API server asks the manager's webhook, and a person who uses Argo's tools on it.
type acting struct {
	*clusters
	ns, address string
	alice       dynamic.Interface
}

func setUpActing(t *testing.T, o managerOptions) (acting, *manager) {
	t.Helper()
	c := sharedClusters(t)
	o.webhook = c.serveWebhook(t)
	c, m, ns := setUp(t, o)
	return acting{c, ns, o.webhook, c.hub.as(t, "alice")}, m
}

// asks submits a Workflow that waits for a person on cluster1.
func (a acting) asks(t *testing.T, name string) {
	t.Helper()
	a.submit(t, a.ns, name, "cluster1")
	a.wecs["cluster1"].waitFor(t, a.ns, name, "the WEC copy", exists)
	a.wecs["cluster1"].waits(t, a.ns, name)
	a.hub.waitFor(t, a.ns, name, "the suspended node", func(w *unstructured.Unstructured) bool { return nodePhase(w, name+"-1") == "Running" })
	a.trusted(t, a.ns, name)
}

// act writes as Argo's tools do, and again when somebody else was faster.
func (a acting) act(t *testing.T, name string, change func(*v1alpha1.Workflow)) {
	t.Helper()
	eventually(t, "the action to be taken", func(ctx context.Context) (bool, string) {
		_, err := argoServer(ctx, a.alice, a.ns, name, change)
		return err == nil, fmt.Sprint(err)
	})
}

// fails ends a Workflow whose second step failed.
func (c *clusters) fails(t *testing.T, ns, name string) {
	t.Helper()
	finished := metav1.Date(2026, 1, 1, 0, 1, 0, 0, time.UTC)
	c.wecs["cluster1"].write(t, ns, name, func(w *v1alpha1.Workflow) {
		w.Labels[stellarflow.ArgoLabelPhase], w.Labels[stellarflow.ArgoLabelCompleted] = "Failed", "true"
		w.Status = v1alpha1.WorkflowStatus{Phase: v1alpha1.WorkflowFailed, Message: "child failed", StartedAt: finished, FinishedAt: finished, Nodes: v1alpha1.Nodes{
			name: {
				ID: name, Name: name, Type: v1alpha1.NodeTypeSteps, Phase: v1alpha1.NodeFailed, Message: "child failed", StartedAt: finished, FinishedAt: finished,
				Children: []string{name + "-1", name + "-2"}, OutboundNodes: []string{name + "-2"},
			},
			name + "-1": {ID: name + "-1", Name: name + "[0].a", Type: v1alpha1.NodeTypePod, Phase: v1alpha1.NodeSucceeded, StartedAt: finished, FinishedAt: finished},
			name + "-2": {ID: name + "-2", Name: name + "[0].b", Type: v1alpha1.NodeTypePod, Phase: v1alpha1.NodeFailed, StartedAt: finished, FinishedAt: finished},
		}}
	})
	c.hub.waitFor(t, ns, name, "the end", inPhase("Failed"))
}

// argoRetry is argo retry of what fails has ended, with a parameter.
func argoRetry(name string) func(w *v1alpha1.Workflow) {
	return func(w *v1alpha1.Workflow) {
		delete(w.Labels, stellarflow.ArgoLabelCompleted)
		w.Labels[stellarflow.ArgoLabelPhase] = "Running"
		w.Status.Conditions.UpsertCondition(v1alpha1.Condition{Status: metav1.ConditionFalse, Type: v1alpha1.ConditionTypeCompleted})
		w.Status.Phase, w.Status.Message, w.Status.StartedAt, w.Status.FinishedAt = v1alpha1.WorkflowRunning, "", metav1.Now(), metav1.Time{}
		root := w.Status.Nodes[name]
		root.Phase, root.Message, root.StartedAt, root.FinishedAt, root.Children, root.OutboundNodes = v1alpha1.NodeRunning, "", metav1.Now(), metav1.Time{}, []string{name + "-1"}, nil
		w.Status.Nodes[name] = root
		delete(w.Status.Nodes, name+"-2")
		w.Spec.Arguments.Parameters = []v1alpha1.Parameter{{Name: "who", Value: v1alpha1.AnyStringPtr("you")}}
	}
}

func arguments(w *unstructured.Unstructured) string {
	parameters, _, _ := unstructured.NestedSlice(w.Object, "spec", "arguments", "parameters")
	return fmt.Sprint(parameters)
}

// TestActions does on the hub what the UI's buttons do, and looks for it on the WEC.
func TestActions(t *testing.T) {
	a, _ := setUpActing(t, managerOptions{})
	wec, ns := a.wecs["cluster1"], a.ns
	t.Run("set outputs and resume, as the UI does", func(t *testing.T) {
		a.asks(t, "approve")
		a.act(t, "approve", setOutput("approve-1", "approve", "yes"))
		a.act(t, "approve", resume)
		wec.waitFor(t, ns, "approve", "the resume", func(w *unstructured.Unstructured) bool { return nodePhase(w, "approve-1") == "Succeeded" })
		shown := a.hub.waitFor(t, ns, "approve", "the resume", func(w *unstructured.Unstructured) bool {
			return nodePhase(w, "approve-1") == "Succeeded" && noIntents(w)
		})
		parameters, _, _ := unstructured.NestedSlice(shown.Object, "status", "nodes", "approve-1", "outputs", "parameters")
		if len(parameters) != 1 || parameters[0].(map[string]any)["value"] != "yes" {
			t.Errorf("its outputs are %v", parameters)
		}
		if !suspended(shown) || nodePhase(shown, "approve-2") != "Running" {
			t.Errorf("the hub copy would run here: %s", describe(shown))
		}
		a.waitEvent(t, ns, "approve", "IntentDone", "resume asked by alice was done on cluster cluster1")
	})
	t.Run("suspend and resume the whole", func(t *testing.T) {
		a.asks(t, "hold")
		mustPatch(t, a, "hold", `{"metadata":{"annotations":{"stellarflow.io/request":"suspend"}}}`)
		wec.waitFor(t, ns, "hold", "the suspension", suspended)
		a.hub.waitFor(t, ns, "hold", "the suspension", func(w *unstructured.Unstructured) bool {
			return w.GetAnnotations()[stellarflow.AnnotationSuspended] == "true" && noIntents(w)
		})
		a.act(t, "hold", resume)
		wec.waitFor(t, ns, "hold", "the resume", func(w *unstructured.Unstructured) bool { return !suspended(w) && nodePhase(w, "hold-1") == "Succeeded" })
		a.hub.waitFor(t, ns, "hold", "the resume", func(w *unstructured.Unstructured) bool {
			return w.GetAnnotations()[stellarflow.AnnotationSuspended] == "" && noIntents(w)
		})
	})
	t.Run("refused at once", func(t *testing.T) {
		a.asks(t, "no")
		for what, tc := range map[string]struct {
			change func(*v1alpha1.Workflow)
			says   string
		}{
			"a phase by hand": {func(w *v1alpha1.Workflow) { w.Status.Phase = v1alpha1.WorkflowSucceeded }, "would be overwritten"},
			"a pod's node": {func(w *v1alpha1.Workflow) {
				node := w.Status.Nodes["no-2"]
				node.Phase = v1alpha1.NodeSucceeded
				w.Status.Nodes["no-2"] = node
			}, `node "no-2" is not suspended`},
			"another spec":        {func(w *v1alpha1.Workflow) { w.Spec.Entrypoint = "other" }, "resubmit it with the change"},
			"an intent by itself": {func(w *v1alpha1.Workflow) { w.Annotations[stellarflow.AnnotationIntents] = "[]" }, "is written by admission only"},
		} {
			_, err := argoServer(t.Context(), a.alice, ns, "no", tc.change)
			if err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%s: %v, want %q", what, err, tc.says)
			}
		}
	})
}

// TestRetry retries on the hub what failed on a WEC: where its copy is, and, if it is gone, in another attempt.
func TestRetry(t *testing.T) {
	a, _ := setUpActing(t, managerOptions{archive: "all"})
	wec, ns := a.wecs["cluster1"], a.ns
	a.running(t, ns, "again", "cluster1")
	wecCopy := wec.get(t.Context(), ns, "again")
	kept, doomed, foreign := wec.pod(t, ns, wecCopy, "again-1"), wec.pod(t, ns, wecCopy, "again-2"), wec.pod(t, ns, nil, "again-2")
	a.fails(t, ns, "again")
	a.trusted(t, ns, "again")
	a.hub.archived(t, ns, "again")
	a.act(t, "again", argoRetry("again"))
	down := wec.waitFor(t, ns, "again", "the retry", inPhase("Running"))
	if _, there := down.GetLabels()[stellarflow.ArgoLabelCompleted]; there || nodePhase(down, "again") != "Running" || nodePhase(down, "again-1") != "Succeeded" || nodePhase(down, "again-2") != "" {
		t.Errorf("the WEC copy after the retry: %s", describe(down))
	}
	if !hasFinalizer(down, stellarflow.FinalizerHarvest) {
		t.Error("nothing keeps the WEC copy that runs again")
	}
	up := a.hub.waitFor(t, ns, "again", "the retry", func(w *unstructured.Unstructured) bool { return phase(w) == "Running" && noIntents(w) })
	if status := archiving(up); status != "" {
		t.Errorf("it runs again, and is %s", status)
	}
	for _, w := range []*unstructured.Unstructured{down, up} {
		if got := arguments(w); !strings.Contains(got, "value:you") {
			t.Errorf("its arguments are %s", got)
		}
	}
	for pod, want := range map[*corev1.Pod]bool{kept: true, foreign: true, doomed: false} {
		_, err := wec.core.CoreV1().Pods(ns).Get(t.Context(), pod.Name, metav1.GetOptions{})
		if (err == nil) != want {
			t.Errorf("pod %s of node %v: %v", pod.Name, pod.Annotations, err)
		}
	}

	t.Run("its copy is gone", func(t *testing.T) {
		a.fails(t, ns, "again")
		wec.waitFor(t, ns, "again", "the release", func(w *unstructured.Unstructured) bool { return !hasFinalizer(w, stellarflow.FinalizerHarvest) })
		if err := wec.workflows(ns).Delete(t.Context(), "again", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		a.act(t, "again", argoRetry("again"))
		second := wec.waitFor(t, ns, "again", "the second attempt", func(w *unstructured.Unstructured) bool {
			return w != nil && w.GetUID() != wecCopy.GetUID()
		})
		if nodePhase(second, "again-1") != "Succeeded" || nodePhase(second, "again-2") != "" || nodePhase(second, "again") != "Running" || phase(second) != "" {
			t.Errorf("it begins with %s", describe(second))
		}
		shown := a.hub.get(t.Context(), ns, "again")
		if placement := mustPlacement(t, shown); placement.Attempt != 2 || stellarflow.Completed(shown) || !noIntents(shown) || archiving(shown) != "" {
			t.Errorf("the hub copy: attempt %d, %s", placement.Attempt, describe(shown))
		}
		wec.argo(t, ns, "again", "Succeeded")
		if ended := a.hub.waitFor(t, ns, "again", "the end", inPhase("Succeeded")); archiving(ended) != "Pending" {
			t.Errorf("its second end is not archived: %q", archiving(ended))
		}
	})
	t.Run("its copy is gone, and something else waits", func(t *testing.T) {
		a.running(t, ns, "before", "cluster1")
		a.fails(t, ns, "before")
		wec.waitFor(t, ns, "before", "the release", func(w *unstructured.Unstructured) bool { return !hasFinalizer(w, stellarflow.FinalizerHarvest) })
		if err := wec.workflows(ns).Delete(t.Context(), "before", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		observed, _ := stellarflow.ParseObserved(a.hub.get(t.Context(), ns, "before").GetAnnotations()[stellarflow.AnnotationObserved])
		a.intend(t, ns, "before", stellarflow.Intent{ID: "s", Kind: stellarflow.IntentSuspend, Caller: "alice"},
			stellarflow.Intent{ID: "r", Kind: stellarflow.IntentRetry, Caller: "bob", Base: observed.Hash, Retry: &stellarflow.RetryChange{}})
		shown := a.hub.waitFor(t, ns, "before", "the answer", noIntents)
		if said := shown.GetAnnotations()[stellarflow.AnnotationRefused]; !strings.Contains(said, "suspend asked by alice") || !strings.Contains(said, "it has ended") || mustPlacement(t, shown).Attempt != 2 {
			t.Errorf("it says %q, %s", said, describe(shown))
		}
	})
	t.Run("it has one pod, and nothing is left of it", func(t *testing.T) {
		a.running(t, ns, "single", "cluster1")
		wec.argo(t, ns, "single", "Failed")
		a.hub.waitFor(t, ns, "single", "the end", inPhase("Failed"))
		a.trusted(t, ns, "single")
		a.act(t, "single", func(w *v1alpha1.Workflow) {
			argoRetry("single")(w)
			w.Status.Nodes = nil
		})
		wec.waitFor(t, ns, "single", "the retry", func(w *unstructured.Unstructured) bool { return phase(w) == "Running" && nodePhase(w, "single") == "" })
		wec.argo(t, ns, "single", "Succeeded")
		a.hub.waitFor(t, ns, "single", "the end", func(w *unstructured.Unstructured) bool { return phase(w) == "Succeeded" && noIntents(w) })
	})
	t.Run("its base has changed", func(t *testing.T) {
		a.running(t, ns, "moved", "cluster1")
		a.fails(t, ns, "moved")
		a.trusted(t, ns, "moved")
		a.intend(t, ns, "moved", stellarflow.Intent{ID: "i", Kind: stellarflow.IntentRetry, Caller: "alice", Base: "other", Retry: &stellarflow.RetryChange{}})
		shown := a.hub.waitFor(t, ns, "moved", "the refusal", noIntents)
		if said := shown.GetAnnotations()[stellarflow.AnnotationRefused]; !strings.Contains(said, "retry asked by alice") || !strings.Contains(said, "its copy has changed since") || phase(shown) != "Failed" {
			t.Errorf("it says %q, %s", said, describe(shown))
		}
		a.waitEvent(t, ns, "moved", "IntentRefused", "its copy has changed since")
	})
}

// intend writes an intent as admission does.
func (c *clusters) intend(t *testing.T, ns, name string, intents ...stellarflow.Intent) {
	t.Helper()
	text, err := stellarflow.MarshalIntents(intents)
	if err != nil {
		t.Fatal(err)
	}
	patch := fmt.Sprintf(`{"metadata":{"annotations":{"stellarflow.io/intents":%q}}}`, text)
	manager := c.hub.as(t, hubManager) // whom admission does not ask
	if _, err := manager.Resource(stellarflow.Workflows).Namespace(ns).Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestActionsOnce loses the hub's answers after the WEC copy was changed, and the manager: what was done is not done again.
func TestActionsOnce(t *testing.T) {
	var changes, losses atomic.Int32
	var ns atomic.Value
	ns.Store("none")
	o := managerOptions{
		wecTransport: func(next http.RoundTripper) http.RoundTripper {
			return roundTripper(func(r *http.Request) (*http.Response, error) {
				if r.Method == http.MethodPatch && r.Body != nil {
					body, _ := io.ReadAll(r.Body)
					r.Body = io.NopCloser(bytes.NewReader(body))
					if bytes.Contains(body, []byte("stellarflow.io~1applied")) {
						changes.Add(1)
					}
				}
				return next.RoundTrip(r)
			})
		},
		hubTransport: func(next http.RoundTripper) http.RoundTripper {
			return roundTripper(func(r *http.Request) (*http.Response, error) {
				if r.Method == http.MethodPatch && changes.Load() > 0 && strings.Contains(r.URL.Path, ns.Load().(string)+"/workflows/") && losses.Add(1) <= 3 {
					return nil, errors.New("the connection is lost")
				}
				return next.RoundTrip(r)
			})
		},
	}
	a, m := setUpActing(t, o)
	ns.Store(a.ns)
	a.asks(t, "once")
	a.act(t, "once", func(w *v1alpha1.Workflow) {
		node := w.Status.Nodes["once-1"]
		node.Message = "look at it"
		w.Status.Nodes["once-1"] = node
	})
	eventually(t, "the change on the WEC", func(context.Context) (bool, string) { return changes.Load() > 0, "none" })
	m.stop()
	a.wecs["cluster1"].write(t, a.ns, "once", func(w *v1alpha1.Workflow) { // what a person there does meanwhile is not undone
		node := w.Status.Nodes["once-1"]
		node.Message = "looked"
		w.Status.Nodes["once-1"] = node
	})
	losses.Store(3)
	o.webhook = a.address
	startManager(t, a.clusters, o)
	a.hub.waitFor(t, a.ns, "once", "what is there now", func(w *unstructured.Unstructured) bool {
		message, _, _ := unstructured.NestedString(w.Object, "status", "nodes", "once-1", "message")
		return message == "looked" && noIntents(w)
	})
	if n := changes.Load(); n != 1 {
		t.Errorf("it was done %d times", n)
	}
}

// TestWebhookAway lets a person act while nobody serves admission: what nobody would do is refused, and the rest passes.
func TestWebhookAway(t *testing.T) {
	a, m := setUpActing(t, managerOptions{})
	a.asks(t, "away")
	m.stop()
	if _, err := argoServer(t.Context(), a.alice, a.ns, "away", resume); err == nil || !strings.Contains(err.Error(), "failed calling webhook") {
		t.Errorf("resume: %v", err)
	}
	if w := a.hub.get(t.Context(), a.ns, "away"); !suspended(w) || nodePhase(w, "away-1") != "Running" {
		t.Errorf("it is resumed on the hub: %s", describe(w))
	}
	for what, patch := range map[string]string{"label": `{"metadata":{"labels":{"team":"green"}}}`, "stop": `{"spec":{"shutdown":"Stop"}}`, "ttl": `{"spec":{"ttlStrategy":{"secondsAfterCompletion":9}}}`} {
		if _, err := a.alice.Resource(stellarflow.Workflows).Namespace(a.ns).Patch(t.Context(), "away", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// pod makes a pod of a node, owned by its Workflow if that is given.
func (s *server) pod(t *testing.T, ns string, owner *unstructured.Unstructured, node string) *corev1.Pod {
	t.Helper()
	workflow := node[:strings.LastIndex(node, "-")]
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: "pod-", Labels: map[string]string{stellarflow.ArgoLabelWorkflow: workflow}, Annotations: map[string]string{stellarflow.ArgoAnnotationNodeID: node},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "busybox"}}},
	}
	if owner != nil {
		pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(owner, stellarflow.WorkflowKind)}
	}
	created, err := s.core.CoreV1().Pods(ns).Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return created
}

func suspended(w *unstructured.Unstructured) bool {
	if w == nil {
		return false
	}
	value, _, _ := unstructured.NestedBool(w.Object, "spec", "suspend")
	return value
}
