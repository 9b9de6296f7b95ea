package cli

import (
	"fmt"
	"maps"
	"slices"
	"text/tabwriter"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/dependencies"
)

// dependency is an object that the Workflow needs on its cluster.
type dependency struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	// Copied is true for a copy of the hub's, false for an object of the cluster's own.
	Copied bool `json:"copied"`
}

// dependenciesOf are those that the hub manager has recorded.
func dependenciesOf(workflow *unstructured.Unstructured) []dependency {
	recorded := stellarflow.ParseDependencies(workflow.GetAnnotations()[stellarflow.AnnotationDependencies])
	var list []dependency
	for _, one := range recorded.Copied {
		list = append(list, dependency{string(one.Kind), one.Name, true})
	}
	for _, one := range recorded.There {
		list = append(list, dependency{string(one.Kind), one.Name, false})
	}
	return list
}

// accountsOf are the ServiceAccounts that the Workflow's pods run as: by its own word, and, when it has begun, by that of the templates that
// Argo has stored in its status. Every namespace has default.
func accountsOf(workflow *unstructured.Unstructured) []string {
	spec, _, _ := unstructured.NestedMap(workflow.Object, "spec")
	if stored, found, _ := unstructured.NestedMap(workflow.Object, "status", "storedWorkflowTemplateSpec"); found {
		spec = stored
	}
	templates, _, _ := unstructured.NestedMap(workflow.Object, "status", "storedTemplates")
	accounts := dependencies.Begin(spec, workflow.GetNamespace()).Accounts()
	accounts = append(accounts, dependencies.Begin(map[string]any{"templates": slices.Collect(maps.Values(templates))}, workflow.GetNamespace()).Accounts()...)
	slices.Sort(accounts)
	return slices.DeleteFunc(slices.Compact(accounts), func(name string) bool { return name == "default" })
}

// printDependencies prints them, nothing if there are none.
func (e *explanation) printDependencies(table *tabwriter.Writer) error {
	if len(e.Dependencies)+len(e.Accounts) == 0 {
		return nil
	}
	_, _ = fmt.Fprintln(table, "\nDependencies:")
	for _, one := range e.Dependencies {
		origin := "the cluster's own"
		if one.Copied {
			origin = "copied from the hub"
		}
		_, _ = fmt.Fprintf(table, "  %s\t%s\t%s\n", one.Kind, one.Name, origin)
	}
	for _, name := range e.Accounts {
		_, _ = fmt.Fprintf(table, "  ServiceAccount\t%s\tmade there by the hub in a namespace of its own, else the cluster's own\n", name)
	}
	return table.Flush()
}
