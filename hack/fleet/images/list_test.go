package images

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"sigs.k8s.io/yaml"

	"stellarflow.io/stellarflow/hack/fleet/components"
)

// promised are the images that people's YAML may name, and those that a cluster with Argo needs.
var promised = []string{
	"docker/whalesay:latest", "alpine:3.7", "busybox", "python:alpine3.6", "argoproj/argosay:v2",
	"quay.io/argoproj/workflow-controller:v3.7.18", "quay.io/argoproj/argocli:v3.7.18", "quay.io/argoproj/argoexec:v3.7.18",
	"registry.k8s.io/pause:3.6", "registry.k8s.io/coredns/coredns:v1.15.0", "stellarflow/hub:latest",
}

func TestListHoldsWhatIsPromised(t *testing.T) {
	list, err := Read()
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range promised {
		if _, err := list.Select(ref); err != nil {
			t.Error(err)
		}
	}
	for _, spec := range list.All() {
		for _, ref := range spec.Refs {
			if _, err := name.ParseReference(ref); err != nil {
				t.Errorf("%q is no image name: %v", ref, err)
			}
		}
	}
}

func TestEveryPartIsUsedAndItsNeedsAreKnown(t *testing.T) {
	list, err := Read()
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, spec := range list.All() {
		for _, layer := range spec.Layers {
			used[layer] = true
		}
	}
	for layer, p := range parts {
		if !used[layer] {
			t.Errorf("no image has the layer %q", layer)
		}
		for _, need := range p.needs {
			if !slices.Contains(components.All(), need) {
				t.Errorf("layer %q needs %q, which package components does not know", layer, need)
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ yaml, want string }{
		"an unknown key":   {"workflows:\n- refs: [a]\n  hold: x\n", `unknown field "hold"`},
		"no description":   {"workflows:\n- refs: [a]\n  layers: [base]\n", `image ["a"] needs refs, holds and layers`},
		"no layers":        {"clusters:\n- refs: [a]\n  holds: x\n", `image ["a"] needs refs, holds and layers`},
		"no refs":          {"clusters:\n- holds: x\n  layers: [base]\n", "needs refs, holds and layers"},
		"an unknown layer": {"workflows:\n- refs: [a]\n  holds: x\n  layers: [perl]\n", `image a: layer "perl" is not known; parts.go knows ["argo"`},
		"a ref twice":      {"workflows:\n- {refs: [a], holds: x, layers: [base]}\nclusters:\n- {refs: [b, a], holds: x, layers: [base]}\n", `"a" is listed twice`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse([]byte(tc.yaml))
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "images.yaml") {
				t.Errorf("error = %v, want images.yaml and %q", err, tc.want)
			}
		})
	}
}

func TestSelect(t *testing.T) {
	list, err := Read()
	if err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]string{
		"docker/whalesay": "docker/whalesay:latest", "docker.io/docker/whalesay:latest": "docker/whalesay:latest",
		"docker.io/library/alpine:3.7": "alpine:3.7", "library/busybox": "busybox:latest", "stellarflow/hub": "stellarflow/hub:latest",
	} {
		got, err := list.Select(ref)
		if err != nil || len(got) != 1 || got[0].Refs[0] != want {
			t.Errorf("Select(%s) = %+v, %v, want %s", ref, got, err, want)
		}
	}
	if _, err := list.Select("alpine:3.99"); err == nil || !strings.Contains(err.Error(), `"alpine:3.7"`) {
		t.Errorf("error = %v, want one that lists what there is", err)
	}
	if all, err := list.Select(); err != nil || len(all) != len(list.All()) {
		t.Errorf("Select() = %d images, %v, want all %d", len(all), err, len(list.All()))
	}
}

func TestNeeds(t *testing.T) {
	for name, tc := range map[string]struct {
		refs []string
		want []components.Name
	}{
		"nothing but a program of ours": {[]string{"registry.k8s.io/pause:3.6"}, nil},
		"each once":                     {[]string{"alpine:3.7", "busybox"}, []components.Name{components.Busybox, components.CACerts}},
		"Argo":                          {[]string{"quay.io/argoproj/argoexec:v3.7.18"}, []components.Name{components.ArgoFiles, components.ArgoExec, components.CACerts, components.MimeTypes, components.ZoneInfo}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Needs(tc.refs...)
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(tc.want)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("needs (-want +got):\n%s", diff)
			}
		})
	}
	if _, err := Needs("nothing:1"); err == nil {
		t.Error("an unknown image needs nothing, want an error")
	}
}

func TestEntrypoints(t *testing.T) {
	got, err := Entrypoints()
	if err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]Command{
		"docker/whalesay:latest": {Cmd: []string{"cowsay"}}, "docker/whalesay": {Cmd: []string{"cowsay"}},
		"docker.io/docker/whalesay": {Cmd: []string{"cowsay"}},
		"busybox":                   {Cmd: []string{"sh"}}, "library/busybox:latest": {Cmd: []string{"sh"}}, "docker.io/library/busybox": {Cmd: []string{"sh"}},
		"python:alpine3.6":    {Cmd: []string{"python3"}},
		"argoproj/argosay:v2": {Entrypoint: []string{"/argosay"}},
	} {
		if diff := cmp.Diff(want, got[ref]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", ref, diff)
		}
	}
	// Argo reads the keys entrypoint and cmd, and refuses others.
	data, err := yaml.Marshal(map[string]Command{"a": {Entrypoint: []string{"/a"}, Cmd: []string{"b"}}})
	if err != nil || string(data) != "a:\n  cmd:\n  - b\n  entrypoint:\n  - /a\n" {
		t.Errorf("as YAML: %s, %v", data, err)
	}
}

func TestAliases(t *testing.T) {
	for ref, want := range map[string][]string{
		"busybox:latest":    {"busybox:latest", "library/busybox:latest", "docker.io/busybox:latest", "docker.io/library/busybox:latest", "busybox", "library/busybox", "docker.io/busybox", "docker.io/library/busybox"},
		"a/b:1":             {"a/b:1", "docker.io/a/b:1"},
		"quay.io/a/b:1":     {"quay.io/a/b:1"},
		"localhost/a:1":     {"localhost/a:1"},
		"host:5000/a":       {"host:5000/a:latest", "host:5000/a"},
		"docker.io/a/b":     {"a/b:latest", "docker.io/a/b:latest", "a/b", "docker.io/a/b"},
		"registry.io/p:3.6": {"registry.io/p:3.6"},
	} {
		got := aliases(ref)
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("aliases(%s) (-want +got):\n%s", ref, diff)
		}
	}
}
