package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// cutAtMost is how many logs of all suites together may lack an end that nobody has.
const cutAtMost = 3

// archivedLog is what the store has as the log of a pod's main container, under the key that the node says.
func (f *fleet) archivedLog(t *testing.T, node wfv1.NodeStatus) string {
	t.Helper()
	return f.read(t, keyOf(t, node, "main-logs"))
}

// log is what a pod's main container wrote. Archived and kubelet's log must not contradict each other, but one may lack an end: Argo's
// executor gives the copying of a step's output, first to the container's own and then to the file that it archives, 100 ms after the process
// has ended, and drops the rest (workflow/executor/osspecific/command_unix.go, simpleStart). A busy machine takes longer.
func (f *fleet) log(t *testing.T, workflow *wfv1.Workflow, node wfv1.NodeStatus) string {
	t.Helper()
	archived := f.archivedLog(t, node)
	written, err := f.kubeletLog(t.Context(), workflow, node)
	switch {
	case err != nil:
		t.Logf("of the log of %s only the archived one is left: %v", node.Name, err)
	case strings.HasPrefix(archived, written):
	case strings.HasPrefix(written, archived):
		t.Logf("Argo's executor has archived %d of the %d bytes that %s wrote", len(archived), len(written), node.Name)
		return written
	default:
		t.Errorf("the archived log of %s is %q, the kubelet's is %q", node.Name, archived, written)
	}
	return archived
}

// kubeletLog is the log of a pod's main container without the lines of Argo's executor.
func (f *fleet) kubeletLog(ctx context.Context, workflow *wfv1.Workflow, node wfv1.NodeStatus) (string, error) {
	c := f.hub
	if target := workflow.Labels[stellarflow.LabelCluster]; target != "" {
		c = f.wecs[target]
	}
	pods, err := c.pods(ctx, workflow.Namespace, workflow.Name)
	if err != nil {
		return "", err
	}
	for i := range pods {
		if pods[i].Annotations[stellarflow.ArgoAnnotationNodeID] != node.ID {
			continue
		}
		raw, err := c.core.CoreV1().Pods(workflow.Namespace).GetLogs(pods[i].Name, &corev1.PodLogOptions{Container: "main"}).DoRaw(ctx)
		if err != nil {
			return "", fmt.Errorf("on %s: %w", c.name, err)
		}
		var written strings.Builder
		for line := range strings.Lines(string(raw)) {
			if !strings.Contains(line, " argo=true") {
				written.WriteString(line)
			}
		}
		return written.String(), nil
	}
	return "", fmt.Errorf("%s has no pod of node %s any more", c.name, node.ID)
}

// wantLog checks what a pod's main container wrote.
func (f *fleet) wantLog(t *testing.T, workflow *wfv1.Workflow, node wfv1.NodeStatus, wanted string) {
	t.Helper()
	switch got := f.log(t, workflow, node); {
	case got == wanted:
	case strings.HasPrefix(wanted, got) && f.mayBeCut():
		t.Logf("Argo's executor has copied %q only of what %s of %s was to write, %q", got, node.DisplayName, workflow.Name, wanted)
	default:
		t.Errorf("the log of %s of %s is %q, wanted %q", node.DisplayName, workflow.Name, got, wanted)
	}
}

// mayBeCut counts a log that has lost its end before the kubelet had it. Nobody can tell that from a container that did not write it; but such a
// loss is rare.
func (f *fleet) mayBeCut() bool {
	f.common.mu.Lock()
	defer f.common.mu.Unlock()
	f.common.cut++
	return f.common.cut <= cutAtMost
}

// wantLogs checks that each pod of a Workflow wrote its line, by the display name of its node.
func (f *fleet) wantLogs(t *testing.T, workflow *wfv1.Workflow, wanted map[string]string) {
	t.Helper()
	nodes := nodesOf(workflow, wfv1.NodeTypePod)
	if len(nodes) != len(wanted) {
		t.Errorf("%s has %d Pod nodes, wanted %d", workflow.Name, len(nodes), len(wanted))
	}
	for name, line := range wanted {
		if node, there := nodes[name]; there {
			f.wantLog(t, workflow, node, line+"\n")
		} else {
			t.Errorf("%s has no Pod node %s", workflow.Name, name)
		}
	}
}

// wantLastLog checks what the one successful pod of a Workflow wrote; others may have been lost.
func (f *fleet) wantLastLog(t *testing.T, workflow *wfv1.Workflow, wanted string) {
	t.Helper()
	for _, node := range nodesOf(workflow, wfv1.NodeTypePod) {
		if node.Phase == wfv1.NodeSucceeded {
			f.wantLog(t, workflow, node, wanted+"\n")
			return
		}
	}
	t.Errorf("no pod of %s has succeeded: %v", workflow.Name, nodesOf(workflow, wfv1.NodeTypePod))
}
