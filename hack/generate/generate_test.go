package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestCompare holds that every way in which a generated file can be wrong is found, and nothing else.
func TestCompare(t *testing.T) {
	const deepcopy = apiDir + "/zz_generated.deepcopy.go"
	same := map[string]string{deepcopy: "package x", crdDir + "/g_a.yaml": "a", crdDir + "/g_b.yaml": "b"}
	cases := map[string]struct {
		reason string
		change func(committed map[string]string)
		want   []string
	}{
		"Same":  {"nothing differs", func(map[string]string) {}, nil},
		"Other": {"what is not generated is left alone", func(c map[string]string) { c[crdDir+"/kustomization.yaml"] = "x"; c[apiDir+"/doc.go"] = "x" }, nil},
		"Different": {
			"a file was edited", func(c map[string]string) { c[crdDir+"/g_a.yaml"] = "edited"; c[deepcopy] = "edited" },
			[]string{crdDir + "/g_a.yaml differs from a fresh generation", deepcopy + " differs from a fresh generation"},
		},
		"Missing":  {"a file was not committed", func(c map[string]string) { delete(c, crdDir+"/g_b.yaml") }, []string{crdDir + "/g_b.yaml is missing"}},
		"LeftOver": {"a kind was removed", func(c map[string]string) { c[crdDir+"/g_c.yaml"] = "c" }, []string{crdDir + "/g_c.yaml is not generated any more"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			committed := map[string]string{}
			for path, text := range same {
				committed[path] = text
			}
			tc.change(committed)
			got, err := compare(tree(t, committed), tree(t, same))
			if err != nil {
				t.Fatalf("compare(...): %v", err)
			}
			slices.Sort(got)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("\n%s\ncompare(...): -want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

// tree writes files below a new directory.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}
