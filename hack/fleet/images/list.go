package images

import (
	_ "embed"
	"fmt"
	"slices"
	"sort"

	"sigs.k8s.io/yaml"

	"stellarflow.io/stellarflow/hack/fleet/components"
)

//go:embed images.yaml
var listFile []byte

// Spec is an image as images.yaml has it.
type Spec struct {
	Refs       []string `json:"refs"`
	Holds      string   `json:"holds"`
	Layers     []string `json:"layers"`
	Entrypoint []string `json:"entrypoint,omitempty"`
	Cmd        []string `json:"cmd,omitempty"`
	User       string   `json:"user,omitempty"`
	Env        []string `json:"env,omitempty"`
	WorkingDir string   `json:"workingDir,omitempty"`
}

// List is images.yaml.
type List struct {
	Workflows   []Spec `json:"workflows"`   // stand-ins for what people's Workflows name
	Clusters    []Spec `json:"clusters"`    // what a cluster with Argo runs
	Stellarflow []Spec `json:"stellarflow"` // ours
}

// All returns the images of all groups.
func (l List) All() []Spec { return slices.Concat(l.Workflows, l.Clusters, l.Stellarflow) }

// Read returns the list of images.
func Read() (List, error) { return parse(listFile) }

func parse(data []byte) (List, error) {
	var list List
	if err := yaml.UnmarshalStrict(data, &list); err != nil {
		return List{}, fmt.Errorf("hack/fleet/images/images.yaml: %w", err)
	}
	seen := map[string]bool{}
	for _, spec := range list.All() {
		if len(spec.Refs) == 0 || len(spec.Layers) == 0 || spec.Holds == "" {
			return List{}, fmt.Errorf("hack/fleet/images/images.yaml: image %q needs refs, holds and layers", spec.Refs)
		}
		for _, ref := range spec.Refs {
			if seen[ref] {
				return List{}, fmt.Errorf("hack/fleet/images/images.yaml: %q is listed twice", ref)
			}
			seen[ref] = true
		}
		for _, layer := range spec.Layers {
			if _, ok := parts[layer]; !ok {
				return List{}, fmt.Errorf("hack/fleet/images/images.yaml: image %s: layer %q is not known; parts.go knows %q", spec.Refs[0], layer, partNames())
			}
		}
	}
	return list, nil
}

// Select returns the images of the list that answer to the refs; without refs, all.
func (l List) Select(refs ...string) ([]Spec, error) {
	all := l.All()
	if len(refs) == 0 {
		return all, nil
	}
	var chosen []Spec
	for _, ref := range refs {
		i := slices.IndexFunc(all, func(s Spec) bool { return slices.ContainsFunc(s.Refs, func(r string) bool { return sameRef(r, ref) }) })
		if i < 0 {
			return nil, fmt.Errorf("image %q is not listed in hack/fleet/images/images.yaml; listed are %q", ref, l.refs())
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

func (l List) refs() []string {
	var refs []string
	for _, spec := range l.All() {
		refs = append(refs, spec.Refs...)
	}
	sort.Strings(refs)
	return refs
}

// Needs returns which components the images with these refs are made of; without refs, all images.
func Needs(refs ...string) ([]components.Name, error) {
	list, err := Read()
	if err != nil {
		return nil, err
	}
	specs, err := list.Select(refs...)
	if err != nil {
		return nil, err
	}
	var needs []components.Name
	for _, spec := range specs {
		for _, layer := range spec.Layers {
			needs = append(needs, parts[layer].needs...)
		}
	}
	slices.Sort(needs)
	return slices.Compact(needs), nil
}

// Command is what an image runs, in the words of the `images` key of Argo's ConfigMap.
type Command struct {
	Entrypoint []string `json:"entrypoint,omitempty"`
	Cmd        []string `json:"cmd,omitempty"`
}

// Entrypoints returns the value of the `images` key of Argo's ConfigMap (workflow-controller-configmap): what the
// stand-ins run, by every name that a Workflow may use. Argo would otherwise ask the internet's registry, which it
// reaches past the one of the fleet, and which has other images.
func Entrypoints() (map[string]Command, error) {
	list, err := Read()
	if err != nil {
		return nil, err
	}
	commands := map[string]Command{}
	for _, spec := range slices.Concat(list.Workflows, list.Stellarflow) {
		for _, ref := range spec.Refs {
			for _, alias := range aliases(ref) {
				commands[alias] = Command{Entrypoint: spec.Entrypoint, Cmd: spec.Cmd}
			}
		}
	}
	return commands, nil
}
