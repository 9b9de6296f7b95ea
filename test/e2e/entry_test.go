package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// greeting is what the templates of testEntry run. Argo ignores their suspend for a Workflow that refers to them.
const greeting = `
spec:
  suspend: true
  entrypoint: main
  arguments: {parameters: [{name: text, value: hello}]}
  templates: [{name: main, container: {image: busybox, command: [echo, "{{workflow.parameters.text}}"]}}]
`

// greets is a Workflow that nobody has suspended.
const greets = `
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: own-}
spec:
  entrypoint: main
  templates: [{name: main, container: {image: busybox, command: [echo, hello]}}]
`

// hold has a namespace hold what policies select, as it has to on a shared hub.
func (f *fleet) hold(t *testing.T, namespace string) {
	t.Helper()
	if f.profile == stellarflow.ProfileDedicated {
		return
	}
	f.kubectl(t, f.hub, "label", "namespace", namespace, stellarflow.LabelHold+"="+stellarflow.HoldAll)
}

// entry is a namespace that holds, with templates in it.
type entry struct {
	*fleet
	namespace, shared, file string
}

// testEntry creates Workflows in every way that the hub's users have, on a shared hub in a namespace that holds: they run on their cluster,
// and what no policy selects runs on the hub, or on a dedicated one nowhere.
func testEntry(t *testing.T, f *fleet) {
	namespace := f.newNamespace(t, "entry")
	e := entry{f, namespace, namespace + "-shared", filepath.Join(t.TempDir(), "own.yaml")}
	f.hold(t, namespace)
	f.prepareHubNamespace(t, namespace)
	f.createOnHub(t, namespace, stellarflow.KindWorkflowTemplate, "greet", greeting)
	f.createOnHub(t, namespace, stellarflow.KindClusterWorkflowTemplate, e.shared, greeting)
	if err := os.WriteFile(e.file, []byte(greets), 0o600); err != nil {
		t.Fatal(err)
	}
	ways := map[string]func(*testing.T){
		"submit": e.submit, "from-template": e.fromTemplate, "from-cluster-template": e.fromClusterTemplate, "argo-server": e.throughServer,
		"submit-api": e.submitAPI, "create-api": e.createAPI, "event": e.event, "sensor": e.sensor, "local": e.local,
	}
	if f.profile != stellarflow.ProfileDedicated { // where nothing is held, nobody is told
		ways["warning"], ways["by-policy"] = e.warning, e.byPolicy
	}
	for name, run := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t)
		})
	}
}

// createOnHub creates what Workflows need on the hub; one that is in no namespace is deleted at the end.
func (f *fleet) createOnHub(t *testing.T, namespace string, kind stellarflow.Kind, name, body string) {
	t.Helper()
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(body), &object.Object); err != nil {
		t.Fatal(err)
	}
	object.SetAPIVersion(kind.Resource().GroupVersion().String())
	object.SetKind(string(kind))
	object.SetName(name)
	client := f.hub.kind(kind, namespace)
	if _, err := client.Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatalf("create %s %s: %v", kind, name, err)
	}
	if !kind.Namespaced() {
		t.Cleanup(func() { _ = client.Delete(context.Background(), name, metav1.DeleteOptions{}) })
	}
}

// created runs Argo's CLI, which prints the name of what it has created.
func (e entry) created(t *testing.T, env []string, args ...string) (name string) {
	t.Helper()
	out, err := e.try(t.Context(), env, e.bin("argo"), append(args, "-n", e.namespace, "-o", "name")...)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range strings.Fields(out) {
		name = strings.TrimPrefix(word, "workflow.argoproj.io/")
	}
	return name
}

func (e entry) direct() []string { return []string{"KUBECONFIG=" + e.hub.kubeconfig} }

// ranThere checks that a Workflow was held, and ran on its cluster and nowhere else.
func (e entry) ranThere(t *testing.T, name, target, log string) {
	t.Helper()
	ended := e.awaitRun(t, e.namespace, name, target, 1)
	e.wantLogs(t, ended, map[string]string{name: log})
}

