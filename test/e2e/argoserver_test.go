package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/google/go-cmp/cmp"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// fetch gets a path from the hub's Argo server.
func (f *fleet) fetch(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, f.setting("ARGO_URL")+path, http.NoBody)
	if err != nil {
		return "", err
	}
	return answerTo(request)
}

// answerTo sends a request to the hub's Argo server.
func answerTo(request *http.Request) (string, error) {
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", request.Method, request.URL.Path, err)
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s %s: %s: %s", request.Method, request.URL.Path, response.Status, body)
	}
	return string(body), nil
}

// testArgoServer looks at a placed Workflow as the users of the hub do: through Argo's server, its CLI, and kubectl.
func testArgoServer(t *testing.T, f *fleet) {
	namespace := f.newNamespace(t, "server")
	f.create(t, namespace, suspended("seen", "cluster2", `
- name: main
  steps:
  - - {name: one, template: say, arguments: {parameters: [{name: text, value: first}]}}
  - - {name: two, template: say, arguments: {parameters: [{name: text, value: second}]}}
- name: say
  inputs: {parameters: [{name: text}]}
  container: {image: busybox, command: [echo], args: ["{{inputs.parameters.text}}"]}
`))
	workflow := f.awaitRun(t, namespace, "seen", "cluster2", 2)
	wantNodes(t, workflow, map[wfv1.NodeType]int{wfv1.NodeTypeSteps: 1, wfv1.NodeTypeStepGroup: 2, wfv1.NodeTypePod: 2})
	t.Run("ui", func(t *testing.T) {
		page, err := f.fetch(t.Context(), "/workflows/"+namespace)
		if err == nil {
			err = wants(page, "<title>Argo</title>", ".js")
		}
		if err != nil {
			t.Errorf("Argo's UI: %v", err)
		}
	})
	t.Run("rest", func(t *testing.T) { seenByREST(t, f, workflow) })
	t.Run("cluster", func(t *testing.T) { seenWithCluster(t, f, workflow) })
	t.Run("artifacts", func(t *testing.T) { seenAsArtifact(t, f, workflow) })
	t.Run("commands", func(t *testing.T) { seenByCommands(t, f, workflow) })
}

func seenByREST(t *testing.T, f *fleet, workflow *wfv1.Workflow) {
	one, err := f.fetch(t.Context(), "/api/v1/workflows/"+workflow.Namespace+"/"+workflow.Name)
	if err != nil {
		t.Fatal(err)
	}
	var got wfv1.Workflow
	if err := json.Unmarshal([]byte(one), &got); err != nil {
		t.Fatalf("read the answer of Argo's server: %v: %s", err, one)
	}
	if diff := cmp.Diff(treeOf(workflow), treeOf(&got)); diff != "" || got.Status.Phase != wfv1.WorkflowSucceeded {
		t.Errorf("Argo's server says %s; its node tree (-kubectl +server):\n%s", got.Status.Phase, diff)
	}
	// The list that the UI shows comes from the server's own cache.
	eventually(t, moment, "Argo's server lists the Workflow", func(ctx context.Context) error {
		answer, err := f.fetch(ctx, "/api/v1/workflows/"+workflow.Namespace)
		if err != nil {
			return err
		}
		var list wfv1.WorkflowList
		if err := json.Unmarshal([]byte(answer), &list); err != nil {
			return finalError{fmt.Errorf("read the answer of Argo's server: %w: %s", err, answer)}
		}
		if len(list.Items) != 1 || list.Items[0].Name != workflow.Name || list.Items[0].Status.Phase != wfv1.WorkflowSucceeded ||
			len(list.Items[0].Status.Nodes) != len(workflow.Status.Nodes) {
			return fmt.Errorf("it lists %d Workflows: %s", len(list.Items), answer)
		}
		return nil
	})
}

