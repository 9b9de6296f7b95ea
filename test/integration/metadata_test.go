package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// relabel gives a Workflow labels, null for none.
func relabel(t *testing.T, s *server, ns, name, values string) {
	t.Helper()
	patchWEC(t, s, ns, name, `{"metadata":{"labels":{`+values+`}}}`)
}

// annotate gives it annotations.
func annotate(t *testing.T, s *server, ns, name, values string) {
	t.Helper()
	patchWEC(t, s, ns, name, `{"metadata":{"annotations":{`+values+`}}}`)
}

// labelled reports that a Workflow has a label with a value; without one that it has not got it.
func labelled(key, value string) func(*unstructured.Unstructured) bool {
	return func(w *unstructured.Unstructured) bool { return w != nil && w.GetLabels()[key] == value }
}

// annotate gives it annotations.
func annotated(key, value string) func(*unstructured.Unstructured) bool {
	return func(w *unstructured.Unstructured) bool { return w != nil && w.GetAnnotations()[key] == value }
}

// passes changes a label on the hub and waits until it has reached cluster1: with it goes all that was changed before.
func (c *clusters) passes(t *testing.T, ns, name string) *unstructured.Unstructured {
	t.Helper()
	value := fmt.Sprint(time.Now().UnixNano())
	relabel(t, c.hub, ns, name, `"pass":"`+value+`"`)
	return c.wecs["cluster1"].waitFor(t, ns, name, "what was changed on the hub", labelled("pass", value))
}

