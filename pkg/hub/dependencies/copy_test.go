package dependencies

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

const onHub = `
apiVersion: v1
kind: ConfigMap
metadata:
  name: parameters
  namespace: argo
  uid: u1
  resourceVersion: "7"
  creationTimestamp: "2026-01-01T00:00:00Z"
  ownerReferences: [{kind: Deployment, name: x}]
  finalizers: [x/y]
  managedFields: [{manager: kubectl}]
  labels: {workflows.argoproj.io/configmap-type: Parameter, stellarflow.io/origin: someone, app: a, app.kubernetes.io/instance: x, app.kubernetes.io/managed-by: Helm}
  annotations: {argocd.argoproj.io/tracking-id: x, meta.helm.sh/release-name: x, kubectl.kubernetes.io/last-applied-configuration: x, stellarflow.io/cluster-id: z, note: text}
data: {a: "1"}
immutable: true
`

func TestCopy(t *testing.T) {
	original := &unstructured.Unstructured{Object: parse(t, onHub)}
	before := original.DeepCopy()
	sent, err := Copy(stellarflow.KindConfigMap, original, "hub-1")
	if err != nil {
		t.Fatal(err)
	}
	source := Version(sent)
	want := parse(t, `
apiVersion: v1
kind: ConfigMap
metadata:
  name: parameters
  namespace: argo
  labels: {workflows.argoproj.io/configmap-type: Parameter, app: a, stellarflow.io/origin: hub-1, stellarflow.io/dependency: "true"}
  annotations: {note: text, stellarflow.io/source: ConfigMap/argo/parameters, stellarflow.io/source-sha256: `+source+`}
data: {a: "1"}
`)
	if diff := cmp.Diff(want, sent.Object); diff != "" || len(source) != 64 {
		t.Errorf("hash %q; -want +got:\n%s", source, diff)
	}
	if diff := cmp.Diff(before, original); diff != "" {
		t.Errorf("the hub's object was changed:\n%s", diff)
	}
	original.SetResourceVersion("8")
	original.SetUID("u2")
	if again, err := Copy(stellarflow.KindConfigMap, original, "hub-1"); err != nil || Version(again) != source {
		t.Error("the same content has another hash")
	}
	original.Object["data"] = map[string]any{"a": "2"}
	if again, err := Copy(stellarflow.KindConfigMap, original, "hub-1"); err != nil || Version(again) == source {
		t.Error("other content has the same hash")
	}
}

// TestCopyOfTemplate: what a template would do to the WEC copy's life on its cluster stays on the hub, as for a Workflow.
func TestCopyOfTemplate(t *testing.T) {
	sent, err := Copy(stellarflow.KindWorkflowTemplate, &unstructured.Unstructured{Object: parse(t, `{kind: WorkflowTemplate, metadata: {name: t}, spec: {suspend: true, ttlStrategy: {secondsAfterCompletion: 5}, entrypoint: main}}`)}, "h")
	if diff := cmp.Diff(map[string]any{"entrypoint": "main"}, sent.Object["spec"]); err != nil || diff != "" {
		t.Errorf("%v: -want +got:\n%s", err, diff)
	}
}

// TestSource: what is in no namespace says so.
func TestSource(t *testing.T) {
	sent, err := Copy(stellarflow.KindClusterWorkflowTemplate, &unstructured.Unstructured{Object: parse(t, `{metadata: {name: t}}`)}, "h")
	if err != nil || sent.GetAnnotations()[stellarflow.AnnotationSource] != "ClusterWorkflowTemplate/t" {
		t.Errorf("%v: %v", err, sent)
	}
}

func TestStaysOnHub(t *testing.T) {
	cases := map[string]struct {
		reason          string
		kind            stellarflow.Kind
		namespace, name string
		want            bool
	}{
		"Theirs":     {"what Workflows are about travels", stellarflow.KindConfigMap, "argo", "parameters", false},
		"Controller": {"that of Argo's controller is for no pod", stellarflow.KindConfigMap, "argo", "workflow-controller-configmap", true},
		"Ours":       {"nothing of ours", stellarflow.KindConfigMap, stellarflow.SystemNamespace, "parameters", true},
		"OurSecret":  {"nothing of ours, whatever a policy says", stellarflow.KindSecret, stellarflow.SystemNamespace, "cluster1", true},
		"Template":   {"a template may be called that", stellarflow.KindWorkflowTemplate, "argo", "workflow-controller-configmap", false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := StaysOnHub(stellarflow.Reference{Kind: tc.kind, Name: tc.name}, tc.namespace); got != tc.want {
				t.Errorf("%s: %v", tc.reason, got)
			}
		})
	}
}

