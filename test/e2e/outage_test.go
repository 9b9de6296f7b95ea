package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// outageLimit is how long it may take until an outage is said on a Workflow (after 60 s of silence), and until it is over.
const outageLimit = 4 * time.Minute

// testOutage stops one cluster and cuts the other off at the same time, each with a Workflow that runs, and brings both back.
func testOutage(t *testing.T, f *fleet) {
	namespace := f.newNamespace(t, "outage")
	stopped, cut := f.wecs["cluster1"], f.wecs["cluster2"]
	a := actions{f, namespace}
	failed := a.prepareAway(t, cut)
	// The pod on the stopped cluster dies with its node, and Argo tries again; the other one never learns of the outage.
	f.create(t, namespace, suspended("stopped", stopped.name, retried("sleep 30; echo survived")))
	f.create(t, namespace, suspended("cut", cut.name, shell("sleep 30; echo unaware")))
	f.hub.awaitPod(t, namespace, "stopped")
	f.hub.awaitPod(t, namespace, "cut")
	t.Cleanup(func() { f.mend(t) })
	f.do(t, "cut", cut.name)
	f.do(t, "stop", stopped.name)
	f.awaitClusters(t, func(info clusterInfo) error {
		if info.Status == "Ready" || info.Message == "" {
			return fmt.Errorf("cluster %s is %s: %s", info.Name, info.Status, info.Message)
		}
		return nil
	})
	a.askAway(t, cut)
	f.create(t, namespace, suspended("later", stopped.name, shell("echo later")))
	f.hub.await(t, namespace, "later", "waits for the stopped cluster", func(workflow *wfv1.Workflow) error {
		return wants(fmt.Sprintf("%s: %s", workflow.Status.Phase, workflow.Status.Message), "Pending: Waiting for a cluster.", stopped.name+": ")
	})
	if wecCopy := cut.awaitPhase(t, namespace, "cut", wfv1.WorkflowSucceeded); wecCopy.Finalizers == nil {
		t.Errorf("the WEC copy on %s has no finalizer: it could vanish before the hub has its end", cut.name)
	}
	for _, name := range []string{"stopped", "cut"} {
		f.hub.await(t, namespace, name, "says that its cluster cannot be reached", func(workflow *wfv1.Workflow) error {
			if workflow.Status.Phase != wfv1.WorkflowRunning {
				return finalError{fmt.Errorf("it is %s: %s; wanted the last known state, Running", workflow.Status.Phase, workflow.Status.Message)}
			}
			return wants(workflow.Annotations[stellarflow.AnnotationSync], workflow.Labels[stellarflow.LabelCluster], "cannot be reached since", "last known state")
		})
		out, err := f.stellarflow(t, "explain", name, "-n", namespace)
		if err == nil {
			err = wants(out, "cannot be reached since")
		}
		if err != nil {
			t.Errorf("explain %s: %v", name, err)
		}
	}
	away := f.outageAilments(t, stopped, cut)
	f.do(t, "heal", cut.name)
	f.do(t, "start", stopped.name)
	if answer := f.obey(t, away, stopped.kubeconfig); !strings.Contains(answer, "ok") {
		t.Errorf("what doctor prints to look at the cluster says %q", answer)
	}
	f.awaitReady(t)
	for name, wanted := range map[string]string{"stopped": "survived", "cut": "unaware", "later": "later"} {
		workflow := f.hub.awaitPhase(t, namespace, name, wfv1.WorkflowSucceeded)
		if sync := workflow.Annotations[stellarflow.AnnotationSync]; sync != "" {
			t.Errorf("%s has ended and still says %q", name, sync)
		}
		f.wantLastLog(t, workflow, wanted)
		f.compareCopies(t, workflow, f.wecs[workflow.Labels[stellarflow.LabelCluster]])
	}
	a.doneOnce(t, cut, failed)
	f.awaitCured(t, "cluster-unreachable", "cluster-lease", "cluster-not-connected", "workflows-not-synced")
}

// prepareAway creates what is acted on while its cluster is away, and returns the one that has failed.
func (a actions) prepareAway(t *testing.T, cut *cluster) *wfv1.Workflow {
	t.Helper()
	for _, manifest := range []string{suspended("asked", cut.name, asking), suspended("declined", cut.name, pausing), failing("again", cut.name)} {
		a.create(t, a.namespace, manifest)
	}
	a.waits(t, "asked", "ask")
	a.waits(t, "declined", "pause")
	return a.ran(t, "again", cut.name, wfv1.WorkflowFailed)
}

// askAway does with Argo's CLI what cannot be done now: it is taken, and people see that it waits.
func (a actions) askAway(t *testing.T, cut *cluster) {
	t.Helper()
	a.must(t, "node", "set", "asked", "--node-field-selector", "displayName=ask", "--output-parameter", "answer=yes")
	a.must(t, "resume", "asked", "--node-field-selector", "displayName=ask")
	a.must(t, "stop", "declined", "--node-field-selector", "displayName=pause", "--message", "declined")
	a.must(t, "retry", "again", "-p", "code=0")
	for name, kinds := range map[string][]string{"asked": {"set", "resume"}, "declined": {"set"}, "again": {"retry"}} {
		out, err := a.stellarflow(t, "explain", name, "-n", a.namespace)
		for _, kind := range kinds {
			if err == nil {
				err = wants(out, kind+", asked by ", fmt.Sprintf("waits for cluster %q", cut.name))
			}
		}
		if err != nil {
			t.Errorf("explain %s: %v", name, err)
		}
	}
}

