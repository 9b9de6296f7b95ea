package cli

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; run with -update if it is meant):\n%s", path, diff)
	}
}

// withoutCRDs leaves the generated CRDs out of a golden file: they have a check of their own.
func withoutCRDs(out string) string {
	documents := strings.Split(out, "---\n")
	documents = slices.DeleteFunc(documents, func(d string) bool { return strings.Contains(d, "kind: CustomResourceDefinition\n") })
	return strings.Join(documents, "---\n")
}

// A dry run asks no cluster, and shows everything but credentials.
func TestDryRun(t *testing.T) {
	files := map[string]string{"store": goodStore}
	cases := map[string]struct {
		reason string
		args   []string
		golden string
	}{
		"Default": {
			reason: "the common case", golden: "install.yaml",
			args: []string{"--argo-controller=system:serviceaccount:argo:argo"},
		},
		"Changed": {
			reason: "two controllers, given twice and unsorted, another image, a restart", golden: "install-changed.yaml",
			args: []string{"--argo-controller=system:serviceaccount:team:argo", "--argo-controller=admin@example.com", "--argo-controller=admin@example.com", "--image=registry:5000/hub@sha256:0123", "--restart"},
		},
		"Archive": {
			reason: "the controller archives some Workflows", golden: "install-archive.yaml",
			args: []string{"--archive", "team in (a,b),!x", "--argo-controller=system:serviceaccount:argo:argo"},
		},
		"Unguarded": {reason: "a shared hub that holds no controller off", golden: "install-unguarded.yaml", args: []string{"--argo-controller=none"}},
		"Dedicated": {
			reason: "no Argo controller acts on the hub, and the one that is scaled to 0 is held off if it is started", golden: "install-dedicated.yaml",
			args: []string{"--profile=dedicated", "--argo-controller=system:serviceaccount:argo:argo"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			code, out, errOut := run(t, files, append([]string{"install", "--artifact-store=DIR/store", "--dry-run"}, tc.args...)...)
			if code != ExitOK {
				t.Fatalf("%s: exit code %d: %s", tc.reason, code, errOut)
			}
			golden(t, tc.golden, withoutCRDs(out))
			if strings.Contains(out, "s3cr3t") || strings.Contains(out, "AKIAFAKE") {
				t.Errorf("%s: the output holds a credential", tc.reason)
			}
		})
	}
}

func TestRenderWEC(t *testing.T) {
	objects, err := renderWEC()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := marshalAll(objects)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "wec.yaml", string(raw))
	golden(t, "rights.txt", rightsOf(objects)+"\n")
}

// What is not labelled as ours would not be known as ours by leave, uninstall and a second install.
func TestEverythingIsOurs(t *testing.T) {
	hub, err := renderHub(renderOptions{Controllers: []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	wec, err := renderWEC()
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range slices.Concat(hub, wec) {
		if !isOurs(object) {
			t.Errorf("%s lacks the label %s=%s", describe(object), labelPartOf, partOf)
		}
	}
}

// What is referred to is applied before what refers to it, and removed after it.
func TestOrder(t *testing.T) {
	objects, err := renderHub(renderOptions{Controllers: []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	if first, last := objects[0].GetKind(), objects[len(objects)-1].GetKind(); first != "CustomResourceDefinition" || last != "Deployment" {
		t.Errorf("want CRDs first and the Deployment last, got %s and %s", first, last)
	}
	kinds := func(objects []*unstructured.Unstructured) []string {
		var kinds []string
		for _, object := range objects {
			kinds = append(kinds, object.GetKind())
		}
		return slices.Compact(kinds)
	}
	guard, manager, rest, definitions := uninstallOrder(objects)
	want := [][]string{
		{"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration", "ValidatingAdmissionPolicyBinding", "ValidatingAdmissionPolicy"},
		{"Deployment"},
		{"Service", "NetworkPolicy", "PodDisruptionBudget", "RoleBinding", "Role", "ClusterRoleBinding", "ClusterRole", "ServiceAccount", "Namespace"},
		{"CustomResourceDefinition"},
	}
	if diff := cmp.Diff(want, [][]string{kinds(guard), kinds(manager), kinds(rest), kinds(definitions)}); diff != "" {
		t.Errorf("removal (-want +got):\n%s", diff)
	}
}
