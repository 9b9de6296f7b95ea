package cli

import (
	"net/url"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// TestColumn adds our column to what somebody has, and removes it again.
func TestColumn(t *testing.T) {
	const ours = "- " + clusterColumn + "\n"
	column := uiEntries("")[0]
	cases := map[string]struct {
		reason     string
		data, want map[string]string // want nil for an error
	}{
		"Empty":    {"no settings at all", nil, map[string]string{"columns": ours}},
		"Others":   {"other settings stay", map[string]string{"links": "- a\n", "parallelism": "4"}, map[string]string{"links": "- a\n", "parallelism": "4", "columns": ours}},
		"Theirs":   {"behind somebody's, comments and all", map[string]string{"columns": "# team\n- name: Team # a\n  key: team\n"}, map[string]string{"columns": "# team\n- name: Team # a\n  key: team\n" + ours}},
		"Indented": {"as theirs are", map[string]string{"columns": "  - {name: a}\n  - {name: b}\n"}, map[string]string{"columns": "  - {name: a}\n  - {name: b}\n  " + ours}},
		"Flow":     {"nothing can be put behind it", map[string]string{"columns": "[{name: a}]"}, nil},
		"Broken":   {"no YAML", map[string]string{"columns": "- {"}, nil},
		"Config":   {"all settings in one text: it is somebody's", map[string]string{"config": "parallelism: 4"}, nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := withEntry(tc.data, column)
			if tc.want == nil {
				if err == nil || !strings.Contains(err.Error(), "columns") || cmp.Diff(tc.data, got) != "" {
					t.Errorf("%s: %v, %v: want an error and nothing changed", tc.reason, got, err)
				}
				return
			}
			if diff := cmp.Diff(tc.want, got); err != nil || diff != "" {
				t.Fatalf("%s: %v (-want +got):\n%s", tc.reason, err, diff)
			}
			if again, err := withEntry(got, column); err != nil || cmp.Diff(got, again) != "" {
				t.Errorf("a second time: %v, %v", again, err)
			}
			if diff := cmp.Diff(tc.data, withoutEntry(got, column), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("removed again (-want +got):\n%s", diff)
			}
		})
	}
	for _, byHand := range []map[string]string{{"columns": "- name: Cluster\n  type: label\n  key: stellarflow.io/cluster\n"}, {"config": "columns: [" + clusterColumn + "]"}} {
		if got, err := withEntry(byHand, column); err != nil || cmp.Diff(byHand, got) != "" || cmp.Diff(byHand, withoutEntry(byHand, column)) != "" {
			t.Errorf("one of somebody's that is the same: %v, %v", got, err)
		}
	}
}

// written is what our entries make of settings.
func written(t *testing.T, data map[string]string, address string) map[string]string {
	t.Helper()
	for _, entry := range uiEntries(address) {
		var err error
		if entry.remove {
			data = withoutEntry(data, entry)
		} else if data, err = withEntry(data, entry); err != nil {
			t.Fatal(err)
		}
	}
	return data
}

// TestLinks adds our links for one address and another, and takes them away.
func TestLinks(t *testing.T) {
	theirs := map[string]string{"links": "- name: Help\n  scope: chat\n  url: https://chat\n"}
	if got := written(t, theirs, ""); got["links"] != theirs["links"] || got["columns"] == "" {
		t.Errorf("without an address: %v", got)
	}
	first := written(t, theirs, "https://argo.example.com/ui")
	want := theirs["links"] +
		`- {"name":"Workflows on this cluster","scope":"workflow","url":"https://argo.example.com/ui/workflows/${metadata.namespace}?label=stellarflow.io%2Fcluster%3D${workflow.metadata.labels.stellarflow.io/cluster}"}` + "\n" +
		`- {"name":"Workflows on other clusters","scope":"workflow-list","url":"https://argo.example.com/ui/workflows?label=stellarflow.io%2Fcluster"}` + "\n"
	if diff := cmp.Diff(want, first["links"]); diff != "" {
		t.Errorf("with one (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(first, written(t, first, "")); diff != "" {
		t.Errorf("later without one they stay (-want +got):\n%s", diff)
	}
	second := written(t, first, "http://10.0.0.1:2746")
	if diff := cmp.Diff(strings.ReplaceAll(want, "https://argo.example.com/ui", "http://10.0.0.1:2746"), second["links"]); diff != "" {
		t.Errorf("with another one (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(written(t, theirs, ""), written(t, second, noURL)); diff != "" {
		t.Errorf("with none (-want +got):\n%s", diff)
	}
	for _, entry := range uiEntries("") {
		second = withoutEntry(second, entry)
	}
	if diff := cmp.Diff(theirs, second); diff != "" {
		t.Errorf("removed again (-want +got):\n%s", diff)
	}
	var links []wfv1.Link
	if err := yaml.UnmarshalStrict([]byte(first["links"]), &links); err != nil || len(links) != 3 {
		t.Fatal(links, err)
	}
	for _, link := range links { // as Argo's server does before it starts
		if read, err := url.Parse(link.URL); err != nil || read.Scheme != "https" {
			t.Errorf("Argo's server will not start with link %q: %v", link.URL, err)
		}
	}
}

func TestCheckURL(t *testing.T) {
	for address, want := range map[string]string{
		"": "", "none": "none", "https://argo.example.com": "https://argo.example.com", "http://10.0.0.1:2746/": "http://10.0.0.1:2746", "https://a/argo//": "https://a/argo",
	} {
		if got, err := checkURL(address); err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", address, got, err, want)
		}
	}
	for address, want := range map[string]string{
		"argo.example.com": "http and https only", "ftp://argo": "http and https only", "https://": "http and https only", "javascript:alert(1)": "http and https only", "/workflows": "http and https only",
		"https://me:secret@argo": "user name or password", "https://argo?x=y": "without query", "https://argo/#top": "without query", "https://argo/${workflow.spec}": "without query",
		"https://argo\"}": "--argo-url", "https://argo/\n": "--argo-url", "https://me:secret@argo:port": "--argo-url",
	} {
		got, err := checkURL(address)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "--argo-url") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %q, %v, want an error that says %q", address, got, err, want)
		}
	}
}

func TestKnowsColumns(t *testing.T) {
	for image, want := range map[string]bool{
		"quay.io/argoproj/argocli:v3.7.18": true, "argocli:v3.5.0": true, "argocli:v4.0.1@sha256:00": true,
		"argocli:v3.4.17": false, "argocli:latest": false, "argocli@sha256:00": false, "argocli": false,
	} {
		deployment := &appsv1.Deployment{}
		deployment.Spec.Template.Spec.Containers = []corev1.Container{{Image: "proxy:v9.9"}, {Image: image, Args: []string{"server"}}}
		if got := knowsColumns(deployment); got != want {
			t.Errorf("%s: %t", image, got)
		}
	}
}

func TestRunsServer(t *testing.T) {
	for words, want := range map[string]bool{
		"quay.io/argoproj/argocli:v3.7.18 server":                     true,
		"quay.io/argoproj/argocli:v3.7.18 server --auth-mode=sso":     true,
		"own:1 /bin/argo server":                                      true,
		"quay.io/argoproj/argocli:v3.7.18 submit":                     false,
		"quay.io/argoproj/workflow-controller:v3 workflow-controller": false,
		"nginx:1 server": false,
	} {
		split := strings.Fields(words)
		if got := runsServer(corev1.Container{Image: split[0], Args: split[1:]}); got != want {
			t.Errorf("%s: %t", words, got)
		}
	}
}
