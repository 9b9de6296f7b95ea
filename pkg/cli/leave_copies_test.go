package cli

import (
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// TestUnneededCopies: what leaves with the cluster is what nobody there needs, and nothing that is not a copy.
func TestUnneededCopies(t *testing.T) {
	object := func(kind stellarflow.Kind, namespace, name, source string) metav1.PartialObjectMetadata {
		return metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name, Labels: map[string]string{stellarflow.LabelOrigin: "hub-1", stellarflow.LabelDependency: "true"},
			Annotations: map[string]string{stellarflow.AnnotationSource: string(kind) + "/" + source},
		}}
	}
	const cm, cwft = stellarflow.KindConfigMap, stellarflow.KindClusterWorkflowTemplate
	workflows := []metav1.PartialObjectMetadata{{ObjectMeta: metav1.ObjectMeta{
		Namespace: "argo", Annotations: map[string]string{stellarflow.AnnotationDependencies: `{"copied":["ConfigMap/a","ClusterWorkflowTemplate/c","WorkflowTemplate/b"]}`},
	}}}
	cases := map[string]struct {
		reason string
		kind   stellarflow.Kind
		found  metav1.PartialObjectMetadata
		want   bool
	}{
		"Needed":         {"a Workflow is there that may go on", cm, object(cm, "argo", "a", "argo/a"), false},
		"OtherKind":      {"its list names a template of that name", cm, object(cm, "argo", "b", "argo/b"), true},
		"OtherNamespace": {"its list is of its own namespace", cm, object(cm, "other", "a", "other/a"), true},
		"Cluster":        {"of no namespace", cwft, object(cwft, "", "c", "c"), false},
		"ClusterOther":   {"of no namespace", cwft, object(cwft, "", "d", "d"), true},
		"NoCopy":         {"somebody has made it of one", cm, object(cm, "argo", "x", "argo/y"), false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := unneededCopies(tc.kind, "hub-1", []metav1.PartialObjectMetadata{tc.found}, workflows)
			if slices.ContainsFunc(got, func(one metav1.PartialObjectMetadata) bool { return one.Name == tc.found.Name }) != tc.want {
				t.Errorf("%s: %v", tc.reason, got)
			}
		})
	}
}
