package transforms

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/test/badinput"
)

// Each bad transform says in its status what is wrong with it. kind Path is one entry of spec.remove of a transform for Workflows,
// whose error the Workflow's event TransformSkipped shows too; kind Spec is a whole spec.
func TestBadInput(t *testing.T) {
	badinput.Run(t, func(t *testing.T, c badinput.Case) badinput.Answer {
		transform := v1alpha1.CustomTransform{ObjectMeta: metav1.ObjectMeta{Name: "t"}, Spec: v1alpha1.CustomTransformSpec{APIGroup: Group, Resource: Resource}}
		if c.Kind == "Path" {
			transform.Spec.Remove = []string{c.Text(t)}
		} else {
			var spec v1alpha1.CustomTransformSpec
			c.Into(t, &spec)
			transform.Spec = spec
		}
		status := StatusOf(&transform, []v1alpha1.CustomTransform{transform})
		said := strings.Join(append(append([]string{}, status.Errors...), status.Warnings...), "\n")
		if len(said) > 8192 || strings.ContainsFunc(said, func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f }) {
			t.Errorf("%d bytes, or a control character, are in %q", len(said), said)
		}
		if before := (map[string]any{"metadata": map[string]any{"name": "w"}, "spec": map[string]any{"a": "b"}}); c.Kind == "Path" {
			if after, skipped := Apply(before, []v1alpha1.CustomTransform{transform}); len(skipped) != 1 || fmt.Sprint(after) != fmt.Sprint(before) {
				t.Errorf("a path that is skipped changes the Workflow to %v, and says %v", after, skipped)
			}
		}
		ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady)
		switch {
		case len(status.Errors) > 0:
			return badinput.Answer{Where: "status.errors of the CustomTransform, condition Ready=False; event TransformSkipped of each Workflow", Says: strings.Join(status.Errors, "\n")}
		case ready.Status == metav1.ConditionFalse:
			return badinput.Answer{Where: "condition Ready of the CustomTransform, reason " + ready.Reason, Says: ready.Message}
		case len(status.Warnings) > 0:
			return badinput.Answer{Where: "status.warnings of the CustomTransform", Says: strings.Join(status.Warnings, "\n")}
		}
		return badinput.Answer{Where: "nowhere: it is accepted"}
	})
}
