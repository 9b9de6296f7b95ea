package components

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// testEnvironment is the real repository with a cache of its own, so that recipes are made from what is pinned in it.
func testEnvironment(t *testing.T) *environment {
	t.Helper()
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	return &environment{root: root, cache: t.TempDir(), goVersion: "go1.26.8/linux/amd64", osRelease: "debian-12/amd64"}
}

// copyOfPins is an environment whose hack/tools can be changed.
func copyOfPins(t *testing.T) *environment {
	t.Helper()
	env := testEnvironment(t)
	root := t.TempDir()
	if err := copyTree(filepath.Join(env.root, "hack", "tools"), filepath.Join(root, "hack", "tools")); err != nil {
		t.Fatal(err)
	}
	env.root = root
	return env
}

func TestEveryNameIsProvided(t *testing.T) {
	catalog, err := testEnvironment(t).catalog()
	if err != nil {
		t.Fatal(err)
	}
	listed := map[Name]bool{}
	for _, name := range append(All(), Extra()...) {
		if _, ok := catalog[name]; !ok {
			t.Errorf("All lists %q, which nothing provides", name)
		}
		if listed[name] {
			t.Errorf("All lists %q twice", name)
		}
		listed[name] = true
	}
	for name := range catalog {
		if !listed[name] {
			t.Errorf("%q is provided, but All does not list it", name)
		}
	}
	dirs := map[string]*unit{}
	for name, p := range catalog {
		if p.unit.title == "" || p.unit.estimate <= 0 || p.unit.disk <= 0 {
			t.Errorf("%s: the unit lacks a title, an estimate or its need of disk: %+v", name, p.unit)
		}
		if other := dirs[p.unit.dir]; other != nil && other != p.unit {
			t.Errorf("%s shares the directory %s with %s", p.unit.title, p.unit.dir, other.title)
		}
		dirs[p.unit.dir] = p.unit
	}
}

func TestPinnedModulesNameTheirPrograms(t *testing.T) {
	env := testEnvironment(t)
	packages := map[string][]string{}
	for _, tool := range goTools {
		packages[tool.tool] = append(packages[tool.tool], tool.pkg)
	}
	for _, p := range argoPrograms {
		packages["argo"] = append(packages["argo"], argoModule+"/cmd/"+string(p.name))
	}
	for tool, pkgs := range packages {
		pins, err := env.readPins(tool)
		if err != nil {
			t.Fatal(err)
		}
		for _, pkg := range pkgs {
			if !strings.Contains(string(pins.mod), pkg+"\n") {
				t.Errorf("hack/tools/%s/go.mod has no tool directive for %s, so go mod tidy would drop what it needs", tool, pkg)
			}
		}
	}
}

