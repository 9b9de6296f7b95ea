package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

var cronWorkflows = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "cronworkflows"}

// cron creates a CronWorkflow of the hub from the spec of a Workflow for cluster1. What stop does ends it, so that it removes no old run.
func (f *fleet) cron(t *testing.T, namespace, policy, manifest string) (stop func()) {
	t.Helper()
	var workflow map[string]any
	if err := yaml.Unmarshal([]byte(manifest), &workflow); err != nil {
		t.Fatal(err)
	}
	cron := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "argoproj.io/v1alpha1", "kind": "CronWorkflow", "metadata": map[string]any{"name": "each"},
		"spec": map[string]any{
			"schedules": []any{"@every 20s"}, "concurrencyPolicy": policy, "workflowSpec": workflow["spec"],
			"workflowMetadata": map[string]any{"labels": map[string]any{"kubestellar.io/cluster": "cluster1"}},
		},
	}}
	crons := f.hub.dynamic.Resource(cronWorkflows).Namespace(namespace)
	if _, err := crons.Create(t.Context(), cron, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	suspend := func(ctx context.Context) error {
		_, err := crons.Patch(ctx, "each", types.MergePatchType, []byte(`{"spec":{"suspend":true}}`), metav1.PatchOptions{})
		return err
	}
	t.Cleanup(func() { _ = suspend(context.Background()) }) // or it would go on while the namespace is emptied
	return func() {
		if err := suspend(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// awaitRuns waits until the runs of a CronWorkflow, in the order in which they began, are as wanted.
func (f *fleet) awaitRuns(t *testing.T, namespace, what string, wanted func([]*wfv1.Workflow) bool) []*wfv1.Workflow {
	t.Helper()
	var runs []*wfv1.Workflow
	eventually(t, patience, what, func(ctx context.Context) error {
		list, err := f.hub.workflows.Namespace(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		runs = nil
		var said []string
		for i := range list.Items {
			one := typed(t, &list.Items[i])
			runs, said = append(runs, one), append(said, fmt.Sprintf("%s is %q: %s", one.Name, one.Status.Phase, one.Status.Message))
		}
		slices.SortFunc(runs, func(a, b *wfv1.Workflow) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
		if !wanted(runs) {
			return fmt.Errorf("they are %v", said)
		}
		return nil
	})
	return runs
}

func running(workflow *wfv1.Workflow) bool {
	return len(nodesOf(workflow, wfv1.NodeTypePod)) > 0 && !workflow.Status.Phase.Completed()
}

// testCron lets CronWorkflows of the hub create Workflows that run elsewhere, with every policy for what is due while another runs.
func testCron(t *testing.T, f *fleet) {
	for policy, run := range map[string]func(*testing.T, *fleet, string){"Allow": cronAllows, "Forbid": cronForbids, "Replace": cronReplaces} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			namespace := f.newNamespace(t, "cron")
			run(t, f, namespace)
			if n := f.hub.countPods(t, namespace, ""); n > 0 {
				t.Errorf("%d pods run on the hub", n)
			}
		})
	}
}

// cronAllows has two runs at once, which a namespace that holds has suspended.
func cronAllows(t *testing.T, f *fleet, namespace string) {
	f.hold(t, namespace)
	stop := f.cron(t, namespace, "Allow", strings.Replace(long("x", "cluster1"), "  suspend: true\n", "", 1))
	runs := f.awaitRuns(t, namespace, "two runs run at once", func(runs []*wfv1.Workflow) bool {
		return len(runs) > 1 && running(runs[0]) && running(runs[1])
	})
	stop()
	for _, run := range runs[:2] {
		if _, placed := stellarflow.PlacementOf(run); !placed {
			t.Errorf("%s does not run on a cluster: %v, suspend %v", run.Name, run.Labels, run.Spec.Suspend)
		}
	}
}

// cronForbids has no run begin while another runs; what was due then is left out.
func cronForbids(t *testing.T, f *fleet, namespace string) {
	stop := f.cron(t, namespace, "Forbid", suspended("x", "cluster1", shell("sleep 45")))
	runs := f.awaitRuns(t, namespace, "a run begins after another", func(runs []*wfv1.Workflow) bool { return len(runs) > 1 })
	stop()
	if first := runs[0]; first.Status.Phase != wfv1.WorkflowSucceeded || runs[1].CreationTimestamp.Time.Before(first.Status.FinishedAt.Time) {
		t.Errorf("%s was created at %s, and %s is %s, finished at %s", runs[1].Name, runs[1].CreationTimestamp, first.Name, first.Status.Phase, first.Status.FinishedAt)
	}
	f.awaitRun(t, namespace, runs[0].Name, "cluster1", 1)
}

// cronReplaces has each run end the one before it.
func cronReplaces(t *testing.T, f *fleet, namespace string) {
	stop := f.cron(t, namespace, "Replace", long("x", "cluster1"))
	runs := f.awaitRuns(t, namespace, "the second run ends the first", func(runs []*wfv1.Workflow) bool {
		return len(runs) > 1 && runs[0].Status.Phase == wfv1.WorkflowFailed
	})
	stop()
	if runs[0].Status.Message != "Stopped with strategy 'Terminate'" {
		t.Errorf("it ended with %q", runs[0].Status.Message)
	}
	f.compareCopies(t, runs[0], f.wecs["cluster1"])
}
