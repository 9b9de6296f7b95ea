package stellarflow

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestIsOurs(t *testing.T) {
	for key, want := range map[string]bool{
		LabelCluster: true, FinalizerHarvest: true, Prefix: true,
		"stellarflow.io": false, "stellarflow.iox/cluster": false, "x.stellarflow.io/cluster": false, "": false, ArgoLabelPhase: false,
	} {
		if got := IsOurs(key); got != want {
			t.Errorf("IsOurs(%q) = %v, want %v", key, got, want)
		}
	}
}

func TestCredentialName(t *testing.T) {
	if got := CredentialName("cluster1"); got != "cluster-cluster1" {
		t.Errorf("the Secret is named %q: join and the hub would miss each other", got)
	}
}

func TestCompleted(t *testing.T) {
	for value, want := range map[string]bool{"true": true, "false": false, "": false, "True": false} {
		w := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{ArgoLabelCompleted: value}}}
		if got := Completed(w); got != want {
			t.Errorf("Completed with label %q = %v, want %v", value, got, want)
		}
	}
	if Completed(&metav1.PartialObjectMetadata{}) {
		t.Error("a Workflow without labels counts as completed")
	}
}

func TestShutdown(t *testing.T) {
	for name, test := range map[string]struct {
		spec any
		want string
	}{
		"none":      {map[string]any{}, ""},
		"no spec":   {nil, ""},
		"stop":      {map[string]any{"shutdown": "Stop"}, "Stop"},
		"terminate": {map[string]any{"shutdown": "Terminate"}, "Terminate"},
		"unknown":   {map[string]any{"shutdown": "stop"}, ""},
		"no text":   {map[string]any{"shutdown": true}, ""},
		"odd spec":  {"Stop", ""},
	} {
		if got := Shutdown(&unstructured.Unstructured{Object: map[string]any{"spec": test.spec}}); got != test.want {
			t.Errorf("%s: want %q, got %q", name, test.want, got)
		}
	}
}

func TestNewWorkflowMetadata(t *testing.T) {
	w := NewWorkflowMetadata()
	if got := w.GroupVersionKind(); got != WorkflowKind || WorkflowKind.GroupVersion() != Workflows.GroupVersion() {
		t.Errorf("it is a %s, watched as %s", got, Workflows)
	}
}