func TestKeysChangeWithTheirInputs(t *testing.T) {
	edit := func(file, from, to string) func(*testing.T, *environment) {
		return func(t *testing.T, env *environment) {
			path := filepath.Join(env.root, "hack", "tools", file)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(data), from) {
				t.Fatalf("%s does not contain %q: the test needs another edit", file, from)
			}
			if err := os.WriteFile(path, []byte(strings.Replace(string(data), from, to, 1)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, tc := range map[string]struct {
		change  func(*testing.T, *environment)
		changed []Name
		same    []Name
	}{
		"nothing":                  {func(*testing.T, *environment) {}, nil, All()},
		"another Go":               {func(_ *testing.T, e *environment) { e.goVersion = "go1.27.0/linux/amd64" }, []Name{Kubelet, Etcd, Argo}, []Name{Containerd, PythonRoot, ArgoFiles}},
		"another Debian":           {func(_ *testing.T, e *environment) { e.osRelease = "debian-13/amd64" }, []Name{Containerd, PythonRoot}, []Name{Kubelet, Argo}},
		"a dependency":             {edit("kubernetes/go.mod", "github.com/blang/semver/v4 v4.0.0", "github.com/blang/semver/v4 v4.0.1"), []Name{Kubelet, KubeAPIServer}, []Name{Etcd, MinIO, Argo}},
		"a checksum":               {edit("etcd/go.sum", "h1:", "h1:x"), []Name{Etcd}, []Name{Kubelet, MinIO}},
		"a version of Argo":        {edit("argo/go.mod", argoModule+" v3.7.18", argoModule+" v3.7.19"), []Name{Argo, ArgoExec, WorkflowController, ArgoFiles}, []Name{Etcd}},
		"a version of Argo Events": {edit("argo-events/go.mod", "github.com/argoproj/argo-events v1.9.7", "github.com/argoproj/argo-events v1.9.8"), []Name{ArgoEvents}, All()},
		"Argo's dependency":        {edit("argo/go.sum", "h1:", "h1:x"), []Name{Argo, ArgoExec}, []Name{ArgoFiles, Etcd}},
		"a version of MinIO":       {edit("minio/go.mod", "github.com/minio/minio v0", "github.com/minio/minio v1"), []Name{MinIO}, []Name{CoreDNS}},
	} {
		t.Run(name, func(t *testing.T) {
			env := copyOfPins(t)
			before, err := env.catalog()
			if err != nil {
				t.Fatal(err)
			}
			tc.change(t, env)
			after, err := env.catalog()
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range tc.changed {
				if before[n].unit.dir == after[n].unit.dir {
					t.Errorf("%s keeps %s, so the old one would be used", n, after[n].unit.dir)
				}
			}
			for _, n := range tc.same {
				if before[n].unit.dir != after[n].unit.dir {
					t.Errorf("%s moves from %s to %s, so it would be built again for nothing", n, before[n].unit.dir, after[n].unit.dir)
				}
			}
		})
	}
}

func TestUIKeyHoldsNothingOfGo(t *testing.T) {
	env := testEnvironment(t)
	before := env.argoUI("dir", "v3.7.18").dir
	env.goVersion = "go1.99/linux/arm64"
	if after := env.argoUI("other", "v3.7.18").dir; after != before {
		t.Errorf("the UI moves from %s to %s with another Go", before, after)
	}
	if after := env.argoUI("dir", "v3.7.19").dir; after == before {
		t.Errorf("another version of Argo has the same UI directory %s", after)
	}
}

func TestHashKey(t *testing.T) {
	if hashKey("ab", "c") == hashKey("a", "bc") {
		t.Error("a byte that moves from one part to the next does not change the key")
	}
	if got := hashKey("a"); got != hashKey(strings.Clone("a")) || len(got) != 12 {
		t.Errorf("hashKey(a) = %q, want the same 12 digits each time", got)
	}
}

func TestRequiredVersion(t *testing.T) {
	const mod = "module x\n\nrequire (\n\texample.org/a v1.2.3 // indirect\n\texample.org/a/b v2.0.0\n)\nrequire example.org/c v3.0.0\n"
	for module, want := range map[string]string{"example.org/a": "v1.2.3", "example.org/a/b": "v2.0.0", "example.org/c": "v3.0.0", "example.org/none": ""} {
		got, err := requiredVersion([]byte(mod), module)
		if got != want || (want == "") != (err != nil) {
			t.Errorf("requiredVersion(%s) = %q, %v, want %q", module, got, err, want)
		}
	}
}

func TestStamps(t *testing.T) {
	want := " -X k8s.io/component-base/version.gitVersion=v1.34.4 -X k8s.io/component-base/version.gitMajor=1" +
		" -X k8s.io/component-base/version.gitMinor=34 -X k8s.io/component-base/version.gitTreeState=clean"
	if diff := cmp.Diff(want, stamps(kubernetesModule, "v1.34.4")); diff != "" {
		t.Errorf("Kubernetes' linker flags (-want +got):\n%s", diff)
	}
	if got := stamps("example.org/other", "v1.0.0"); got != "" {
		t.Errorf("stamps of a module without stamps = %q, want none", got)
	}
	if got := stamps(argoModule, "v3.7.18"); !strings.Contains(got, argoModule+".version=v3.7.18") {
		t.Errorf("Argo's linker flags %q lack its version", got)
	}
}

func TestMissing(t *testing.T) {
	ui := &unit{dir: "ui"}
	source := &unit{dir: "source", needs: []*unit{ui}}
	argo, exec := &unit{dir: "argo", needs: []*unit{source}}, &unit{dir: "exec", needs: []*unit{source}}
	all := []*unit{argo, exec, argo}
	for name, tc := range map[string]struct {
		have []string
		want []string
	}{
		"empty cache: needs come first, each once":     {nil, []string{"ui", "source", "argo", "exec"}},
		"all there: the needs are not looked for":      {[]string{"argo", "exec"}, nil},
		"the UI is there":                              {[]string{"ui"}, []string{"source", "argo", "exec"}},
		"a need of something that is there stays away": {[]string{"argo", "source"}, []string{"exec"}},
	} {
		t.Run(name, func(t *testing.T) {
			have := map[string]bool{}
			for _, dir := range tc.have {
				have[dir] = true
			}
			var got []string
			for _, u := range missing(all, func(u *unit) bool { return have[u.dir] }) {
				got = append(got, u.dir)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}
