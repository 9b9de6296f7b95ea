package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

// TestUIEntries adds our column to what somebody has, and removes it again.
func TestUIEntries(t *testing.T) {
	column := uiEntries[0]
	ours := "- " + column.line + "\n"
	cases := map[string]struct {
		reason     string
		data, want map[string]string // want nil for an error
	}{
		"Empty":    {"no settings at all", nil, map[string]string{"columns": ours}},
		"Others":   {"other settings stay", map[string]string{"links": "- a\n", "parallelism": "4"}, map[string]string{"links": "- a\n", "parallelism": "4", "columns": ours}},
		"Theirs":   {"behind somebody's, comments and all", map[string]string{"columns": "# team\n- name: Team # a\n  type: label\n  key: team\n"}, map[string]string{"columns": "# team\n- name: Team # a\n  type: label\n  key: team\n" + ours}},
		"Indented": {"as theirs are", map[string]string{"columns": "  - {name: a}\n  - {name: b}"}, map[string]string{"columns": "  - {name: a}\n  - {name: b}\n  " + ours}},
		"Config":   {"all settings in one, as of Argo's Helm chart", map[string]string{"config": "parallelism: 4"}, map[string]string{"config": "parallelism: 4\ncolumns:\n" + ours}},
		"Flow":     {"nothing can be put behind it", map[string]string{"columns": "[{name: a}]"}, nil},
		"Filled":   {"where the list ends is not known", map[string]string{"config": "columns:\n- name: a\nlinks: []\n"}, nil},
		"EmptyKey": {"it would be there twice", map[string]string{"config": "columns: []\n"}, nil},
		"Broken":   {"no YAML", map[string]string{"columns": "- {"}, nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := column.add(tc.data)
			if tc.want == nil {
				if err == nil || cmp.Diff(tc.data, got) != "" {
					t.Errorf("%s: %v, %v: want an error and nothing changed", tc.reason, got, err)
				}
				return
			}
			if diff := cmp.Diff(tc.want, got); err != nil || diff != "" {
				t.Fatalf("%s: %v (-want +got):\n%s", tc.reason, err, diff)
			}
			if again, err := column.add(got); err != nil || cmp.Diff(got, again) != "" {
				t.Errorf("a second time: %v, %v", again, err)
			}
			before := map[string]string{}
			for key, text := range tc.data {
				before[key] = text
				if text != got[key] {
					before[key] = ended(text)
				}
			}
			if diff := cmp.Diff(before, column.remove(got)); diff != "" {
				t.Errorf("removed again (-want +got):\n%s", diff)
			}
		})
	}
	// Both lists are in one ConfigMap, and one written by hand in other words is the same entry.
	data := map[string]string{"config": "a: b\n"}
	for _, entry := range uiEntries {
		var err error
		if data, err = entry.add(data); err != nil {
			t.Fatal(err)
		}
	}
	for _, entry := range uiEntries {
		data = entry.remove(data)
	}
	if data["config"] != "a: b\n" {
		t.Errorf("after both were added and removed: %q", data["config"])
	}
	byHand := map[string]string{"columns": "- name: Cluster\n  type: label\n  key: stellarflow.io/cluster\n"}
	if got, err := column.add(byHand); err != nil || cmp.Diff(byHand, got) != "" || cmp.Diff(byHand, column.remove(byHand)) != "" {
		t.Errorf("one of somebody's that is the same: %v, %v", got, err)
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