// TestMetadataIsPassedOn labels and annotates on the hub what runs on a WEC.
func TestMetadataIsPassedOn(t *testing.T) {
	c, m, ns := setUp(t, managerOptions{})
	hub, wec, restart := c.hub, c.wecs["cluster1"], func() { m.stop(); m = startManager(t, c, managerOptions{}) }
	c.create(t, &v1alpha1.CustomTransform{
		ObjectMeta: metav1.ObjectMeta{Name: "held"},
		Spec:       v1alpha1.CustomTransformSpec{APIGroup: "argoproj.io", Resource: "workflows", Remove: []string{`$.metadata.labels["held"]`}},
	})
	c.running(t, ns, "runs", "cluster1")
	t.Run("added, changed and removed", func(t *testing.T) {
		relabel(t, hub, ns, "runs", `"team":"green"`)
		wec.waitFor(t, ns, "runs", "the label", labelled("team", "green"))
		annotate(t, hub, ns, "runs", `"example.com/ticket":"7","workflows.argoproj.io/title":"nightly"`)
		wec.waitFor(t, ns, "runs", "the annotations", func(w *unstructured.Unstructured) bool {
			return annotated("example.com/ticket", "7")(w) && annotated("workflows.argoproj.io/title", "nightly")(w)
		})
		relabel(t, hub, ns, "runs", `"team":"blue"`)
		wec.waitFor(t, ns, "runs", "the change", labelled("team", "blue"))
		relabel(t, hub, ns, "runs", `"team":null`)
		annotate(t, hub, ns, "runs", `"example.com/ticket":null`)
		there := wec.waitFor(t, ns, "runs", "the removal", func(w *unstructured.Unstructured) bool {
			_, label := w.GetLabels()["team"]
			_, annotation := w.GetAnnotations()["example.com/ticket"]
			return !label && !annotation
		})
		if phase(there) != "Running" || there.GetLabels()[stellarflow.LabelOrigin] == "" || !hasFinalizer(there, stellarflow.FinalizerHarvest) {
			t.Errorf("it was harmed: %s", describe(there))
		}
	})
	t.Run("what somebody puts there stays", func(t *testing.T) {
		relabel(t, wec, ns, "runs", `"theirs":"1"`)
		annotate(t, wec, ns, "runs", `"theirs":"2"`)
		relabel(t, hub, ns, "runs", `"team":"red"`)
		if there := c.passes(t, ns, "runs"); there.GetLabels()["theirs"] != "1" || there.GetAnnotations()["theirs"] != "2" || there.GetLabels()["team"] != "red" {
			t.Errorf("it is %s", describe(there))
		}
		if here := hub.get(t.Context(), ns, "runs"); here.GetLabels()["theirs"] != "" || here.GetAnnotations()["theirs"] != "" {
			t.Errorf("it came to the hub: %s", describe(here))
		}
	})
	t.Run("once", func(t *testing.T) {
		relabel(t, wec, ns, "runs", `"team":"theirs"`)
		if there := c.passes(t, ns, "runs"); there.GetLabels()["team"] != "theirs" {
			t.Errorf("what somebody there did afterwards is undone: %s", describe(there))
		}
		restart()
		if there := c.passes(t, ns, "runs"); there.GetLabels()["team"] != "theirs" {
			t.Errorf("what somebody there did afterwards is undone by another manager: %s", describe(there))
		}
		relabel(t, hub, ns, "runs", `"team":"last"`)
		wec.waitFor(t, ns, "runs", "the last word", labelled("team", "last"))
	})
	t.Run("Argo's own, the hub's, and what a transform takes out are not", func(t *testing.T) {
		relabel(t, hub, ns, "runs", `"held":"1","workflows.argoproj.io/workflow-template":"other","workflows.argoproj.io/actor":"me","workflows.argoproj.io/workflow-archiving-status":"Pending"`)
		annotate(t, hub, ns, "runs", `"kubectl.kubernetes.io/last-applied-configuration":"{}","workflows.argoproj.io/pod-name-format":"v1"`)
		there := c.passes(t, ns, "runs")
		for _, key := range []string{"held", "workflows.argoproj.io/workflow-template", "workflows.argoproj.io/actor", "workflows.argoproj.io/workflow-archiving-status", stellarflow.LabelCluster} {
			if value, found := there.GetLabels()[key]; found {
				t.Errorf("label %s=%s is there", key, value)
			}
		}
		if there.GetLabels()[stellarflow.ArgoLabelPhase] != "Running" || there.GetLabels()[stellarflow.ArgoLabelCompleted] != "false" ||
			there.GetAnnotations()[stellarflow.ArgoAnnotationPodNameFormat] != "v2" || there.GetAnnotations()["kubectl.kubernetes.io/last-applied-configuration"] != "" {
			t.Errorf("it is %s", describe(there))
		}
	})
	t.Run("after the end, as long as it is there", func(t *testing.T) {
		wec.argo(t, ns, "runs", "Succeeded")
		hub.waitFor(t, ns, "runs", "the end", inPhase("Succeeded"))
		wec.waitFor(t, ns, "runs", "harvest released", func(w *unstructured.Unstructured) bool { return !hasFinalizer(w, stellarflow.FinalizerHarvest) })
		relabel(t, hub, ns, "runs", `"team":null`)
		if there := c.passes(t, ns, "runs"); there.GetLabels()["team"] != "" || phase(there) != "Succeeded" {
			t.Errorf("it is %s", describe(there))
		}
	})
	t.Run("and then nothing is written any more", func(t *testing.T) {
		quiet := hub.requests(t)["PATCH"] + wec.requests(t)["PATCH"]
		neverWithin(t, time.Second, "something is written again and again", func() bool { return hub.requests(t)["PATCH"]+wec.requests(t)["PATCH"] > quiet+1 }) // one may have been under way
	})
}

// TestMetadataIsNotLost labels what runs on a cluster that is away, with nobody there to notice.
func TestMetadataIsNotLost(t *testing.T) {
	c, m, ns := setUp(t, managerOptions{})
	c.running(t, ns, "runs", "cluster1")
	c.passes(t, ns, "runs")
	m.stop()
	relabel(t, c.hub, ns, "runs", `"team":"green","pass":null`)
	var away atomic.Bool
	away.Store(true)
	startManager(t, c, managerOptions{wecTransport: func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if away.Load() {
				return nil, errInjected
			}
			return next.RoundTrip(r)
		})
	}})
	c.condition(t, "cluster1", func(condition metav1.Condition) bool { return condition.Status == metav1.ConditionFalse })
	annotate(t, c.hub, ns, "runs", `"example.com/ticket":"7"`)
	away.Store(false)
	there := c.wecs["cluster1"].waitFor(t, ns, "runs", "all of it", func(w *unstructured.Unstructured) bool {
		return labelled("team", "green")(w) && annotated("example.com/ticket", "7")(w)
	})
	if _, found := there.GetLabels()["pass"]; found {
		t.Errorf("what was removed is there: %s", describe(there))
	}
}

