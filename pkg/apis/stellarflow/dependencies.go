package stellarflow

import (
	"encoding/json"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Bounds of what one Workflow may need: MaxDependencies objects, and MaxDependenciesSize bytes of AnnotationDependencies.
const (
	MaxDependencies     = 100
	MaxDependenciesSize = 16 << 10
)

// Kind is a kind of object that a Workflow can need.
type Kind string

// The kinds. The first two are Argo's; the last two travel only where a policy says so.
const (
	KindWorkflowTemplate        Kind = "WorkflowTemplate"
	KindClusterWorkflowTemplate Kind = "ClusterWorkflowTemplate"
	KindConfigMap               Kind = "ConfigMap"
	KindSecret                  Kind = "Secret"
	KindPersistentVolumeClaim   Kind = "PersistentVolumeClaim"
)

// ArtifactRepositories is the ConfigMap in which Argo looks for the artifact repositories of a namespace. Where only that makes it needed, it travels
// only where a policy names it.
const ArtifactRepositories = "artifact-repositories"

var resources = map[Kind]schema.GroupVersionResource{
	KindWorkflowTemplate:        {Group: "argoproj.io", Version: "v1alpha1", Resource: "workflowtemplates"},
	KindClusterWorkflowTemplate: {Group: "argoproj.io", Version: "v1alpha1", Resource: "clusterworkflowtemplates"},
	KindConfigMap:               {Version: "v1", Resource: "configmaps"},
	KindSecret:                  {Version: "v1", Resource: "secrets"},
	KindPersistentVolumeClaim:   {Version: "v1", Resource: "persistentvolumeclaims"},
}

// Kinds returns all kinds, sorted.
func Kinds() []Kind {
	return []Kind{KindClusterWorkflowTemplate, KindConfigMap, KindPersistentVolumeClaim, KindSecret, KindWorkflowTemplate}
}

// ByPolicy reports whether objects of the kind travel only where the policy that placed a Workflow names or selects them.
func (k Kind) ByPolicy() bool { return k == KindSecret || k == KindPersistentVolumeClaim }

// HoldsData reports whether an object of the kind is only the name of what Workflows have written: a copy of it is neither changed nor
// removed.
func (k Kind) HoldsData() bool { return k == KindPersistentVolumeClaim }

// Resource returns what the API serves the kind as; it is empty for a kind that is not known.
func (k Kind) Resource() schema.GroupVersionResource { return resources[k] }

// Namespaced reports whether objects of the kind are in a namespace: it is always the Workflow's own.
func (k Kind) Namespaced() bool { return k != KindClusterWorkflowTemplate }

// Reference names an object that a Workflow needs, in the Workflow's namespace or, of some kinds, in none.
type Reference struct {
	Kind Kind
	Name string
}

// String returns it as it is stored: Kind/name.
func (r Reference) String() string { return string(r.Kind) + "/" + r.Name }

// Validate returns an error if no object can have the name.
func (r Reference) Validate() error {
	if wrong := validation.IsDNS1123Subdomain(r.Name); len(wrong) > 0 {
		return fmt.Errorf("%s is no name of a %s: %s", OneLine(r.Name, validation.DNS1123LabelMaxLength), r.Kind, wrong[0])
	}
	return nil
}

// Compare orders references by kind and name.
func (r Reference) Compare(other Reference) int {
	if r.Kind != other.Kind {
		return strings.Compare(string(r.Kind), string(other.Kind))
	}
	return strings.Compare(r.Name, other.Name)
}

// Dependencies are what a Workflow needs on its WEC, kept in AnnotationDependencies of both copies.
type Dependencies struct {
	// Copied came from the hub. They are kept up to date while the Workflow runs, and go after the last that needs them.
	Copied []Reference
	// There were on the WEC and are not the hub's: they are used as they are.
	There []Reference
}

// stored is the form in the annotation.
type stored struct {
	Copied []string `json:"copied,omitempty"`
	There  []string `json:"there,omitempty"`
}

// String returns the value as it is stored, empty for none.
func (d Dependencies) String() string {
	if len(d.Copied)+len(d.There) == 0 {
		return ""
	}
	raw, err := json.Marshal(stored{words(d.Copied), words(d.There)})
	if err != nil { // lists of strings always marshal
		return ""
	}
	return string(raw)
}

func words(references []Reference) []string {
	list := sets.New[string]()
	for _, reference := range references {
		list.Insert(reference.String())
	}
	return sets.List(list)
}

// ParseDependencies reads what String wrote. It may be a stranger's: what is no reference is left out, and so is what is beyond
// the bounds.
func ParseDependencies(value string) Dependencies {
	var s stored
	if len(value) > MaxDependenciesSize || json.Unmarshal([]byte(value), &s) != nil {
		return Dependencies{}
	}
	return Dependencies{Copied: references(s.Copied), There: references(s.There)}
}

func references(words []string) []Reference {
	var list []Reference
	for _, word := range sets.List(sets.New(words[:min(len(words), 2*MaxDependencies)]...)) {
		kind, name, _ := strings.Cut(word, "/")
		reference := Reference{Kind(kind), name}
		if !reference.Kind.Resource().Empty() && reference.Validate() == nil {
			list = append(list, reference)
		}
	}
	return list
}
