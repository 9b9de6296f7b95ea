package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// doctorLimit is how long a finding may take to be there after something broke, or to be gone after it was mended.
const doctorLimit = 2 * time.Minute

// ailment is a finding of `stellarflow doctor`.
type ailment struct {
	ID, Severity, Group, What, Remedy string
}

// doctor runs doctor; its exit code must fit to what it found.
func (f *fleet) doctor(t *testing.T) ([]ailment, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), f.bin("stellarflow"), "doctor", "-o", "json")
	command.Env = append(command.Environ(), "KUBECONFIG="+f.hub.kubeconfig)
	out, err := command.Output()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		return nil, err
	}
	var answer struct {
		Findings  []ailment
		Unchecked []string
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		return nil, fmt.Errorf("doctor: %w: %s", err, out)
	}
	problems := slices.ContainsFunc(answer.Findings, func(a ailment) bool { return a.Severity == "problem" })
	if code := command.ProcessState.ExitCode(); problems != (code == 3) {
		return nil, fmt.Errorf("doctor: exit code %d with %+v, not checked: %v", code, answer.Findings, answer.Unchecked)
	}
	return answer.Findings, nil
}

// awaitAilment waits until doctor finds something and returns it.
func (f *fleet) awaitAilment(t *testing.T, id string) ailment {
	t.Helper()
	var found ailment
	eventually(t, doctorLimit, "doctor finds "+id, func(context.Context) error {
		ailments, err := f.doctor(t)
		for _, a := range ailments {
			if a.ID == id {
				found = a
				return nil
			}
		}
		return fmt.Errorf("it finds %+v (%w)", ailments, err)
	})
	return found
}

// awaitHealth waits until doctor finds nothing at all.
func (f *fleet) awaitHealth(t *testing.T) {
	t.Helper()
	eventually(t, doctorLimit, "doctor finds nothing", func(context.Context) error {
		ailments, err := f.doctor(t)
		if err == nil && len(ailments) > 0 {
			err = fmt.Errorf("it finds %+v", ailments)
		}
		return err
	})
}

// obey runs the command that doctor printed, with what only the person knows filled in.
func (f *fleet) obey(t *testing.T, a ailment, kubeconfig string) {
	t.Helper()
	command := strings.ReplaceAll(a.Remedy, "--artifact-store FILE", "--artifact-store "+filepath.Join(f.dir, "minio.env"))
	command = strings.ReplaceAll(command, "--kubeconfig FILE", "--kubeconfig "+kubeconfig)
	if out, err := f.shell(t, f.hub, command); err != nil {
		t.Fatalf("%s: the remedy fails: %v", a.ID, err)
	} else {
		t.Logf("%s: %s\n$ %s\n%s", a.ID, a.What, command, out)
	}
}

// shell runs a command line as a person does whose KUBECONFIG is a cluster's.
func (f *fleet) shell(t *testing.T, c *cluster, command string) (string, error) {
	t.Helper()
	env := []string{"KUBECONFIG=" + c.kubeconfig, "PATH=" + filepath.Join(f.dir, "bin") + ":/usr/bin:/bin"}
	return f.try(t.Context(), env, "/bin/sh", "-c", command)
}

// breakage is a command on a cluster, and what doctor finds after it.
type breakage struct {
	id    string
	on    *cluster
	spoil string
}

func hubAilments(hub *cluster) []breakage {
	return []breakage{
		{"hub-object-missing", hub, `kubectl -n stellarflow-system delete role stellarflow-hub`},
		{"hub-object-differs", hub, `kubectl patch clusterrole stellarflow-hub --type=json -p '[{"op":"add","path":"/rules/-","value":{"apiGroups":[""],"resources":["nodes"],"verbs":["list"]}}]'`},
		{"hub-right-missing", hub, `kubectl patch clusterrole stellarflow-hub --type=json -p '[{"op":"remove","path":"/rules/0/verbs/3"}]'`},
		{"manager-scaled-to-zero", hub, `kubectl -n stellarflow-system scale deployment stellarflow-hub --replicas=0`},
		{"guard-missing", hub, `kubectl delete validatingadmissionpolicybinding stellarflow-guard-suspend`},
		{"guard-differs", hub, `kubectl patch validatingadmissionpolicy stellarflow-guard-keys --type=json -p '[{"op":"replace","path":"/spec/failurePolicy","value":"Ignore"}]'`},
		{"argo-controller-not-guarded", hub, `kubectl create namespace second-argo && kubectl -n second-argo create deployment workflow-controller --image=workflow-controller:v3.7.18 --replicas=0`},
		{"argo-controller-not-found", hub, `kubectl delete namespace second-argo --wait=false && kubectl -n second-argo delete deployment workflow-controller --ignore-not-found`},
		{"store-missing", hub, `kubectl -n stellarflow-system delete secret artifact-store`},
		{"store-invalid", hub, `kubectl -n stellarflow-system patch secret artifact-store -p '{"data":{"bucket":null}}'`},
		{"store-refuses", hub, `kubectl -n stellarflow-system patch secret artifact-store -p '{"stringData":{"secretkey":"wrong-wrong"}}'`},
		{"store-secret-differs", hub, `kubectl -n argo patch secret stellarflow-artifacts -p '{"stringData":{"secretkey":"of-before"}}'`},
		{"tombstone-waits", hub, `kubectl -n stellarflow-system create configmap tombstone-e2e-1 --from-literal=namespace=argo --from-literal=name=lost --from-literal=time=2026-01-01T00:00:00Z && kubectl -n stellarflow-system label configmap tombstone-e2e-1 stellarflow.io/tombstone=cluster1`},
	}
}

