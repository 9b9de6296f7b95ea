package bindingpolicy

import (
	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// Resolve decides where a Workflow runs.
func Resolve(policies []v1alpha1.BindingPolicy, workflow Workflow, inventory []Cluster) Decision {
	return Decision{}
}

// Message returns what the Workflow's status.message says.
func (d Decision) Message() string { return "" }

// Selects reports whether a downsync clause of the policy selects the Workflow and, if not, why.
func Selects(policy *v1alpha1.BindingPolicy, workflow Workflow) (bool, string) { return false, "" }

// ClustersOf returns the clusters that the policy selects by their labels, sorted, healthy or not.
func ClustersOf(policy *v1alpha1.BindingPolicy, inventory []Cluster) []stellarflow.ClusterName {
	return nil
}

// Check returns everything in the policy's spec that a person should look at, by field.
func Check(policy *v1alpha1.BindingPolicy) []Problem { return nil }

// StatusOf returns the status of a policy for the inventory, with its conditions Ready and FullySupported (without transition
// times). placed is how many Workflows the policy has placed.
func StatusOf(policy *v1alpha1.BindingPolicy, inventory []Cluster, placed int) v1alpha1.BindingPolicyStatus {
	return v1alpha1.BindingPolicyStatus{}
}
