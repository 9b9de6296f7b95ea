package lifecycle

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

func TestShutdownBefore(t *testing.T) {
	observed := func(uid types.UID, generation int64) string {
		return stellarflow.Observed{WECUID: uid, ResourceVersion: "7", Generation: generation, Hash: "h"}.String()
	}
	for name, test := range map[string]struct {
		asked, told, observed, want string
	}{
		"nothing is asked":                                    {"", "", observed("first", 3), ""},
		"the attempt before was compared with it":             {"Stop", "", observed("first", 3), "Stop"},
		"the same, and this one was told another":             {"Terminate", "Stop", observed("first", 3), "Terminate"},
		"this one was told too":                               {"Stop", "Stop", observed("first", 3), ""},
		"asked since the restore":                             {"Stop", "", observed("first", 2), ""},
		"asked since the restore, after this one was stopped": {"Terminate", "Stop", observed("first", 2), ""},
		"the attempt before could not be told":                {"Stop", "", observed("first", 0), ""},
		"nothing was compared":                                {"Stop", "", "", ""},
		"an attempt before that one was compared":             {"Stop", "", observed("zeroth", 3), ""},
		"taken back since the backup, and this one was told":  {"", "Stop", observed("first", 3), ""},
	} {
		hub := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"shutdown": test.asked}}}
		hub.SetGeneration(3)
		hub.SetAnnotations(map[string]string{stellarflow.AnnotationObserved: test.observed})
		wec := &metav1.ObjectMeta{Annotations: map[string]string{stellarflow.AnnotationShutdown: test.told}}
		if got := shutdownBefore(hub, stellarflow.Placement{WECUID: "first"}, wec); got != test.want {
			t.Errorf("%s: want %q, got %q", name, test.want, got)
		}
	}
}
