package e2e

import (
	"io"
	"path/filepath"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/hack/fleet/components"
	"stellarflow.io/stellarflow/hack/fleet/images"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

const (
	// baselineCommit is what the upgrade is from: the last one whose hub manager held no Lease on the clusters and had one replica.
	baselineCommit = "8593b7919c99531080e1d7f3e229ac057fab1292"
	hubImage       = "stellarflow/hub:latest"
	baselineImage  = "stellarflow/hub:baseline"
)

// baseline is the commit to upgrade from. The real programs of that commit are built and run: recorded manifests and objects would
// show only what somebody thought of when recording them. A clone without that commit upgrades from the oldest one that it has, in
// the extreme from the present one, which still replaces every pod while Workflows run.
func (f *fleet) baseline(t *testing.T) string {
	t.Helper()
	git := func(args ...string) (string, error) {
		out, err := f.try(t.Context(), nil, "git", append([]string{"-C", f.root}, args...)...)
		return strings.TrimSpace(out), err
	}
	if _, err := git("cat-file", "-e", baselineCommit+"^{commit}"); err == nil {
		return baselineCommit
	}
	commits, err := git("rev-list", "--first-parent", "HEAD")
	if err != nil {
		t.Fatalf("find a commit to upgrade from: %v", err)
	}
	lines := strings.Split(commits, "\n")
	oldest := lines[len(lines)-1]
	t.Logf("this clone has not got %s (git fetch --unshallow brings it): the upgrade is from %s, the oldest of its %d commits", baselineCommit, oldest, len(lines))
	return oldest
}

// buildBaseline builds the CLI and the hub manager of a commit, and pushes the image. It returns the CLI.
func (f *fleet) buildBaseline(t *testing.T, commit string) string {
	t.Helper()
	source, bin := t.TempDir(), t.TempDir()
	run := func(program string, args ...string) {
		t.Helper()
		if _, err := f.try(t.Context(), []string{"CGO_ENABLED=0"}, program, args...); err != nil {
			t.Fatal(err)
		}
	}
	archive := filepath.Join(bin, "source.tar")
	run("git", "-C", f.root, "archive", "--output", archive, commit)
	run("tar", "-xf", archive, "-C", source)
	for _, program := range []string{"stellarflow", "hub"} {
		run("go", "build", "-C", source, "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(bin, program), "./cmd/"+program)
	}
	needs, err := images.Needs(hubImage)
	if err != nil {
		t.Fatal(err)
	}
	paths, err := components.Ensure(t.Context(), io.Discard, needs...)
	if err != nil {
		t.Fatal(err)
	}
	with := components.Paths{images.Hub: filepath.Join(bin, "hub")}
	for component, path := range paths {
		with[component] = path
	}
	made, err := images.Build(t.Context(), io.Discard, with, hubImage)
	if err != nil {
		t.Fatal(err)
	}
	target, err := name.ParseReference(f.setting("REGISTRY")+"/"+baselineImage, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(target, made[0].Image, remote.WithContext(t.Context())); err != nil {
		t.Fatalf("push the baseline: %v", err)
	}
	return filepath.Join(bin, "stellarflow")
}

// cli runs a CLI, of whatever commit, against the hub; it must succeed.
func (f *fleet) cli(t *testing.T, program string, args ...string) {
	t.Helper()
	out, err := f.try(t.Context(), []string{"KUBECONFIG=" + f.hub.kubeconfig}, program, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("$ stellarflow %s\n%s", strings.Join(args, " "), out)
}

// joinAll joins both clusters with a CLI.
func (f *fleet) joinAll(t *testing.T, program string) {
	t.Helper()
	for _, target := range wecNames {
		f.cli(t, program, "join", target, "--kubeconfig", f.wecs[target].kubeconfig, "--namespaces", "argo", "--hub-kubeconfig", f.hub.kubeconfig)
	}
}

// takeApart removes what is installed, if anything is.
func (f *fleet) takeApart(t *testing.T) {
	t.Helper()
	f.releaseHeld(t)
	_, err := f.hub.core.CoreV1().Namespaces().Get(t.Context(), stellarflow.SystemNamespace, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return
	}
	infos, err := f.clusterInfos(t)
	if err != nil {
		t.Fatal(err)
	}
	for target := range infos {
		f.cli(t, f.bin("stellarflow"), "leave", target, "--kubeconfig", f.wecs[target].kubeconfig)
	}
	f.cli(t, f.bin("stellarflow"), "uninstall")
}

// testUpgrade installs the baseline, starts Workflows, installs the present build over it and joins the clusters again: nothing is
// lost, nothing runs twice, and the statuses go on.
func testUpgrade(t *testing.T, f *fleet) {
	f.takeApart(t)
	old := f.buildBaseline(t, f.baseline(t))
	store := filepath.Join(f.dir, "minio.env")
	f.kubectl(t, f.hub, "apply", "-f", filepath.Join(f.dir, "kubelet-ca.yaml")) // went with the namespace
	f.cli(t, old, "install", "--artifact-store", store, "--image", baselineImage)
	f.joinAll(t, old)
	f.applyUpgradePolicies(t)
	f.awaitReady(t)

	namespace := f.newNamespace(t, "upgrade")
	ended := map[string]*wfv1.Workflow{}
	for _, target := range wecNames {
		f.create(t, namespace, suspended("ended-"+target, target, shell("echo ended")))
		f.create(t, namespace, suspended("gated-"+target, target, gated("through")))
	}
	for _, target := range wecNames {
		ended[target] = f.awaitRun(t, namespace, "ended-"+target, target, 1)
		f.hub.awaitPod(t, namespace, "gated-"+target)
	}

	f.cli(t, f.bin("stellarflow"), "install", "--artifact-store", store, "--image", hubImage)
	f.joinAll(t, f.bin("stellarflow"))
	f.awaitManagers(t)
	f.awaitReady(t)
	for _, target := range wecNames {
		f.openGate(t, f.wecs[target], namespace, "gated-"+target)
		f.create(t, namespace, suspended("new-"+target, target, shell("echo new")))
	}
	for _, target := range wecNames {
		f.awaitRun(t, namespace, "gated-"+target, target, 1)
		f.awaitRun(t, namespace, "new-"+target, target, 1)
		f.checkUnchanged(t, ended[target])
	}
	f.kubectl(t, f.hub, "-n", namespace, "delete", "workflow", "ended-cluster1", "ended-cluster2", "--timeout=120s")
	if commands, err := f.stellarflow(t, "clusters"); err != nil {
		t.Error(err)
	} else {
		t.Log(commands)
	}
}

// applyUpgradePolicies puts the samples' policies in place again: CRDs stay over an uninstall, but a test before may have removed them.
func (f *fleet) applyUpgradePolicies(t *testing.T) {
	t.Helper()
	args := []string{"apply", "-f", "samples/customtransform.yaml"}
	for _, target := range wecNames {
		args = append(args, "-f", "samples/bindingpolicy-"+target+".yaml")
	}
	f.kubectl(t, f.hub, args...)
}

// checkUnchanged checks that the new hub manager did not touch what had ended before it.
func (f *fleet) checkUnchanged(t *testing.T, before *wfv1.Workflow) {
	t.Helper()
	after, err := f.hub.get(t.Context(), before.Namespace, before.Name)
	if err != nil {
		t.Fatal(err)
	}
	if after.UID != before.UID || after.Generation != before.Generation || after.Annotations[stellarflow.AnnotationObserved] != before.Annotations[stellarflow.AnnotationObserved] ||
		after.Annotations[stellarflow.AnnotationPlacement] != before.Annotations[stellarflow.AnnotationPlacement] {
		t.Errorf("what had ended before the upgrade was written again:\n%v\n%v", before.ObjectMeta, after.ObjectMeta)
	}
}
