package e2e

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// settings are what the hub's Argo controller may be told of Workflows that it runs: how many places there are, what theirs says where it says
// nothing, how many are kept. HEALTHZ_AGE is how long one may have no phase.
const (
	settings = `{"data":{"parallelism":"%d","retentionPolicy":"{completed: 2}","workflowDefaults":"{spec: {podMetadata: {labels: {default-of: hub}}}}"}}`
	healthy  = `[{"name":"HEALTHZ_AGE","value":"1s"}]`
)

// counting has a metric.
const counting = `entrypoint: main
  metrics: {prometheus: [{name: ended, help: runs that have ended, counter: {value: "1"}}]}`

// testSettings has the hub's Argo controller take its settings for federated Workflows too, as it sees them: none of them stops one, and what
// they cost local ones is as docs/spec/workflow.md says.
func testSettings(t *testing.T, f *fleet) {
	others := f.underWay(t) // of the whole fleet's tests
	f.set(t, fmt.Sprintf(settings, others+2), healthy)
	t.Cleanup(func() {
		f.set(t, `{"data":{"parallelism":null,"retentionPolicy":null,"workflowDefaults":null}}`, `[{"name":"HEALTHZ_AGE","$patch":"delete"}]`)
	})
	namespace := f.newNamespace(t, "settings")
	f.prepareHubNamespace(t, namespace)
	name := namespace + "-nowhere"
	f.applyPolicy(t, name, policy(name, name, `"wantSingletonReportedState": true,`, `{"matchLabels": {"name": "cluster9"}}`))
	f.create(t, namespace, suspended("waits", name, shell("echo ran")))
	f.hub.awaitPhase(t, namespace, "waits", wfv1.WorkflowPending)

	names := []string{"one", "two", "three"}
	for _, name := range names {
		f.create(t, namespace, strings.Replace(suspended(name, "cluster1", gated("through")), "entrypoint: main", counting, 1))
	}
	for _, name := range names {
		f.hub.awaitPod(t, namespace, name)
		f.wantDefaults(t, namespace, name)
	}
	f.create(t, namespace, pausingOnce)
	f.hub.await(t, namespace, "local", "has no place beside three federated ones", func(w *wfv1.Workflow) error {
		return wants(fmt.Sprintf("%s: %s", w.Status.Phase, w.Status.Message), "Pending: Workflow processing has been postponed because too many workflows are already running")
	})
	f.wantHealthy(t, namespace)
	f.awaitMetric(t, f.hub, `argo_workflows_gauge{status="Running"}`, strconv.Itoa(others+len(names)))
	for _, name := range names {
		f.openGate(t, f.wecs["cluster1"], namespace, name)
		f.hub.awaitPhase(t, namespace, name, wfv1.WorkflowSucceeded)
	}
	f.nudge(t, namespace, "local")
	f.awaitMetric(t, f.wecs["cluster1"], "argo_workflows_ended", "3")
	f.awaitMetric(t, f.hub, "argo_workflows_ended", "")
	eventually(t, patience, "two that have ended are kept, here and there", func(ctx context.Context) error {
		list, err := f.hub.workflows.Namespace(namespace).List(ctx, metav1.ListOptions{LabelSelector: stellarflow.ArgoLabelCompleted + "=true"})
		if err != nil {
			return err
		}
		there, err := f.wecs["cluster1"].workflows.Namespace(namespace).List(ctx, metav1.ListOptions{})
		if err == nil && (len(list.Items) != 2 || len(there.Items) > 2) {
			err = fmt.Errorf("the hub keeps %d, cluster1 %d", len(list.Items), len(there.Items))
		}
		return err
	})
}

// underWay counts the hub's Workflows, which all run.
func (f *fleet) underWay(t *testing.T) int {
	t.Helper()
	list, err := f.hub.workflows.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range list.Items {
		if one := &list.Items[i]; phaseOf(one) != wfv1.WorkflowRunning {
			t.Errorf("Workflow %s/%s of another test is %q", one.GetNamespace(), one.GetName(), phaseOf(one))
		}
	}
	return len(list.Items)
}

