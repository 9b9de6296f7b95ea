package hold

import (
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"stellarflow.io/stellarflow/bindingpolicy"
	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
)

// Decision is what becomes of a Workflow that is being created.
type Decision struct {
	// Policies are the names of those that hold it, sorted; none if it is left exactly as it is.
	Policies []string
	// Refusal says why it cannot be held, empty if it can.
	Refusal string
	// Operations suspend it; none if it is suspended already.
	Operations []hubcopy.Operation
}

// Decide decides about a new Workflow in a namespace with these labels. A Workflow whose name the API server still has to generate has
// none here: a policy that lists names does not select it.
func Decide(policies []v1alpha1.BindingPolicy, namespaceLabels map[string]string, namespace string, workflow *unstructured.Unstructured) Decision {
	subject := bindingpolicy.Workflow{Namespace: namespace, Name: workflow.GetName(), Labels: workflow.GetLabels(), NamespaceLabels: namespaceLabels}
	var decision Decision
	if stellarflow.Completed(workflow) { // nobody runs it
		return decision
	}
	for i := range policies {
		if !mayHold(&policies[i], namespaceLabels) {
			continue
		}
		if selected, _ := bindingpolicy.Selects(&policies[i], subject); selected {
			decision.Policies = append(decision.Policies, policies[i].Name)
		}
	}
	slices.Sort(decision.Policies)
	if len(decision.Policies) > 0 {
		decision.Operations, decision.Refusal = suspend(workflow)
	}
	return decision
}

// mayHold reports whether what a policy selects is held in a namespace with these labels.
func mayHold(policy *v1alpha1.BindingPolicy, namespaceLabels map[string]string) bool {
	switch namespaceLabels[stellarflow.LabelHold] {
	case stellarflow.HoldAll:
		return true
	case stellarflow.HoldByPolicy:
		return policy.Annotations[stellarflow.AnnotationHold] == "true"
	}
	return false
}

// suspend returns what makes spec.suspend true. Argo's minimal CRD checks no types, so that the spec may be anything.
func suspend(workflow *unstructured.Unstructured) (operations []hubcopy.Operation, refusal string) {
	switch spec := workflow.Object["spec"].(type) {
	case nil:
		return []hubcopy.Operation{hubcopy.Add(map[string]any{"suspend": true}, "spec")}, ""
	case map[string]any:
		if spec["suspend"] == true {
			return nil, ""
		}
		return []hubcopy.Operation{hubcopy.Add(true, "spec", "suspend")}, ""
	}
	return nil, "its spec is no object, so nobody can run it: write spec as a mapping with entrypoint and templates, or workflowTemplateRef"
}