// doneOnce checks that what waited was done when the cluster was back, and not again.
func (a actions) doneOnce(t *testing.T, cut *cluster, failed *wfv1.Workflow) {
	t.Helper()
	a.told(t, "asked", cut.name, "yes")
	a.stopped(t, "declined", cut.name)
	a.runsAgain(t, "again", failed)
	if again := a.ran(t, "again", cut.name, wfv1.WorkflowSucceeded); good(failed) != good(again) {
		t.Errorf("the step that had succeeded ran again: %s, then %s", good(failed), good(again))
	}
	for name, said := range map[string][]string{
		"asked": {"set: done 1, refused 0.", "resume: done 1, refused 0."}, "declined": {"set: done 1, refused 0."}, "again": {"retry: done 1, refused 0."},
	} {
		if out, err := a.stellarflow(t, "explain", name, "-n", a.namespace); err != nil || wants(out, said...) != nil {
			t.Errorf("explain %s: %v: %s", name, err, out)
		}
	}
}

// outageAilments checks what doctor finds while one cluster is stopped and the other cut off from the hub, but not from doctor. It returns
// the finding of the stopped one.
func (f *fleet) outageAilments(t *testing.T, stopped, cut *cluster) ailment {
	t.Helper()
	found := f.awaitAilments(t, doctorLimit, nil, sought{"cluster-unreachable", "cluster " + stopped.name},
		sought{"workflows-not-synced", "on cluster " + stopped.name}, sought{"workflows-not-synced", "on cluster " + cut.name},
		sought{"cluster-lease", "cluster " + cut.name}) // the hub's Lease there has run out
	if err := wants(found[0].What, "stellarflow leave "+stopped.name+" --force"); err != nil {
		t.Errorf("the finding of a cluster that is down: %v", err)
	}
	if err := wants(found[3].What, "has not renewed it since", "the hub manager says: cannot read /version"); err != nil {
		t.Errorf("the finding of a cluster that only doctor reaches: %v", err)
	}
	for _, silent := range found[1:3] {
		if err := wants(f.obey(t, silent, ""), "cannot be reached since"); err != nil {
			t.Errorf("%s: %v", silent.Remedy, err)
		}
	}
	return found[0]
}

// mend brings the fleet up again for the tests that follow one that has failed half-way.
func (f *fleet) mend(t *testing.T) {
	if !t.Failed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), outageLimit)
	defer cancel()
	if _, err := f.try(ctx, nil, f.program, "up"); err != nil {
		t.Errorf("mend the fleet: %v", err)
	}
	if err := f.readVars(); err != nil {
		t.Errorf("mend the fleet: %v", err)
	}
}

// awaitClusters waits until both clusters are as wanted.
func (f *fleet) awaitClusters(t *testing.T, wanted func(clusterInfo) error) {
	t.Helper()
	eventually(t, outageLimit, "stellarflow clusters", func(context.Context) error {
		infos, err := f.clusterInfos(t)
		if err != nil {
			return err
		}
		for _, name := range wecNames {
			if err := wanted(infos[name]); err != nil {
				return err
			}
		}
		return nil
	})
}

// awaitReady waits until the hub can use both clusters.
func (f *fleet) awaitReady(t *testing.T) {
	t.Helper()
	f.awaitClusters(t, func(info clusterInfo) error {
		if info.Status != "Ready" || info.Kubernetes != "v1.34.4" || info.Argo != "v3.7.18" {
			return fmt.Errorf("cluster %+v is not ready with the versions of the fleet", info)
		}
		return nil
	})
}

// testCrash kills every process of the fleet at once, as a power failure does, and brings it up again.
func testCrash(t *testing.T, f *fleet) {
	namespace := f.newNamespace(t, "crash")
	f.create(t, namespace, suspended("ended", "cluster1", shell("echo before")))
	f.awaitRun(t, namespace, "ended", "cluster1", 1)
	f.create(t, namespace, suspended("running", "cluster2", retried("sleep 20; echo survived")))
	running := f.hub.awaitPod(t, namespace, "running")
	f.create(t, namespace, suspended("created", "cluster1", retried("echo created")))
	ended, err := f.hub.get(t.Context(), namespace, "ended")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.mend(t) })
	f.do(t, "kill")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	if _, err := f.hub.get(ctx, namespace, "ended"); err == nil {
		t.Error("the hub's API server answers after kill -9 of every process")
	}
	cancel()
	f.do(t, "up")
	if err := f.readVars(); err != nil {
		t.Fatal(err)
	}
	f.awaitReady(t)
	after, err := f.hub.get(t.Context(), namespace, "ended")
	if err != nil || after.UID != ended.UID || after.Status.Phase != wfv1.WorkflowSucceeded || after.Annotations[stellarflow.AnnotationObserved] != ended.Annotations[stellarflow.AnnotationObserved] {
		t.Errorf("what had ended before the crash has changed: %v (%v)", after, err)
	}
	survived := f.hub.awaitPhase(t, namespace, "running", wfv1.WorkflowSucceeded)
	if survived.UID != running.UID {
		t.Errorf("the Workflow was replaced: UID %s, then %s", running.UID, survived.UID)
	}
	f.wantLastLog(t, survived, "survived")
	f.compareCopies(t, survived, f.wecs["cluster2"])
	f.wantLastLog(t, f.hub.awaitPhase(t, namespace, "created", wfv1.WorkflowSucceeded), "created")
	for _, target := range wecNames {
		f.create(t, namespace, suspended("new-"+target, target, shell("echo new")))
	}
	for _, target := range wecNames {
		f.awaitRun(t, namespace, "new-"+target, target, 1)
	}
	if _, err := f.fetch(t.Context(), "/api/v1/workflows/"+namespace); err != nil {
		t.Errorf("the hub's Argo server: %v", err)
	}
}
