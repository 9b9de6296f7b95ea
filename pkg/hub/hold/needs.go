package hold

import (
	"context"
	"fmt"
	"strings"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/artifact"
	"stellarflow.io/stellarflow/pkg/hub/dependencies"
)

// Bounds of what is said: how many objects, and of each the bytes of its name and of where it stands. An API server cuts warnings of more
// than 256 characters.
const (
	maxWarnings = 5
	maxName     = 63
	maxWhere    = 60
	maxError    = 120
)

// read returns the spec of an object of the hub, and whether there is one.
type read func(context.Context, stellarflow.Reference) (spec map[string]any, found bool, err error)

// examine looks on the hub for all that a held Workflow needs. What no object can be, or what is too much, is refused, for no cluster
// can run that; what the hub lacks its cluster may have of its own, so that is only a warning.
func examine(ctx context.Context, spec map[string]any, namespace string, read read) (refusal string, warnings []string, err error) {
	closure := dependencies.Begin(spec, namespace)
	missing := map[stellarflow.Reference]bool{}
	for asked := closure.Next(); len(asked) > 0; asked = closure.Next() {
		for _, need := range asked {
			if need.Validate() != nil || elsewhere(need.Reference, namespace) {
				closure.Add(need.Reference, nil)
				continue
			}
			of, found, err := read(ctx, need.Reference)
			if err != nil {
				return "", nil, err
			}
			missing[need.Reference] = !found
			closure.Add(need.Reference, of)
		}
	}
	if excess := closure.Excess(); excess != "" {
		return excess, nil, nil
	}
	var impossible []string
	for _, need := range closure.Needs() {
		switch err := need.Validate(); {
		case err != nil && need.Required:
			impossible = append(impossible, fmt.Sprintf("%s: %s", said(need.Where, maxWhere), said(err.Error(), maxError)))
		case missing[need.Reference] && !need.Optional:
			warnings = append(warnings, warning(need, namespace))
		}
	}
	if len(impossible) > 0 {
		more := ""
		if left := len(impossible) - maxWarnings; left > 0 {
			impossible, more = impossible[:maxWarnings], fmt.Sprintf("; and %d more", left)
		}
		return "it refers to what cannot exist: " + strings.Join(impossible, "; ") + more + ": correct the name", nil, nil
	}
	if left := len(warnings) - maxWarnings; left > 0 {
		warnings = append(warnings[:maxWarnings], fmt.Sprintf("%d more objects that it needs are not on the hub", left))
	}
	return "", warnings, nil
}

// elsewhere reports whether an object is the cluster's own, whatever the hub has: Argo's configuration, and the artifact repository that
// a namespace is given there.
func elsewhere(reference stellarflow.Reference, namespace string) bool {
	return dependencies.StaysOnHub(reference, namespace) || reference == stellarflow.Reference{Kind: stellarflow.KindConfigMap, Name: artifact.ConfigMapName}
}

// warning says what is missing, where it is asked for, and what to do.
func warning(need dependencies.Need, namespace string) string {
	where := ""
	if need.Kind.Namespaced() {
		where = fmt.Sprintf(" in namespace %q", namespace)
	}
	return fmt.Sprintf("%s %q (%s) is not on the hub: create it%s, or it needs a cluster that has one of its own",
		need.Kind, said(need.Name, maxName), said(need.Where, maxWhere), where)
}

func said(text string, limit int) string { return stellarflow.OneLine(text, limit) }