func clusterAilments(hub, wec *cluster) []breakage {
	return []breakage{
		{"cluster-right-missing", wec, `kubectl patch clusterrole stellarflow-wec --type=json -p '[{"op":"remove","path":"/rules/0/verbs/3"}]'`},
		{"cluster-no-credential", hub, `kubectl -n stellarflow-system delete secret cluster-cluster1`},
		{"cluster-credential-invalid", hub, `kubectl -n stellarflow-system patch secret cluster-cluster1 -p '{"data":{"kubeconfig":"aGVsbG8="}}'`},
		{"cluster-credential-rejected", wec, `kubectl -n stellarflow-system delete serviceaccount stellarflow`},
		{"cluster-leftover", hub, `kubectl -n stellarflow-system create secret generic cluster-left && kubectl -n stellarflow-system label secret cluster-left stellarflow.io/managed-cluster=left`},
		{"cluster-argo-differs", hub, `kubectl annotate managedcluster cluster1 --overwrite stellarflow.io/argo-version=v3.6.0`},
		{"cluster-old-store-keys", hub, `kubectl -n stellarflow-system patch secret cluster-cluster1 -p '{"stringData":{"store-credentials-sha256":"of-before"}}'`},
		{"namespace-missing", hub, `kubectl annotate managedcluster cluster1 --overwrite stellarflow.io/namespaces=argo,doctor-e2e`},
		{"repository-missing", wec, `kubectl -n argo delete configmap artifact-repositories`},
		{"repository-other-bucket", wec, `kubectl -n argo patch configmap artifact-repositories -p '{"data":{"stellarflow":"s3: {bucket: mine, endpoint: elsewhere}"}}'`},
		{"artifact-secret-missing", wec, `kubectl -n argo delete secret stellarflow-artifacts`},
		{"executor-binding-missing", wec, `kubectl -n argo delete rolebinding stellarflow-executor-default`},
	}
}

// testDoctor breaks the fleet in every way that is cheap, one after the other. Each is found, and mended with the very command that
// doctor prints.
func testDoctor(t *testing.T, f *fleet) {
	f.awaitReady(t)
	f.awaitHealth(t)
	wec := f.wecs["cluster1"]
	for _, a := range append(hubAilments(f.hub), clusterAilments(f.hub, wec)...) {
		begun := time.Now()
		if _, err := f.shell(t, a.on, a.spoil); err != nil {
			t.Fatalf("%s: %v", a.id, err)
		}
		f.obey(t, f.awaitAilment(t, a.id), wec.kubeconfig)
		f.awaitHealth(t)
		t.Logf("%s: broken, found and mended in %.0f s", a.id, time.Since(begun).Seconds())
	}
	f.kubectl(t, f.hub, "annotate", "managedcluster", "cluster1", "--overwrite", "stellarflow.io/namespaces=argo")
	f.kubectl(t, wec, "delete", "namespace", "doctor-e2e", "--wait=false")
	t.Cleanup(func() { f.mend(t) })
	f.do(t, "stop", "cluster2")
	away := f.awaitAilment(t, "cluster-unreachable")
	if away.Group != "cluster cluster2" || !strings.Contains(away.What, "stellarflow leave cluster2 --force") {
		t.Errorf("the finding of a cluster that is down: %+v", away)
	}
	f.do(t, "start", "cluster2")
	f.awaitReady(t)
	f.awaitHealth(t)
}
