package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// get reads a Workflow; nil if there is none.
func (s *server) get(ctx context.Context, namespace, name string) *unstructured.Unstructured {
	workflow, err := s.workflows(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	return workflow
}

// waitFor polls a Workflow until it is as wanted.
func (s *server) waitFor(t *testing.T, namespace, name, what string, ok func(*unstructured.Unstructured) bool) *unstructured.Unstructured {
	t.Helper()
	var last *unstructured.Unstructured
	eventually(t, what, func(ctx context.Context) (bool, string) {
		last = s.get(ctx, namespace, name)
		return ok(last), describe(last)
	})
	return last
}

func describe(workflow *unstructured.Unstructured) string {
	if workflow == nil {
		return "there is no Workflow"
	}
	short := workflow.DeepCopy()
	short.SetManagedFields(nil)
	unstructured.RemoveNestedField(short.Object, "spec", "templates")
	raw, err := json.Marshal(short.Object)
	if err != nil {
		return err.Error()
	}
	return string(raw)
}

func exists(w *unstructured.Unstructured) bool { return w != nil }
func gone(w *unstructured.Unstructured) bool   { return w == nil }

func phase(w *unstructured.Unstructured) string {
	if w == nil {
		return ""
	}
	value, _, _ := unstructured.NestedString(w.Object, "status", "phase")
	return value
}

// shutdown is spec.shutdown.
func shutdown(w *unstructured.Unstructured) string {
	if w == nil {
		return ""
	}
	value, _, _ := unstructured.NestedString(w.Object, "spec", "shutdown")
	return value
}

// stop asks on the hub for what argo stop (Stop) and argo terminate (Terminate) do; empty takes it back.
func (c *clusters) stop(t *testing.T, namespace, name, strategy string) {
	t.Helper()
	patch := fmt.Sprintf(`{"spec":{"shutdown":%q}}`, strategy)
	if strategy == "" {
		patch = `{"spec":{"shutdown":null}}`
	}
	if _, err := c.hub.workflows(namespace).Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

func message(w *unstructured.Unstructured) string {
	if w == nil {
		return ""
	}
	value, _, _ := unstructured.NestedString(w.Object, "status", "message")
	return value
}

func inPhase(wanted string) func(*unstructured.Unstructured) bool {
	return func(w *unstructured.Unstructured) bool { return phase(w) == wanted }
}

func waiting(part string) func(*unstructured.Unstructured) bool {
	return func(w *unstructured.Unstructured) bool {
		return phase(w) == "Pending" && strings.Contains(message(w), part)
	}
}

func placedOn(cluster string) func(*unstructured.Unstructured) bool {
	return func(w *unstructured.Unstructured) bool {
		if w == nil {
			return false
		}
		record, ok := stellarflow.PlacementOf(w)
		return ok && string(record.Cluster) == cluster
	}
}

func hasFinalizer(w *unstructured.Unstructured, finalizer string) bool {
	return w != nil && slices.Contains(w.GetFinalizers(), finalizer)
}

// argo writes what Argo's controller on a WEC writes: status, phase and completed label in one update of the whole object.
func (s *server) argo(t *testing.T, namespace, name, phase string, more ...string) *unstructured.Unstructured {
	t.Helper()
	nodes := map[string]any{name: map[string]any{
		"id": name, "name": name, "displayName": name, "type": "Pod", "phase": phase, "templateName": "main", "startedAt": "2026-01-01T00:00:00Z", "hostNodeName": "node-1",
	}}
	for _, id := range more {
		nodes[id] = map[string]any{"id": id, "name": id, "type": "Pod", "phase": phase, "startedAt": "2026-01-01T00:00:00Z"}
	}
	status := map[string]any{"phase": phase, "startedAt": "2026-01-01T00:00:00Z", "progress": "0/1", "nodes": nodes}
	completed := "false"
	if slices.Contains([]string{"Succeeded", "Failed", "Error"}, phase) {
		completed, status["finishedAt"], status["progress"] = "true", "2026-01-01T00:01:00Z", "1/1"
	}
	for {
		current := s.get(t.Context(), namespace, name)
		if current == nil {
			t.Fatalf("workflow %s/%s is not on the WEC", namespace, name)
		}
		labels := current.GetLabels()
		labels[stellarflow.ArgoLabelPhase], labels[stellarflow.ArgoLabelCompleted] = phase, completed
		current.SetLabels(labels)
		annotations := current.GetAnnotations()
		annotations[stellarflow.ArgoAnnotationPodNameFormat] = "v2"
		current.SetAnnotations(annotations)
		current.Object["status"] = status
		updated, err := s.workflows(namespace).Update(t.Context(), current, metav1.UpdateOptions{})
		if apierrors.IsConflict(err) {
			continue
		}
		if err != nil {
			t.Fatalf("update workflow on the WEC: %v", err)
		}
		return updated
	}
}
