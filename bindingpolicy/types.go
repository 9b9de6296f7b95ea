package bindingpolicy

import (
	"fmt"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// Workflow is what a policy can ask about a Workflow.
type Workflow struct {
	// Namespace and Name are those of the Workflow on the hub.
	Namespace, Name string
	// Labels are those of the Workflow, NamespaceLabels those of its Namespace on the hub.
	Labels, NamespaceLabels map[string]string
}

// Cluster is one ManagedCluster as placement sees it.
type Cluster struct {
	// Name is the name of the ManagedCluster.
	Name stellarflow.ClusterName
	// Labels are those of the ManagedCluster.
	Labels map[string]string
	// Unhealthy is a sentence that says why the cluster cannot be used now; empty if it can.
	Unhealthy string
	// Unfinished is how many Workflows that are not terminal are placed on the cluster.
	Unfinished int
	// Refused is set if the cluster definitely refused this Workflow in an earlier attempt; RefusedWhy says why.
	Refused    bool
	RefusedWhy string
}

// PolicyReason says what a policy does for a Workflow.
type PolicyReason string

// Reasons of a PolicyVerdict.
const (
	// PolicyOffers: the policy selects the Workflow and at least one cluster.
	PolicyOffers PolicyReason = "Offers"
	// PolicyNotSelecting: no clause of the policy selects the Workflow.
	PolicyNotSelecting PolicyReason = "NotSelecting"
	// PolicyNoClusters: the policy selects the Workflow, but no cluster.
	PolicyNoClusters PolicyReason = "NoClusters"
	// PolicySeveralClusters: the policy selects the Workflow and several clusters, but does not ask for a single run.
	PolicySeveralClusters PolicyReason = "SeveralClusters"
)

// PolicyVerdict is what one policy does for a Workflow.
type PolicyVerdict struct {
	// Policy is its name.
	Policy string
	// Reason is one of the constants, Message a sentence that names what is wrong and what to do.
	Reason  PolicyReason
	Message string
	// Clusters are those that it selects by their labels, sorted; it offers them if Reason is PolicyOffers.
	Clusters []stellarflow.ClusterName
}

// ClusterReason says why a cluster was not chosen.
type ClusterReason string

// Reasons of a ClusterVerdict.
const (
	// ClusterNotOffered: no policy that selects the Workflow selects the cluster.
	ClusterNotOffered ClusterReason = "NotOffered"
	// ClusterSeveralClusters: only policies that select several clusters without asking for a single run select it.
	ClusterSeveralClusters ClusterReason = "SeveralClusters"
	// ClusterInvalidName: its name cannot be a label value.
	ClusterInvalidName ClusterReason = "InvalidName"
	// ClusterRefused: it definitely refused the Workflow in an earlier attempt.
	ClusterRefused ClusterReason = "Refused"
	// ClusterUnhealthy: it cannot be used now.
	ClusterUnhealthy ClusterReason = "Unhealthy"
	// ClusterBusier: the chosen cluster has fewer unfinished Workflows, or as many and comes first by name.
	ClusterBusier ClusterReason = "Busier"
)

// ClusterVerdict says why one cluster was not chosen.
type ClusterVerdict struct {
	// Cluster is its name.
	Cluster stellarflow.ClusterName
	// Reason is one of the constants, Message a sentence.
	Reason  ClusterReason
	Message string
}

// Decision is the answer of Resolve.
type Decision struct {
	// Cluster is the chosen one; empty if there is none.
	Cluster stellarflow.ClusterName
	// Policy is the first policy by name that offers the chosen cluster; empty if there is none.
	Policy string
	// Selected is set if at least one policy selects the Workflow: only then it is ours.
	Selected bool
	// Policies has a verdict for every policy, by name.
	Policies []PolicyVerdict
	// Clusters has a verdict for every cluster that was not chosen, by name.
	Clusters []ClusterVerdict
}

// ProblemKind says what sort of Problem it is.
type ProblemKind string

// Kinds of a Problem.
const (
	// ProblemInvalid: it cannot be read; the selector or clause it is in matches nothing.
	ProblemInvalid ProblemKind = "Invalid"
	// ProblemEmpty: something is missing, and the policy or clause therefore selects nothing.
	ProblemEmpty ProblemKind = "Empty"
	// ProblemUnsupported: it is accepted as KubeStellar does, but not acted on.
	ProblemUnsupported ProblemKind = "Unsupported"
	// ProblemAmbiguous: it works, but perhaps not as meant.
	ProblemAmbiguous ProblemKind = "Ambiguous"
)

// Problem is something in a policy's spec that a person should look at.
type Problem struct {
	Kind ProblemKind
	// Field is the path in the object, such as spec.downsync[0].objectSelectors[1].matchExpressions[0].
	Field string
	// Value is what is there, shortened if it is long.
	Value string
	// Message says what is wrong and what to do.
	Message string
}

// String returns the field, the value and the message in one sentence.
func (p Problem) String() string {
	if p.Value == "" {
		return fmt.Sprintf("%s: %s", p.Field, p.Message)
	}
	return fmt.Sprintf("%s: %s: %s", p.Field, p.Value, p.Message)
}