// seenWithCluster looks at what tells the users of Argo's UI where a Workflow runs: the column that install has set up, and the list by the label that it
// shows.
func seenWithCluster(t *testing.T, f *fleet, workflow *wfv1.Workflow) {
	answer, err := f.fetch(t.Context(), "/api/v1/info")
	if err != nil {
		t.Fatal(err)
	}
	var info struct {
		Columns []wfv1.Column
		Links   []wfv1.Link
	}
	if err := json.Unmarshal([]byte(answer), &info); err != nil {
		t.Fatalf("read the answer of Argo's server: %v: %s", err, answer)
	}
	if !slices.Contains(info.Columns, wfv1.Column{Name: "Cluster", Type: "label", Key: stellarflow.LabelCluster}) {
		t.Errorf("Argo's UI has no column for the cluster: %+v", info.Columns)
	}
	for name, leads := range map[string]string{
		"Workflows on this cluster":   "/workflows/${metadata.namespace}?label=stellarflow.io%2Fcluster%3D${workflow.metadata.labels.stellarflow.io/cluster}",
		"Workflows on other clusters": "/workflows?label=stellarflow.io%2Fcluster",
	} {
		if !slices.ContainsFunc(info.Links, func(link wfv1.Link) bool { return link.Name == name && link.URL == uiAddress+leads }) {
			t.Errorf("Argo's UI has no link %q: %+v", name, info.Links)
		}
	}
	for selector, wanted := range map[string]int{"%3Dcluster1": 0, "%3Dcluster2": 1, "": 1} { // as the UI asks for what the links say
		path := "/api/v1/workflows/" + workflow.Namespace + "?listOptions.labelSelector=" + stellarflow.LabelCluster + selector
		answer, err := f.fetch(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		var list wfv1.WorkflowList
		if err := json.Unmarshal([]byte(answer), &list); err != nil || len(list.Items) != wanted {
			t.Errorf("Argo's server lists %d Workflows by %s, want %d (%v): %s", len(list.Items), path, wanted, err, answer)
		}
	}
}

func seenAsArtifact(t *testing.T, f *fleet, workflow *wfv1.Workflow) {
	f.wantLogs(t, workflow, map[string]string{"one": "first", "two": "second"})
	nodes := nodesOf(workflow, wfv1.NodeTypePod)
	for name := range nodes {
		wanted := f.archivedLog(t, nodes[name])
		for _, path := range []string{
			fmt.Sprintf("/artifact-files/%s/workflows/%s/%s/outputs/main-logs", workflow.Namespace, workflow.Name, nodes[name].ID),
			fmt.Sprintf("/artifacts/%s/%s/%s/main-logs", workflow.Namespace, workflow.Name, nodes[name].ID),
		} {
			got, err := f.fetch(t.Context(), path)
			if err != nil {
				t.Errorf("the log of step %s: %v", name, err)
			} else if got != wanted {
				t.Errorf("GET %s: %q, wanted %q", path, got, wanted)
			}
		}
	}
}

// argoServer are the variables with which Argo's CLI uses the hub's Argo server and nothing else.
func (f *fleet) argoServer() []string {
	return []string{"ARGO_SERVER=" + f.setting("ARGO_SERVER"), "ARGO_SECURE=false", "ARGO_HTTP1=true", "ARGO_TOKEN=Bearer any", "KUBECONFIG=/dev/null"}
}

func seenByCommands(t *testing.T, f *fleet, workflow *wfv1.Workflow) {
	server := f.argoServer()
	direct := []string{"KUBECONFIG=" + f.hub.kubeconfig}
	copied := t.TempDir()
	for _, c := range []struct {
		name    string
		env     []string
		program string
		args    []string
		wanted  []string
	}{
		{"argo list, API server", direct, "argo", []string{"list", "-n", workflow.Namespace}, []string{"seen", "Succeeded"}},
		{"argo list, Argo server", server, "argo", []string{"list", "-n", workflow.Namespace}, []string{"seen", "Succeeded"}},
		{"argo get, API server", direct, "argo", []string{"get", "-n", workflow.Namespace, "seen"}, []string{"Succeeded", "one", "two", "2/2"}},
		{"argo get, Argo server", server, "argo", []string{"get", "-n", workflow.Namespace, "seen"}, []string{"Succeeded", "one", "two", "2/2"}},
		{"argo cp", server, "argo", []string{"cp", "seen", copied, "-n", workflow.Namespace}, []string{"main.log"}},
		{"kubectl get wf", direct, "kubectl", []string{"-n", workflow.Namespace, "get", "wf"}, []string{"STATUS", "seen", "Succeeded"}},
		{"kubectl get wf -L", direct, "kubectl", []string{"-n", workflow.Namespace, "get", "wf", "-L", "stellarflow.io/cluster"}, []string{"CLUSTER", "cluster2"}},
		{"stellarflow explain", direct, "stellarflow", []string{"explain", "seen", "-n", workflow.Namespace}, []string{"Succeeded", `cluster "cluster2"`, "workflows-cluster2"}},
	} {
		out, err := f.try(t.Context(), c.env, f.bin(c.program), c.args...)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		for _, wanted := range c.wanted {
			if !strings.Contains(out, wanted) {
				t.Errorf("%s does not show %q:\n%s", c.name, wanted, out)
			}
		}
	}
}
