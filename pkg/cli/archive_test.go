package cli

import (
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// TestArchiveIn reads a controller's ConfigMap in both forms that it has.
func TestArchiveIn(t *testing.T) {
	const database = "postgresql: {host: db, database: argo, tableName: argo_workflows}\n"
	cases := map[string]struct {
		reason string
		data   map[string]string
		want   string // empty for an error
	}{
		"Empty":    {"a controller without any setting", nil, "none"},
		"No":       {"a database for other things", map[string]string{"persistence": "nodeStatusOffLoad: true\n" + database, "links": "- a"}, "none"},
		"Yes":      {"a key for each setting", map[string]string{"persistence": "archive: true\n" + database, "links": "- a"}, "all"},
		"Config":   {"all settings in one, as of Argo's Helm chart", map[string]string{"config": "links: []\npersistence:\n  archive: true\n  postgresql: {host: db}\n"}, "all"},
		"NoConfig": {"likewise", map[string]string{"config": "links: []\n"}, "none"},
		"Selector": {"not all", map[string]string{"persistence": "archive: true\narchiveLabelSelector: {matchLabels: {a: b}}\n"}, "a=b"},
		"Off":      {"a selector of nothing", map[string]string{"persistence": "archiveLabelSelector: {matchLabels: {a: b}}\n"}, "none"},
		"Broken":   {"no YAML", map[string]string{"persistence": "archive: {"}, ""},
		"Odd":      {"no selector", map[string]string{"persistence": "archive: true\narchiveLabelSelector: {matchExpressions: [{key: a, operator: Like}]}\n"}, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			archive, err := archiveIn(tc.data)
			if (err != nil) != (tc.want == "") || err == nil && archive.String() != tc.want {
				t.Errorf("%s: %s (%v), want %q", tc.reason, archive, err, tc.want)
			}
		})
	}
}

func TestConfigMapOf(t *testing.T) {
	for want, words := range map[string][]string{
		"workflow-controller-configmap": {"workflow-controller", "--namespaced"},
		"own":                           {"workflow-controller", "--configmap", "own", "--namespaced"},
		"own-2":                         {"workflow-controller", "--configmap=own-2"},
		"own-3":                         {"workflow-controller", "--configmap=own-2", "--configmap=own-3"},
	} {
		for at := range words {
			var deployment appsv1.Deployment
			deployment.Spec.Template.Spec.Containers = []corev1.Container{{Image: "proxy"}, {Command: slices.Clone(words[:at]), Args: words[at:]}}
			if want == "own" { // the environment counts for nothing beside the flag
				deployment.Spec.Template.Spec.Containers[1].Env = []corev1.EnvVar{{Name: "ARGO_CONFIGMAP", Value: "environment"}}
			}
			if got := configMapOf(&deployment); got != want {
				t.Errorf("%v: %s, want %s", words, got, want)
			}
		}
	}
	var deployment appsv1.Deployment
	deployment.Spec.Template.Spec.Containers = []corev1.Container{{Env: []corev1.EnvVar{{Name: "ARGO_CONFIGMAP", Value: "environment"}}}}
	if got := configMapOf(&deployment); got != "environment" {
		t.Errorf("without a flag: %s, want that of the environment", got)
	}
}