// TestMetadataOfAnEarlierVersion takes over a WEC copy that does not say what it was given: it gets what differs, loses nothing, and is
// followed from then on.
func TestMetadataOfAnEarlierVersion(t *testing.T) {
	c, m, ns := setUp(t, managerOptions{})
	wec := c.wecs["cluster1"]
	for _, name := range []string{"runs", "ended"} {
		c.submit(t, ns, name, "cluster1", func(w *unstructured.Unstructured) {
			w.SetLabels(map[string]string{"kubestellar.io/cluster": "cluster1", "kept": "1", "gone": "1"})
		})
		wec.waitFor(t, ns, name, "the WEC copy", exists)
		wec.argo(t, ns, name, "Running")
		c.hub.waitFor(t, ns, name, "phase Running", inPhase("Running"))
	}
	wec.argo(t, ns, "ended", "Succeeded")
	wec.waitFor(t, ns, "ended", "harvest released", func(w *unstructured.Unstructured) bool { return !hasFinalizer(w, stellarflow.FinalizerHarvest) })
	m.stop()
	for _, name := range []string{"runs", "ended"} {
		annotate(t, wec, ns, name, `"stellarflow.io/passed-on":null`)
		relabel(t, wec, ns, name, `"theirs":"1"`)
		relabel(t, c.hub, ns, name, `"gone":null,"team":"green"`)
	}
	startManager(t, c, managerOptions{})
	there := wec.waitFor(t, ns, "runs", "what the hub has", labelled("team", "green"))
	if there.GetLabels()["gone"] != "1" || there.GetLabels()["theirs"] != "1" {
		t.Errorf("nobody knows whose that was: %s", describe(there))
	}
	relabel(t, c.hub, ns, "runs", `"kept":null,"team":"blue"`)
	if there := c.passes(t, ns, "runs"); there.GetLabels()["kept"] != "" || there.GetLabels()["team"] != "blue" || there.GetLabels()["theirs"] != "1" {
		t.Errorf("it is %s", describe(there))
	}
	if there := wec.get(t.Context(), ns, "ended"); there.GetLabels()["team"] != "" || there.GetLabels()["gone"] != "1" {
		t.Errorf("what an earlier version saw end is left alone: %s", describe(there))
	}
}

// TestMetadataRacesArgo lets Argo write between the read of the WEC copy and the write of a label: that is no refusal, and nothing of either
// is lost.
func TestMetadataRacesArgo(t *testing.T) {
	c, ns, races := racing(t)
	there := c.passes(t, ns, "races")
	if nodes, _, _ := unstructured.NestedMap(there.Object, "status", "nodes"); nodes["more-0"] == nil || races.Load() > 0 {
		t.Errorf("%d races are left, and it is %s", races.Load(), describe(there))
	}
	if said := c.eventsOf(t.Context(), "races"); strings.Contains(said, "MetadataRefused") {
		t.Errorf("a lost race is said to be a refusal: %s", said)
	}
}

