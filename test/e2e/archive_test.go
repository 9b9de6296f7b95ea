package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// testArchive gives the hub's Argo an archive, and the Argo of every cluster locks in the same database.
func testArchive(t *testing.T, f *fleet) {
	namespace := f.newNamespace(t, "archive")
	f.prepareHubNamespace(t, namespace)
	f.useDatabase(t, f.startDatabase(t))
	f.obey(t, f.awaitAilment(t, "argo-archive-differs"), "")
	f.awaitManagers(t)
	a := archive{f, namespace, f.hub.record(t, namespace)}
	t.Run("side-by-side", func(t *testing.T) {
		for name, run := range map[string]func(*testing.T){
			"placed": a.placed, "retried": a.retried, "retried-from-archive": a.retriedFromArchive, "local": a.local, "locked": a.locked, "locks": a.locks,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				run(t)
			})
		}
	})
}

type archive struct {
	*fleet
	namespace string
	states    *recording
}

// useDatabase has the hub's Argo archive, and lets the Argo of every cluster keep locks, in a database. At the end all is as it was.
func (f *fleet) useDatabase(t *testing.T, host string) {
	t.Helper()
	database := fmt.Sprintf("postgresql:\n  host: %s\n  port: %d\n  database: postgres\n  tableName: argo_workflows\n"+
		"  userNameSecret: {name: postgresql, key: user}\n  passwordSecret: {name: postgresql, key: password}\n", host, databasePort)
	t.Cleanup(func() {
		f.setArgo(t, func(*cluster) map[string]any { return map[string]any{"persistence": nil, "synchronization": nil} })
		_, err := f.try(context.Background(), []string{"KUBECONFIG=" + f.hub.kubeconfig}, f.bin("stellarflow"), "install")
		for _, c := range f.all() {
			err = errors.Join(err, c.core.CoreV1().Secrets(argoNamespace).Delete(context.Background(), "postgresql", metav1.DeleteOptions{}))
		}
		if err != nil {
			t.Error(err)
		}
	})
	for _, c := range f.all() {
		f.kubectl(t, c, "-n", argoNamespace, "create", "secret", "generic", "postgresql", "--from-literal=user="+databaseUser, "--from-literal=password="+databasePassword)
	}
	f.setArgo(t, func(c *cluster) map[string]any {
		settings := map[string]any{"synchronization": "controllerName: " + c.name + "\npollSeconds: 1\n" + database}
		if c == f.hub {
			settings["persistence"] = "archive: true\n" + database
		}
		return settings
	})
}

// setArgo changes settings of Argo's controllers and servers, and starts them anew: they look for a database's tables then.
func (f *fleet) setArgo(t *testing.T, settings func(*cluster) map[string]any) {
	t.Helper()
	for _, c := range f.all() {
		raw, err := json.Marshal(map[string]any{"data": settings(c)})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.core.CoreV1().ConfigMaps(argoNamespace).Patch(context.Background(), "workflow-controller-configmap", types.MergePatchType, raw, metav1.PatchOptions{})
		if err != nil {
			t.Fatalf("change Argo's ConfigMap on %s: %v", c.name, err)
		}
	}
	for _, verb := range []string{"restart", "status"} { // all at once, then one after the other
		for _, c := range f.all() {
			for _, deployment := range []string{"workflow-controller", "argo-server"} {
				if deployment == "argo-server" && c != f.hub {
					continue
				}
				if _, err := f.try(context.Background(), nil, f.bin("kubectl"), "--kubeconfig", c.kubeconfig, "-n", argoNamespace, "rollout", verb, "deployment/"+deployment); err != nil {
					t.Fatalf("Argo on %s: %v", c.name, err)
				}
			}
		}
	}
}

// inArchive is what the archive has of a Workflow.
func (a archive) inArchive(t *testing.T, uid types.UID) (*wfv1.Workflow, error) {
	t.Helper()
	answer, err := a.ask(t, http.MethodGet, "/api/v1/archived-workflows/"+string(uid), "")
	if err != nil {
		return nil, err
	}
	var workflow wfv1.Workflow
	return &workflow, json.Unmarshal([]byte(answer), &workflow)
}

