package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// TestColumn adds our column to what somebody has, and removes it again.
func TestColumn(t *testing.T) {
	const ours = "- " + clusterColumn + "\n"
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
			got, err := withColumn(tc.data)
			if tc.want == nil {
				if err == nil || !strings.Contains(err.Error(), "columns") || cmp.Diff(tc.data, got) != "" {
					t.Errorf("%s: %v, %v: want an error and nothing changed", tc.reason, got, err)
				}
				return
			}
			if diff := cmp.Diff(tc.want, got); err != nil || diff != "" {
				t.Fatalf("%s: %v (-want +got):\n%s", tc.reason, err, diff)
			}
			if again, err := withColumn(got); err != nil || cmp.Diff(got, again) != "" {
				t.Errorf("a second time: %v, %v", again, err)
			}
			if diff := cmp.Diff(tc.data, withoutColumn(got), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("removed again (-want +got):\n%s", diff)
			}
		})
	}
	for _, byHand := range []map[string]string{{"columns": "- name: Cluster\n  type: label\n  key: stellarflow.io/cluster\n"}, {"config": "columns: [" + clusterColumn + "]"}} {
		if got, err := withColumn(byHand); err != nil || cmp.Diff(byHand, got) != "" || cmp.Diff(byHand, withoutColumn(byHand)) != "" {
			t.Errorf("one of somebody's that is the same: %v, %v", got, err)
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