// TestMetadataIsRefused labels what runs on a cluster whose owner does not let that happen: it is said once, the status is mirrored all the
// same, and what has ended is released.
func TestMetadataIsRefused(t *testing.T) {
	var patches atomic.Int32
	c, _, ns := setUp(t, managerOptions{wecTransport: func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodPatch && strings.Contains(r.URL.Path, "/workflows/") {
				patches.Add(1)
			}
			return next.RoundTrip(r)
		})
	}})
	wec := c.wecs["cluster1"]
	repeal := wec.rule(t, "red", "guarded", admissionregistrationv1.Update, "!('team' in object.metadata.labels) || object.metadata.labels['team'] != 'red'", "nothing is red here, says the owner of cluster1")
	for _, name := range []string{"runs", "ends"} {
		c.submit(t, ns, name, "cluster1", func(w *unstructured.Unstructured) {
			w.SetLabels(map[string]string{"kubestellar.io/cluster": "cluster1", "guarded": "yes"})
		})
		wec.waitFor(t, ns, name, "the WEC copy", exists)
		wec.argo(t, ns, name, "Running")
		c.hub.waitFor(t, ns, name, "phase Running", inPhase("Running"))
	}
	eventually(t, "the rule to hold", func(ctx context.Context) (bool, string) {
		_, err := wec.workflows(ns).Patch(ctx, "runs", types.MergePatchType, []byte(`{"metadata":{"labels":{"team":"red"}}}`), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
		return err != nil, "it can be red"
	})
	for _, name := range []string{"runs", "ends"} {
		relabel(t, c.hub, ns, name, `"team":"red"`)
		c.waitEvent(t, ns, name, "MetadataRefused", "nothing is red here, says the owner of cluster1")
	}
	before := patches.Load()
	neverWithin(t, time.Second, "it is tried again and again", func() bool { return patches.Load() > before+4 })
	wec.argo(t, ns, "runs", "Running", "more")
	c.hub.waitFor(t, ns, "runs", "its state, and what is in the way", func(w *unstructured.Unstructured) bool {
		nodes, _, _ := unstructured.NestedMap(w.Object, "status", "nodes")
		return len(nodes) == 2 && strings.Contains(w.GetAnnotations()[stellarflow.AnnotationSync], "labels and annotations are not passed on to cluster cluster1")
	})
	wec.argo(t, ns, "ends", "Succeeded")
	c.hub.waitFor(t, ns, "ends", "the end, of which nothing is left to say", func(w *unstructured.Unstructured) bool {
		return phase(w) == "Succeeded" && w.GetAnnotations()[stellarflow.AnnotationSync] == ""
	})
	wec.waitFor(t, ns, "ends", "harvest released", func(w *unstructured.Unstructured) bool { return !hasFinalizer(w, stellarflow.FinalizerHarvest) })
	before = patches.Load()
	neverWithin(t, time.Second, "after the end it is tried again and again", func() bool { return patches.Load() > before+4 })
	if n := strings.Count(c.eventsOf(t.Context(), "ends"), "nothing is red here"); n != 1 {
		t.Errorf("it is said %d times", n)
	}
	relabel(t, c.hub, ns, "ends", `"team":"blue"`)
	wec.waitFor(t, ns, "ends", "what it takes", labelled("team", "blue"))
	repeal()
	eventually(t, "the label", func(ctx context.Context) (bool, string) {
		touch(t, c, ns, "runs")
		return labelled("team", "red")(wec.get(ctx, ns, "runs")), describe(c.hub.get(ctx, ns, "runs"))
	})
	c.hub.waitFor(t, ns, "runs", "that nothing is in the way", func(w *unstructured.Unstructured) bool { return w.GetAnnotations()[stellarflow.AnnotationSync] == "" })
}

// TestMetadataIsForgottenThere labels what runs on a cluster that does not keep the note of what was passed on.
func TestMetadataIsForgottenThere(t *testing.T) {
	var patches atomic.Int32
	c, _, ns := setUp(t, managerOptions{wecTransport: func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/workflows/runs") {
				var operations []map[string]any
				if err := json.NewDecoder(r.Body).Decode(&operations); err != nil {
					return nil, err
				}
				patches.Add(1)
				operations = slices.DeleteFunc(operations, func(operation map[string]any) bool {
					return operation["path"] == "/metadata/annotations/stellarflow.io~1passed-on"
				})
				raw, err := json.Marshal(operations)
				if err != nil {
					return nil, err
				}
				r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(raw)), int64(len(raw))
			}
			return next.RoundTrip(r)
		})
	}})
	c.running(t, ns, "runs", "cluster1")
	relabel(t, c.hub, ns, "runs", `"team":"green"`)
	c.waitEvent(t, ns, "runs", "MetadataRefused", "the API server there does not keep annotation stellarflow.io/passed-on")
	before := patches.Load()
	neverWithin(t, time.Second, "it is tried again and again", func() bool { return patches.Load() > before+2 })
	c.wecs["cluster1"].argo(t, ns, "runs", "Succeeded")
	c.hub.waitFor(t, ns, "runs", "the end", inPhase("Succeeded"))
}

// answer is what an API server says in place of doing it.
func answer(r *http.Request, code int, reason metav1.StatusReason, message string) *http.Response {
	raw, _ := json.Marshal(metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Code: int32(code), Reason: reason, Message: message,
	})
	return &http.Response{
		StatusCode: code, Status: http.StatusText(code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": []string{"application/json"}}, Body: io.NopCloser(bytes.NewReader(raw)), ContentLength: int64(len(raw)),
	}
}