// awaitArchived waits until the hub's Argo has archived a Workflow that has ended, and checks that the archive has what the hub shows.
func (a archive) awaitArchived(t *testing.T, name string) *wfv1.Workflow {
	t.Helper()
	workflow := a.hub.await(t, a.namespace, name, "is archived", func(w *wfv1.Workflow) error {
		if status := w.Labels[stellarflow.ArgoLabelArchivingStatus]; status != "Archived" {
			return fmt.Errorf("its label is %q", status)
		}
		return nil
	})
	archived, err := a.inArchive(t, workflow.UID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(workflow.Status, archived.Status); diff != "" {
		t.Errorf("the archive has another status of %s (-hub +archive):\n%s", name, diff)
	}
	eventually(t, moment, "Argo's server lists "+name+" once", func(ctx context.Context) error {
		answer, err := a.fetch(ctx, "/api/v1/workflows/"+a.namespace)
		if err != nil {
			return err
		}
		var list wfv1.WorkflowList
		if err := json.Unmarshal([]byte(answer), &list); err != nil {
			return finalError{fmt.Errorf("read the answer of Argo's server: %w: %s", err, answer)}
		}
		listed := 0
		for _, item := range list.Items {
			if item.UID == workflow.UID {
				listed++
			}
		}
		if listed != 1 {
			return fmt.Errorf("%d times, of %d Workflows", listed, len(list.Items))
		}
		return nil
	})
	return workflow
}

// wantOnce checks that each end of a Workflow was archived, once.
func (a archive) wantOnce(t *testing.T, workflow *wfv1.Workflow, ends int) {
	t.Helper()
	var was []string
	for _, state := range a.states.until(t, workflow.ResourceVersion) {
		if status := state.Labels[stellarflow.ArgoLabelArchivingStatus]; state.UID == workflow.UID && (len(was) == 0 || was[len(was)-1] != status) {
			was = append(was, status)
		}
	}
	var wanted []string
	for range ends {
		wanted = append(wanted, "", "Pending", "Archived")
	}
	if diff := cmp.Diff(wanted, was); diff != "" {
		t.Errorf("the archiving status of %s was (-want +got):\n%s", workflow.Name, diff)
	}
}

// remove deletes a hub copy, and with it its WEC copy; the archive keeps it.
func (a archive) remove(t *testing.T, workflow *wfv1.Workflow) {
	t.Helper()
	a.kubectl(t, a.hub, "-n", a.namespace, "delete", "workflow", workflow.Name)
	a.awaitNone(t.Context(), t, a.namespace, workflow.Name)
	if archived, err := a.inArchive(t, workflow.UID); err != nil || archived.Status.Phase != workflow.Status.Phase {
		t.Errorf("the archive does not have %s any more: %v", workflow.Name, err)
	}
}

// again does with a Workflow of the archive what its buttons in the UI do, and returns the name of the Workflow that comes of it.
func (a archive) again(t *testing.T, verb string, workflow *wfv1.Workflow, options string) string {
	t.Helper()
	answer, err := a.ask(t, http.MethodPut, fmt.Sprintf("/api/v1/archived-workflows/%s/%s", workflow.UID, verb),
		fmt.Sprintf(`{"uid":%q,"name":%q,"namespace":%q%s}`, workflow.UID, workflow.Name, a.namespace, options))
	if err != nil {
		t.Fatal(err)
	}
	var made wfv1.Workflow
	if err := json.Unmarshal([]byte(answer), &made); err != nil || made.Name == "" || made.UID == workflow.UID {
		t.Fatalf("%s: %v: %s", verb, err, answer)
	}
	return made.Name
}

// placed archives a Workflow that ran on a cluster. Its log is there when it is gone from both, and it can be resubmitted.
func (a archive) placed(t *testing.T) {
	a.create(t, a.namespace, suspended("placed", "cluster1", shell("echo kept; echo -n 42 > /tmp/out")+"\n  outputs: {parameters: [{name: out, valueFrom: {path: /tmp/out}}]}"))
	a.awaitRun(t, a.namespace, "placed", "cluster1", 1)
	workflow := a.awaitArchived(t, "placed")
	a.wantOnce(t, workflow, 1)
	node := onlyPod(t, workflow)
	if out := node.Outputs.Parameters; len(out) != 1 || out[0].Value.String() != "42" || !strings.Contains(node.HostNodeName, "cluster1") {
		t.Errorf("what was archived is not what ran: %+v", node)
	}
	a.wantLog(t, workflow, node, "kept\n")
	wanted := a.archivedLog(t, node)
	a.remove(t, workflow)
	log, err := a.fetch(t.Context(), fmt.Sprintf("/artifact-files/%s/archived-workflows/%s/%s/outputs/main-logs", a.namespace, workflow.UID, node.ID))
	if err != nil || log != wanted {
		t.Errorf("the log of an archived Workflow: %q (%v), wanted %q", log, err, wanted)
	}
	resubmitted := a.again(t, "resubmit", workflow, "")
	a.awaitRun(t, a.namespace, resubmitted, "cluster1", 1)
	a.wantOnce(t, a.awaitArchived(t, resubmitted), 1)
}

// retried retries a Workflow that is archived: its second end is archived over the first.
func (a archive) retried(t *testing.T) {
	a.create(t, a.namespace, failing("retried", "cluster2"))
	a.hub.awaitPhase(t, a.namespace, "retried", wfv1.WorkflowFailed)
	a.wantOnce(t, a.awaitArchived(t, "retried"), 1)
	if out, err := a.argo(t, "retry", "retried", "-n", a.namespace, "-p", "code=0"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	a.hub.await(t, a.namespace, "retried", "has run again", func(w *wfv1.Workflow) error {
		if w.Status.Phase != wfv1.WorkflowSucceeded {
			return fmt.Errorf("it is %q: %s", w.Status.Phase, w.Status.Message)
		}
		return nil
	})
	a.wantOnce(t, a.awaitArchived(t, "retried"), 2)
}

// retriedFromArchive retries a Workflow that only the archive has: what went well there stays as it was.
func (a archive) retriedFromArchive(t *testing.T) {
	a.create(t, a.namespace, failing("fetched", "cluster1"))
	a.hub.awaitPhase(t, a.namespace, "fetched", wfv1.WorkflowFailed)
	workflow := a.awaitArchived(t, "fetched")
	good := nodesOf(workflow, wfv1.NodeTypePod)["good"]
	a.remove(t, workflow)
	if name := a.again(t, "retry", workflow, `,"parameters":["code=0"]`); name != "fetched" {
		t.Errorf("retried, it is %s", name)
	}
	ended := a.hub.awaitPhase(t, a.namespace, "fetched", wfv1.WorkflowSucceeded)
	a.compareCopies(t, ended, a.wecs["cluster1"])
	if again := nodesOf(ended, wfv1.NodeTypePod)["good"]; !again.StartedAt.Equal(&good.StartedAt) || again.ID != good.ID {
		t.Errorf("the step that went well has run again: %+v, before %+v", again, good)
	}
	a.awaitArchived(t, "fetched")
}

// local runs a Workflow of the hub's own, which is archived as ever.
func (a archive) local(t *testing.T) {
	a.create(t, a.namespace, strings.Replace(greets, "generateName: own-", "name: own", 1))
	a.awaitLocal(t, a.namespace, "own", 1)
	a.awaitArchived(t, "own")
}

const databaseMutex = "synchronization: {mutexes: [{name: one, database: true}]}"

// locked would wait on its cluster for the lock that the hub's Argo holds for it, by its own word or by that of its template.
func (a archive) locked(t *testing.T) {
	own := strings.Replace(suspended("locked", "cluster1", shell("echo never")), "entrypoint: main", "entrypoint: main\n  "+databaseMutex, 1)
	a.hub.put(t, a.namespace, stellarflow.Reference{Kind: stellarflow.KindWorkflowTemplate, Name: "locked"}, own)
	byTemplate := strings.Replace(suspended("locked-by-template", "cluster1", ""), "entrypoint: main", "workflowTemplateRef: {name: locked}", 1)
	for _, manifest := range []string{own, byTemplate} { // one after the other: the hub's Argo says of the second that it waits for the lock
		name := a.create(t, a.namespace, manifest).Name
		a.hub.await(t, a.namespace, name, "says why it is not placed", func(w *wfv1.Workflow) error {
			if _, placed := stellarflow.PlacementOf(w); placed {
				return finalError{errors.New("it is placed")}
			}
			return wants(w.Status.Message, `holds mutex "one" for it, in a database`, "put the lock on its templates, or use a dedicated hub")
		})
		a.kubectl(t, a.hub, "-n", a.namespace, "delete", "workflow", name)
	}
}

// locks runs steps with one mutex on two clusters: one after the other, since both look into one database.
func (a archive) locks(t *testing.T) {
	var spans [][2]time.Time
	for _, target := range wecNames {
		a.create(t, a.namespace, suspended("locks-"+target, target, shell("sleep 5")+"\n  "+strings.Replace(databaseMutex, "one", "two", 1)))
	}
	for _, target := range wecNames {
		a.awaitRun(t, a.namespace, "locks-"+target, target, 1)
		pods, err := a.wecs[target].pods(t.Context(), a.namespace, "locks-"+target)
		if err != nil {
			t.Fatal(err)
		}
		for _, container := range pods[0].Status.ContainerStatuses { // its node has begun when it began to wait
			if ended := container.State.Terminated; container.Name == "main" && ended != nil {
				spans = append(spans, [2]time.Time{ended.StartedAt.Time, ended.FinishedAt.Time})
			}
		}
	}
	if len(spans) != len(wecNames) {
		t.Fatalf("of %d steps only this is known: %v", len(wecNames), spans)
	}
	if spans[0][0].Before(spans[1][1]) && spans[1][0].Before(spans[0][1]) {
		t.Errorf("two steps with one mutex ran at once: %v", spans)
	}
}