// submit also resubmits what it has submitted.
func (e entry) submit(t *testing.T) {
	name := e.created(t, e.direct(), "submit", e.file, "--labels", "kubestellar.io/cluster=cluster1")
	e.ranThere(t, name, "cluster1", "hello")
	e.ranThere(t, e.created(t, e.direct(), "resubmit", name), "cluster1", "hello")
}

func (e entry) fromTemplate(t *testing.T) {
	e.ranThere(t, e.created(t, e.direct(), "submit", "--from", "workflowtemplate/greet", "--labels", "kubestellar.io/cluster=cluster1", "-p", "text=from-template"), "cluster1", "from-template")
}

func (e entry) fromClusterTemplate(t *testing.T) {
	e.ranThere(t, e.created(t, e.direct(), "submit", "--from", "clusterworkflowtemplate/"+e.shared, "--labels", "kubestellar.io/cluster=cluster2"), "cluster2", "hello")
}

func (e entry) throughServer(t *testing.T) {
	e.ranThere(t, e.created(t, e.argoServer(), "submit", "--from", "workflowtemplate/greet", "--labels", "kubestellar.io/cluster=cluster2"), "cluster2", "hello")
}

// called calls the Argo server, which answers with what it has created.
func (e entry) called(t *testing.T, path, body string) (name string) {
	t.Helper()
	answer, err := e.ask(t, http.MethodPost, path, body)
	if err != nil {
		t.Fatal(err)
	}
	var workflow unstructured.Unstructured
	if err := yaml.Unmarshal([]byte(answer), &workflow.Object); err != nil || workflow.GetName() == "" {
		t.Fatalf("%s: %v: %s", path, err, answer)
	}
	return workflow.GetName()
}

// submitAPI does what the UI's Submit button on a template does.
func (e entry) submitAPI(t *testing.T) {
	e.ranThere(t, e.called(t, "/api/v1/workflows/"+e.namespace+"/submit", fmt.Sprintf(
		`{"namespace":%q,"resourceKind":"WorkflowTemplate","resourceName":"greet","submitOptions":{"labels":"kubestellar.io/cluster=cluster1","parameters":["text=by-api"]}}`, e.namespace)), "cluster1", "by-api")
}

// createAPI does what the UI's form for a new Workflow does.
func (e entry) createAPI(t *testing.T) {
	var workflow map[string]any
	if err := yaml.Unmarshal([]byte(strings.Replace(greets, "generateName: own-", "generateName: api-, labels: {kubestellar.io/cluster: cluster2}", 1)), &workflow); err != nil {
		t.Fatal(err)
	}
	raw, err := (&unstructured.Unstructured{Object: workflow}).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	e.ranThere(t, e.called(t, "/api/v1/workflows/"+e.namespace, fmt.Sprintf(`{"namespace":%q,"workflow":%s}`, e.namespace, raw)), "cluster2", "hello")
}

