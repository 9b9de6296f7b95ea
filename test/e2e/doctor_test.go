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
	env := []string{"KUBECONFIG=" + f.hub.kubeconfig, "PATH=" + filepath.Join(f.dir, "bin") + ":/usr/bin:/bin"}
	if out, err := f.try(t.Context(), env, "/bin/sh", "-c", command); err != nil {
		t.Fatalf("%s: the remedy fails: %v", a.ID, err)
	} else {
		t.Logf("%s: %s\n$ %s\n%s", a.ID, a.What, command, out)
	}
}

// testDoctor breaks the fleet in every way that is cheap, one after the other. Each is found, and mended with the very command that
// doctor prints.
func testDoctor(t *testing.T, f *fleet) {
	f.awaitReady(t)
	f.awaitHealth(t)
	wec := f.wecs["cluster1"]
	system := []string{"-n", "stellarflow-system"}
	for _, tc := range []struct {
		id    string
		on    *cluster
		spoil []string
	}{
		{"store-refuses", f.hub, append(system[:2:2], "patch", "secret", "artifact-store", "-p", `{"stringData":{"secretkey":"wrong-wrong"}}`)},
		{"guard-missing", f.hub, []string{"delete", "validatingadmissionpolicybinding", "stellarflow-guard-suspend"}},
		{"hub-right-missing", f.hub, []string{"patch", "clusterrole", "stellarflow-hub", "--type=json", "-p", `[{"op":"remove","path":"/rules/0/verbs/3"}]`}},
		{"cluster-right-missing", wec, []string{"patch", "clusterrole", "stellarflow-wec", "--type=json", "-p", `[{"op":"remove","path":"/rules/0/verbs/3"}]`}},
		{"cluster-no-credential", f.hub, append(system[:2:2], "delete", "secret", "cluster-cluster1")},
		{"namespace-missing", f.hub, []string{"annotate", "managedcluster", "cluster1", "--overwrite", "stellarflow.io/namespaces=argo,doctor-e2e"}},
		{"repository-other-bucket", wec, []string{"-n", "argo", "patch", "configmap", "artifact-repositories", "-p", `{"data":{"stellarflow":"s3: {bucket: mine, endpoint: elsewhere}"}}`}},
		{"executor-binding-missing", wec, []string{"-n", "argo", "delete", "rolebinding", "stellarflow-executor-default"}},
		{"manager-scaled-to-zero", f.hub, append(system[:2:2], "scale", "deployment", "stellarflow-hub", "--replicas=0")},
	} {
		begun := time.Now()
		f.kubectl(t, tc.on, tc.spoil...)
		f.obey(t, f.awaitAilment(t, tc.id), wec.kubeconfig)
		f.awaitHealth(t)
		t.Logf("%s: broken, found and mended in %.0f s", tc.id, time.Since(begun).Seconds())
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