// nudge changes a local Workflow until it has run: Argo's throttler hands a free place on with the next event, and first to those again that have
// one and were changed since (sync/multi_throttler.go, Add).
func (f *fleet) nudge(t *testing.T, namespace, name string) {
	t.Helper()
	nudges := 0
	eventually(t, patience, name+" gets a place and runs", func(ctx context.Context) error {
		nudges++
		patch := fmt.Sprintf(`{"metadata":{"annotations":{"e2e.test/nudge":"%d"}}}`, nudges)
		object, err := f.hub.workflows.Namespace(namespace).Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		if err != nil {
			return err
		}
		if phase := phaseOf(object); phase != wfv1.WorkflowSucceeded {
			return fmt.Errorf("it is %s", phase)
		}
		return nil
	})
	t.Logf("%s was changed %d times", name, nudges)
}

// set merges into the ConfigMap of the hub's Argo controller and into its environment, and starts it anew.
func (f *fleet) set(t *testing.T, data, environment string) {
	t.Helper()
	f.patchArgo(t, "configmap", "workflow-controller-configmap", data)
	f.patchArgo(t, "deployment", "workflow-controller", `{"spec":{"template":{"spec":{"containers":[{"name":"workflow-controller","env":`+environment+`}]}}}}`)
	f.scaleArgo(t, 1)
}

// wantDefaults checks that what the hub's controller may have written into a Workflow before it was placed is what its pod has: the hub
// copy's word counts.
func (f *fleet) wantDefaults(t *testing.T, namespace, name string) {
	t.Helper()
	hubCopy, err := f.hub.get(t.Context(), namespace, name)
	if err != nil {
		t.Fatal(err)
	}
	wanted := ""
	if hubCopy.Spec.PodMetadata != nil {
		wanted = hubCopy.Spec.PodMetadata.Labels["default-of"]
	}
	pods, err := f.wecs["cluster1"].pods(t.Context(), namespace, name)
	if err != nil || len(pods) != 1 || pods[0].Labels["default-of"] != wanted {
		t.Errorf("the hub copy of %s says %q of its default, its pods are %v (%v)", name, wanted, pods, err)
	}
	t.Logf("%s has the default %q", name, wanted)
}

// wantHealthy asks the controller's liveness check, twice: it complains of what it has found twice.
func (f *fleet) wantHealthy(t *testing.T, namespace string) {
	t.Helper()
	for range 2 {
		if out, err := f.askArgo(t, f.hub, "6060", "healthz"); err != nil {
			t.Errorf("the hub's controller is not healthy: %v: %s", err, out)
		}
	}
	without, err := f.hub.workflows.Namespace(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "!" + stellarflow.ArgoLabelPhase})
	if err != nil || len(without.Items) > 0 {
		t.Errorf("%d Workflows have no phase, and make it unhealthy (%v)", len(without.Items), err)
	}
}

// awaitMetric waits until a metric of a cluster's Argo controller has a value, empty for none of that name.
func (f *fleet) awaitMetric(t *testing.T, c *cluster, name, wanted string) {
	t.Helper()
	eventually(t, moment, fmt.Sprintf("%s of Argo on %s is %q", name, c.name, wanted), func(context.Context) error {
		out, err := f.askArgo(t, c, "https:9090", "metrics")
		if err != nil {
			return err
		}
		value, base := "", strings.SplitN(name, "{", 2)[0]
		var like []string
		for line := range strings.Lines(out) {
			if rest, found := strings.CutPrefix(line, name+" "); found {
				value = strings.TrimSpace(rest)
			}
			if strings.HasPrefix(line, base) {
				like = append(like, line)
			}
		}
		if value != wanted {
			return fmt.Errorf("it is %q of %v", value, like)
		}
		return nil
	})
}

// askArgo asks a cluster's Argo controller, at a port which may follow a scheme.
func (f *fleet) askArgo(t *testing.T, c *cluster, port, path string) (string, error) {
	t.Helper()
	pods, err := c.core.CoreV1().Pods(argoNamespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app=workflow-controller", FieldSelector: "status.phase=Running"})
	if err != nil {
		return "", err
	}
	for i := range pods.Items {
		if pods.Items[i].DeletionTimestamp == nil {
			scheme, number, found := strings.Cut(port, ":")
			if !found {
				scheme, number = "http", port
			}
			return f.tryKubectl(t, c, "get", "--raw", fmt.Sprintf("/api/v1/namespaces/%s/pods/%s:%s:%s/proxy/%s", argoNamespace, scheme, pods.Items[i].Name, number, path))
		}
	}
	return "", errors.New("no Argo controller runs")
}