// event sends an event to the Argo server, for which a WorkflowEventBinding submits a template. In it the values of labels are expressions.
func (e entry) event(t *testing.T) {
	manifest := filepath.Join(t.TempDir(), "binding.yaml")
	err := os.WriteFile(manifest, []byte(`
apiVersion: argoproj.io/v1alpha1
kind: WorkflowEventBinding
metadata: {name: rings}
spec:
  event: {selector: 'discriminator == "bell"'}
  submit:
    workflowTemplateRef: {name: greet}
    metadata: {labels: {kubestellar.io/cluster: '"cluster1"'}}
    arguments: {parameters: [{name: text, valueFrom: {event: payload.text}}]}
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	e.kubectl(t, e.hub, "-n", e.namespace, "create", "-f", manifest)
	if out, err := e.ask(t, http.MethodPost, "/api/v1/events/"+e.namespace+"/bell", `{"text":"by-event"}`); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var name string
	eventually(t, moment, "the event's Workflow", func(ctx context.Context) error {
		list, err := e.hub.workflows.Namespace(e.namespace).List(ctx, metav1.ListOptions{LabelSelector: "workflows.argoproj.io/workflow-event-binding=rings"})
		if err != nil {
			return err
		}
		if len(list.Items) != 1 {
			return fmt.Errorf("there are %d", len(list.Items))
		}
		name = list.Items[0].GetName()
		return nil
	})
	e.ranThere(t, name, "cluster1", "by-event")
}

// local submits what no policy selects.
func (e entry) local(t *testing.T) {
	for _, args := range [][]string{{"submit", e.file}, {"submit", "--from", "workflowtemplate/greet"}, {"submit", e.file, "--labels", "kubestellar.io/cluster=cluster9"}} {
		name := e.created(t, e.direct(), args...)
		if e.profile == stellarflow.ProfileDedicated {
			e.untouched(t, name)
		} else if ended := e.awaitLocal(t, e.namespace, name, 1); ended.Spec.Suspend != nil {
			t.Errorf("argo %v: spec.suspend is %v", args, *ended.Spec.Suspend)
		}
	}
}

// untouched checks that a Workflow says nothing yet when one that was created after it has run.
func (e entry) untouched(t *testing.T, name string) {
	t.Helper()
	e.ranThere(t, e.created(t, e.direct(), "submit", e.file, "--labels", "kubestellar.io/cluster=cluster1"), "cluster1", "hello")
	left, err := e.hub.get(t.Context(), e.namespace, name)
	if err != nil {
		t.Fatal(err)
	}
	if _, placed := left.Labels[stellarflow.LabelCluster]; placed || left.Status.Phase != "" || left.Spec.Suspend != nil {
		t.Errorf("%s, which no policy selects: %+v", name, left)
	}
}

// warning creates what needs a template that the hub does not have: kubectl shows it.
func (e entry) warning(t *testing.T) {
	manifest := filepath.Join(t.TempDir(), "needs.yaml")
	text := strings.Replace(greets, "generateName: own-", "name: needs, labels: {kubestellar.io/cluster: cluster1}", 1)
	text = strings.Replace(text, "command: [echo, hello]", "command: [echo, hello], envFrom: [{configMapRef: {name: absent}}]", 1)
	if err := os.WriteFile(manifest, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out := e.kubectl(t, e.hub, "-n", e.namespace, "create", "--dry-run=server", "-f", manifest)
	if err := wants(out, `Warning: ConfigMap "absent" (spec.templates[0].container.envFrom[0].configMapRef) is not on the hub: create it in namespace "`+e.namespace+`"`); err != nil {
		t.Error(err)
	}
}

// byPolicy has a policy, and not the namespace, ask that what it selects is held; what another one selects runs on the hub.
func (e entry) byPolicy(t *testing.T) {
	chosen := entry{fleet: e.fleet, namespace: e.newNamespace(t, "chosen"), file: e.file}
	chosen.prepareHubNamespace(t, chosen.namespace)
	e.kubectl(t, e.hub, "label", "namespace", chosen.namespace, stellarflow.LabelHold+"="+stellarflow.HoldByPolicy)
	manifest := policy(chosen.namespace, chosen.namespace, "", `{"matchLabels": {"name": "cluster1"}}`)
	e.applyPolicy(t, chosen.namespace, strings.Replace(manifest, `"metadata": {`, `"metadata": {"annotations": {"`+stellarflow.AnnotationHold+`": "true"}, `, 1))
	e.awaitCondition(t, "bindingpolicies", chosen.namespace, "Ready", metav1.ConditionTrue)
	name := chosen.created(t, e.direct(), "submit", e.file, "--labels", "kubestellar.io/cluster="+chosen.namespace)
	other := chosen.created(t, e.argoServer(), "submit", e.file, "--labels", "kubestellar.io/cluster=cluster2")
	chosen.ranThere(t, name, "cluster1", "hello")
	chosen.awaitLocal(t, chosen.namespace, other, 1)
}
