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

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"

	"stellarflow.io/stellarflow/pkg/cli/diagnosis"
)

// doctorLimit is how long a finding may take to be there after something broke, or to be gone after it was mended.
const doctorLimit = 2 * time.Minute

// ailment is a finding of `stellarflow doctor`.
type ailment struct {
	ID, Severity, Group, Which, What, Remedy string
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

// sought is a finding that a test waits for: its id and a part of the object or of the group that it is about.
type sought struct{ id, about string }

// awaitAilments waits until doctor finds all of these at once, and returns them in their order. spoil comes before each look unless it
// is nil: it breaks again what mends itself.
func (f *fleet) awaitAilments(t *testing.T, limit time.Duration, spoil func() error, wanted ...sought) []ailment {
	t.Helper()
	found := make([]ailment, len(wanted))
	eventually(t, limit, fmt.Sprintf("doctor finds %v", wanted), func(context.Context) error {
		if spoil != nil {
			if err := spoil(); err != nil {
				return err
			}
		}
		ailments, err := f.doctor(t)
		for i, w := range wanted {
			at := slices.IndexFunc(ailments, func(a ailment) bool {
				return a.ID == w.id && (strings.Contains(a.Which, w.about) || strings.Contains(a.Group, w.about))
			})
			if at < 0 {
				return fmt.Errorf("it finds %+v (%w)", ailments, err)
			}
			found[i] = ailments[at]
		}
		return nil
	})
	return found
}

// awaitAilment waits until doctor finds something and returns it.
func (f *fleet) awaitAilment(t *testing.T, id string) ailment {
	t.Helper()
	return f.awaitAilments(t, doctorLimit, nil, sought{id: id})[0]
}

// awaitHealth waits until doctor finds nothing at all, but for the deletion that holdDeletion lets wait.
func (f *fleet) awaitHealth(t *testing.T) {
	t.Helper()
	eventually(t, doctorLimit, "doctor finds nothing", func(context.Context) error {
		ailments, err := f.doctor(t)
		ailments = slices.DeleteFunc(ailments, f.isHeld)
		if err == nil && len(ailments) > 0 {
			err = fmt.Errorf("it finds %+v", ailments)
		}
		return err
	})
}

// awaitCured waits until doctor finds none of these any more.
func (f *fleet) awaitCured(t *testing.T, ids ...string) {
	t.Helper()
	eventually(t, doctorLimit, fmt.Sprintf("doctor does not find %v", ids), func(context.Context) error {
		ailments, err := f.doctor(t)
		if err == nil && slices.ContainsFunc(ailments, func(a ailment) bool { return slices.Contains(ids, a.ID) }) {
			err = fmt.Errorf("it finds %+v", ailments)
		}
		return err
	})
}

// obey runs the command that doctor printed, with what only the person knows filled in, and Argo's CRDs from the module cache: tests
// have no network.
func (f *fleet) obey(t *testing.T, a ailment, kubeconfig string) string {
	t.Helper()
	command := strings.ReplaceAll(a.Remedy, "--artifact-store FILE", "--artifact-store "+filepath.Join(f.dir, "minio.env"))
	command = strings.ReplaceAll(command, "--kubeconfig FILE", "--kubeconfig "+kubeconfig)
	if begin, end := "'https://github.com/argoproj/argo-workflows/", "?ref=v3.7.18'"; strings.Contains(command, begin) && strings.HasSuffix(command, end) {
		command = strings.TrimSuffix(strings.Replace(command, begin, f.argoSource(t)+"/", 1), end)
	}
	out, err := f.shell(t, f.hub, command)
	if err != nil {
		t.Fatalf("%s: the remedy fails: %v", a.ID, err)
	}
	f.common.obey(a)
	t.Logf("%s: %s\n$ %s\n%s", a.ID, a.What, command, out)
	return out
}

// obey keeps that the command of a finding was run.
func (c *common) obey(a ailment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.obeyed[diagnosis.ID(a.ID)] = true
}

// argoSource is the source of Argo Workflows, of the version that we are built with.
func (f *fleet) argoSource(t *testing.T) string {
	t.Helper()
	out, err := f.try(t.Context(), nil, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/argoproj/argo-workflows/v3")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// shell runs a command line as a person does whose KUBECONFIG is a cluster's.
func (f *fleet) shell(t *testing.T, c *cluster, command string) (string, error) {
	t.Helper()
	env := []string{"KUBECONFIG=" + c.kubeconfig, "PATH=" + filepath.Join(f.dir, "bin") + ":/usr/bin:/bin"}
	return f.try(t.Context(), env, "/bin/sh", "-c", command)
}

// checkFindings checks that doctor has found everything that it can find, and that every command that it printed was run. That some
// test names each finding is checked without a fleet, in pkg/cli/diagnosis.
func (f *fleet) checkFindings(t *testing.T) {
	for _, id := range diagnosis.IDs() {
		if !f.common.obeyed[id] {
			t.Errorf("no suite has let doctor find %s and run what it prints", id)
		}
	}
}

// testDoctor breaks the fleet in every way that is cheap, one after the other. Each is found, and mended with the very command that
// doctor prints.
func testDoctor(t *testing.T, f *fleet) {
	namespace, wec := f.newNamespace(t, "doctor"), f.wecs["cluster1"]
	f.create(t, namespace, suspended("patient", wec.name, shell("sleep 3600"))+"  serviceAccountName: runner\n")
	f.create(t, namespace, suspended("stored", "cluster2", shell("echo kept")))
	f.holdDeletion(t)
	f.awaitReady(t)
	f.awaitHealth(t)
	for _, b := range hubAilments(f.hub) {
		f.breakAndMend(t, b, wec)
	}
	stored := f.hub.awaitPhase(t, namespace, "stored", wfv1.WorkflowSucceeded)
	for _, b := range secretAilments(f.hub, namespace) {
		f.breakDownloads(t, b, stored, wec)
	}
	f.hub.awaitPod(t, namespace, "patient")
	f.standStill(t, namespace, "patient")
	f.turnClock(t, wec)
	for _, b := range clusterAilments(f.hub, wec, namespace) {
		f.breakAndMend(t, b, wec)
	}
	if accepted := f.kubectl(t, f.hub, "get", "managedcluster", "cluster1", "-o", `jsonpath={.metadata.annotations.stellarflow\.io/namespaces}`); accepted != "argo,doctor-e2e" {
		t.Errorf("what doctor prints changes the accepted namespaces: %q", accepted)
	}
	f.kubectl(t, f.hub, "annotate", "managedcluster", "cluster1", "--overwrite", "stellarflow.io/namespaces=argo")
	f.kubectl(t, wec, "delete", "namespace", "doctor-e2e", "--wait=false")
	f.giveUpHeld(t)
	f.awaitReady(t)
	f.awaitHealth(t)
}

// breakDownloads breaks the Secret by which Argo's server reads the log of a finished Workflow. The server does not say why it cannot; doctor
// names the Secret with its namespace and what is wrong with it, and what it prints lets the log be read again.
func (f *fleet) breakDownloads(t *testing.T, b breakage, workflow *wfv1.Workflow, wec *cluster) {
	t.Helper()
	node := onlyPod(t, workflow)
	path, wanted := artifactPath(workflow.Namespace, workflow.Name, node), f.read(t, keyOf(t, node, "main-logs"))
	downloads := func(context.Context) error {
		if got, err := f.fetch(t.Context(), path); err != nil || got != wanted {
			return fmt.Errorf("GET %s: %q, want %q: %w", path, got, wanted, err)
		}
		return nil
	}
	eventually(t, moment, "the log is downloaded", downloads)
	if _, err := f.shell(t, b.on, b.spoil); err != nil {
		t.Fatalf("%s: %v", b.id, err)
	}
	if got, err := f.fetch(t.Context(), path); err == nil {
		t.Errorf("%s: Argo's server answers %q", b.id, got)
	} else if !strings.Contains(err.Error(), ": 500 Internal Server Error: Internal Server Error") {
		t.Errorf("%s: Argo's server does not answer as docs/cli.md and doctor say: %v", b.id, err)
	}
	found := f.awaitAilment(t, b.id)
	which := "Secret " + workflow.Namespace + "/stellarflow-artifacts"
	wrong := map[string]string{"store-secret-differs": "it holds earlier or wrong credentials: ", "store-secret-missing": "it is missing: "}[b.id]
	if found.Which != which || found.Severity != "problem" || !strings.HasPrefix(found.What, wrong) {
		t.Errorf("doctor finds %+v, want a problem of %s: %s", found, which, wrong)
	}
	if err := wants(found.What, "logs and artifacts of Workflows there cannot be shown", "Argo's server says Internal Server Error"); err != nil {
		t.Errorf("doctor does not say what comes of it: %v", err)
	}
	said, _ := f.try(t.Context(), []string{"KUBECONFIG=" + f.hub.kubeconfig}, f.bin("stellarflow"), "doctor")
	if err := wants(said, fmt.Sprintf("- %s (%s, problem): %s\n", which, b.id, found.What)); err != nil {
		t.Errorf("doctor tells a person something else: %v", err)
	}
	f.obey(t, found, wec.kubeconfig)
	eventually(t, moment, "the log is downloaded again", downloads)
	f.awaitHealth(t)
}

// breakAndMend breaks one thing, waits until doctor finds it, runs what doctor prints, and waits until all is well.
func (f *fleet) breakAndMend(t *testing.T, b breakage, wec *cluster) {
	t.Helper()
	begun := time.Now()
	if _, err := f.shell(t, b.on, b.spoil); err != nil {
		t.Fatalf("%s: %v", b.id, err)
	}
	f.obey(t, f.awaitAilment(t, b.id), wec.kubeconfig)
	f.awaitHealth(t)
	t.Logf("%s: broken, found and mended in %.0f s", b.id, time.Since(begun).Seconds())
}