func TestWithheld(t *testing.T) {
	for kind, want := range map[string]bool{"Opaque": false, "kubernetes.io/dockerconfigjson": false, "kubernetes.io/service-account-token": true, "bootstrap.kubernetes.io/token": true, "helm.sh/release.v1": true} {
		if got := Withheld(stellarflow.KindSecret, &unstructured.Unstructured{Object: parse(t, `{type: `+kind+`}`)}); got != want {
			t.Errorf("a Secret of type %s is withheld: %v", kind, got)
		}
	}
	if Withheld(stellarflow.KindConfigMap, &unstructured.Unstructured{Object: parse(t, `{type: helm.sh/release.v1}`)}) {
		t.Error("a ConfigMap has no type")
	}
}

// TestDecideAboutData: a claim is never changed, whatever the hub's says by now.
func TestDecideAboutData(t *testing.T) {
	sent, err := Copy(stellarflow.KindPersistentVolumeClaim, &unstructured.Unstructured{Object: parse(t, `{metadata: {name: c, namespace: argo}, spec: {volumeName: v, dataSource: {kind: x}, storageClassName: s}}`)}, "hub-1")
	if diff := cmp.Diff(map[string]any{"storageClassName": "s"}, sent.Object["spec"]); err != nil || diff != "" {
		t.Fatalf("%v: -want +got:\n%s", err, diff)
	}
	if got := Decide(stellarflow.KindPersistentVolumeClaim, "newer", meta.AsPartialObjectMetadata(sent), "hub-1"); got != Keep {
		t.Errorf("a claim is to be %s", got)
	}
}

func TestDecide(t *testing.T) {
	sent, err := Copy(stellarflow.KindConfigMap, &unstructured.Unstructured{Object: parse(t, onHub)}, "hub-1")
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(*unstructured.Unstructured)) *metav1.PartialObjectMetadata {
		other := sent.DeepCopy()
		change(other)
		return meta.AsPartialObjectMetadata(other)
	}
	same := with(func(*unstructured.Unstructured) {})
	relabelled := func(labels map[string]string) *metav1.PartialObjectMetadata {
		return with(func(u *unstructured.Unstructured) { u.SetLabels(labels) })
	}
	otherHub := map[string]string{stellarflow.LabelOrigin: "hub-2", stellarflow.LabelDependency: "true"}
	version := Version(sent)
	cases := map[string]struct {
		reason  string
		version string
		onWEC   *metav1.PartialObjectMetadata
		want    Action
	}{
		"Nowhere": {"it is said before anything starts", "", nil, Missing},
		"New":     {"it is copied", version, nil, Create},
		"Same":    {"nothing is written", version, same, Keep},
		"Behind": {"it is brought up to date", version, with(func(u *unstructured.Unstructured) {
			u.SetAnnotations(map[string]string{stellarflow.AnnotationSource: "ConfigMap/argo/parameters", stellarflow.AnnotationSourceHash: "old"})
		}), Update},
		"Foreign":      {"it is never changed", version, relabelled(nil), UseThere},
		"ForeignOnly":  {"and used", "", relabelled(nil), UseThere},
		"OtherHub":     {"another hub may change or remove its own at any time", version, relabelled(otherHub), OtherHub},
		"OtherHubOnly": {"if it is the only one it is used", "", relabelled(otherHub), UseThere},
		"OtherHubCopied": {"what somebody has made of another hub's is the cluster's own", version, with(func(u *unstructured.Unstructured) {
			u.SetLabels(otherHub)
			u.SetName("renamed")
		}), UseThere},
		"OursElse": {"what else has our label is no copy", version, relabelled(map[string]string{stellarflow.LabelOrigin: "hub-1"}), UseThere},
		"Renamed":  {"what somebody has made of a copy is the cluster's own", version, with(func(u *unstructured.Unstructured) { u.SetName("renamed") }), UseThere},
		"Restored": {"in another namespace too", version, with(func(u *unstructured.Unstructured) { u.SetNamespace("other") }), UseThere},
		"Unsaid":   {"labels alone are quickly copied", version, with(func(u *unstructured.Unstructured) { u.SetAnnotations(nil) }), UseThere},
		"Leftover": {"a copy of what the hub has no more is for those that began with it", "", same, Missing},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := Decide(stellarflow.KindConfigMap, tc.version, tc.onWEC, "hub-1"); got != tc.want {
				t.Errorf("%s: %s, want %s", tc.reason, got, tc.want)
			}
		})
	}
}
