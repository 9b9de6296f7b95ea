package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDependencyRules holds that each rule is found to be broken, and only then.
func TestDependencyRules(t *testing.T) {
	cases := map[string]struct {
		reason   string
		packages map[string]string // path below the module, or another path, to what it imports
		want     []string
	}{
		"Down": {
			"the arrows of DESIGN.md",
			map[string]string{
				"cmd/hub": "pkg/hub/placement pkg/wec config", "pkg/hub/placement": "bindingpolicy pkg/wec pkg/hub/index", "pkg/hub/index": "pkg/apis/stellarflow",
				"pkg/wec": "pkg/apis/stellarflow", "bindingpolicy": "pkg/apis/control/v1alpha1 strings", "hack/x": "cmd/hub",
			},
			nil,
		},
		"Up": {
			"an API, a pure package, a connection or a controller that knows what is above it",
			map[string]string{
				"pkg/apis/stellarflow": "bindingpolicy", "bindingpolicy": "transforms", "pkg/wec": "pkg/artifact", "pkg/hub/x": "cmd/hub",
			},
			[]string{
				"bindingpolicy imports transforms, which is not below it", "pkg/apis/stellarflow imports bindingpolicy, which is not below it",
				"pkg/hub/x imports cmd/hub, which is not below it", "pkg/wec imports pkg/artifact, which is not below it",
			},
		},
		"ImpureStandard": {
			"a pure package that does I/O or knows the time",
			map[string]string{"transforms": "os net/http time strings osx"},
			[]string{
				"transforms imports net/http, but decides only", "transforms imports os, but decides only", "transforms imports time, but decides only",
			},
		},
		"ImpureFar": {
			"a pure package that needs a client in the end",
			map[string]string{"bindingpolicy": "pkg/apis/x", "pkg/apis/x": "k8s.io/apimachinery/y", "k8s.io/apimachinery/y": "k8s.io/client-go/z"},
			[]string{"bindingpolicy needs k8s.io/client-go/z, though apimachinery is all it may"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			packages := map[string]goPackage{}
			for path, imports := range tc.packages {
				one := goPackage{ImportPath: full(path)}
				for _, imported := range strings.Fields(imports) {
					one.Imports = append(one.Imports, full(imported))
					if standard(imported) {
						packages[imported] = goPackage{ImportPath: imported, Standard: true}
					}
				}
				packages[one.ImportPath] = one
			}
			if diff := cmp.Diff(tc.want, append(arrows(packages), impurities(packages)...)); diff != "" {
				t.Errorf("\n%s\n-want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

// standard reports whether a path in a test's table is one of the standard library.
func standard(path string) bool {
	switch path {
	case "os", "osx", "net/http", "time", "strings":
		return true
	}
	return false
}

// full returns the import path of a path in a test's table.
func full(path string) string {
	if standard(path) || strings.HasPrefix(path, "k8s.io/") {
		return path
	}
	return module + path
}