// there changes a WEC copy on cluster1 in the middle of a request of the manager.
func (c *clusters) there(ctx context.Context, ns, name, patch string) error {
	_, err := c.wecs["cluster1"].workflows(ns).Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	return err
}

// TestMetadataIsFought labels what runs on clusters that fail, find other words each time, or undo it: it is tried now and then, said once, and
// keeps neither the status from being mirrored nor the copy from being released.
func TestMetadataIsFought(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		// fights answers a request that labels something, or does something after it; said is the event, empty for none yet.
		fights func(c *clusters, ns string, r *http.Request, next http.RoundTripper) (*http.Response, error)
		said   string
	}{
		"fails": {"a webhook there is down", func(_ *clusters, _ string, r *http.Request, _ http.RoundTripper) (*http.Response, error) {
			return answer(r, http.StatusInternalServerError, metav1.StatusReasonInternalError, "failed calling webhook"), nil
		}, "failed calling webhook"},
		"other-words": {"the time is in the answer", func(_ *clusters, _ string, r *http.Request, _ http.RoundTripper) (*http.Response, error) {
			return answer(r, http.StatusForbidden, metav1.StatusReasonForbidden, fmt.Sprintf("not at %d", time.Now().UnixNano())), nil
		}, "not at"},
		"undoes": {"somebody there has it as it was", func(c *clusters, ns string, r *http.Request, next http.RoundTripper) (*http.Response, error) {
			response, err := next.RoundTrip(r)
			return response, errors.Join(err, c.there(r.Context(), ns, "fought-undoes", `{"metadata":{"annotations":{"stellarflow.io/passed-on":"as it was"}}}`))
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			workflow := "fought-" + name
			var c *clusters
			var ns string
			var tries atomic.Int32
			var touched sync.Once
			c, _, ns = setUp(t, managerOptions{wecTransport: func(next http.RoundTripper) http.RoundTripper {
				return roundTripper(func(r *http.Request) (*http.Response, error) {
					if r.Method != http.MethodPatch || !strings.HasSuffix(r.URL.Path, "/workflows/"+workflow) {
						return next.RoundTrip(r)
					}
					raw, err := io.ReadAll(r.Body)
					if err != nil {
						return nil, err
					}
					r.Body = io.NopCloser(bytes.NewReader(raw))
					if bytes.Contains(raw, []byte("passed-on")) {
						tries.Add(1)
						return tc.fights(c, ns, r, next)
					}
					touched.Do(func() { err = c.there(r.Context(), ns, workflow, `{"metadata":{"labels":{"theirs":"1"}}}`) }) // between the end and the release
					if err != nil {
						return nil, err
					}
					return next.RoundTrip(r)
				})
			}})
			wec := c.wecs["cluster1"]
			c.running(t, ns, workflow, "cluster1")
			relabel(t, c.hub, ns, workflow, `"team":"green"`)
			eventually(t, "a try", func(context.Context) (bool, string) { return tries.Load() > 0, "none" })
			if tc.said != "" {
				c.waitEvent(t, ns, workflow, "MetadataRefused", tc.said)
			}
			wec.argo(t, ns, workflow, "Running", "more")
			c.hub.waitFor(t, ns, workflow, "its state", func(w *unstructured.Unstructured) bool {
				nodes, _, _ := unstructured.NestedMap(w.Object, "status", "nodes")
				return len(nodes) == 2
			})
			quiet := c.hub.get(t.Context(), ns, workflow).GetResourceVersion()
			neverWithin(t, 2*time.Second, tc.reason+": it is tried again and again", func() bool { return tries.Load() > 2 })
			if now := c.hub.get(t.Context(), ns, workflow); tc.said != "" && now.GetResourceVersion() != quiet {
				t.Errorf("%s: the hub copy is written again and again: %s", tc.reason, describe(now))
			}
			wec.argo(t, ns, workflow, "Succeeded")
			wec.waitFor(t, ns, workflow, "harvest released", func(w *unstructured.Unstructured) bool { return !hasFinalizer(w, stellarflow.FinalizerHarvest) })
			if n := strings.Count(c.eventsOf(t.Context(), workflow), "labels and annotations are not passed on"); tc.said != "" && n != 1 {
				t.Errorf("%s: it is said %d times", tc.reason, n)
			}
		})
	}
}
