package bindingpolicy

import (
	"fmt"
	"math"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// StatusOf returns the status of a policy for the inventory, with its conditions Ready and FullySupported; placed is how many
// Workflows the policy has placed. The conditions have no transition times: the caller merges them into those that are there.
func StatusOf(policy *v1alpha1.BindingPolicy, inventory []Cluster, placed int) v1alpha1.BindingPolicyStatus {
	problems := Check(policy)
	clusters := ClustersOf(policy, inventory)
	ready, supported := readiness(policy, problems, clusters), support(problems)
	ready.ObservedGeneration, supported.ObservedGeneration = policy.Generation, policy.Generation
	status := v1alpha1.BindingPolicyStatus{
		Conditions:         []metav1.Condition{ready, supported},
		ObservedGeneration: policy.Generation,
		Errors:             faults(policy, problems, clusters),
		Workflows:          int32(min(max(placed, 0), math.MaxInt32)),
	}
	for _, cluster := range clusters {
		status.Clusters = append(status.Clusters, string(cluster))
	}
	return status
}

// readiness is the condition Ready: the first of the things that keep the policy from working, by how much they keep from it.
func readiness(policy *v1alpha1.BindingPolicy, problems []Problem, clusters []stellarflow.ClusterName) metav1.Condition {
	condition := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse}
	parsed := parse(policy)
	all, some := parsed.asksForOneRun()
	switch {
	case hasKind(problems, ProblemInvalid):
		condition.Reason = v1alpha1.ReasonInvalidSelector
		condition.Message = cut(listed(sentences(problems, ProblemInvalid), maxProblems, "; ")+".", maxCondition)
	case len(policy.Spec.ClusterSelectors) == 0:
		condition.Reason, condition.Message = v1alpha1.ReasonNoClusterSelectors, parsed.whyNoClusters()+"."
	case !slices.ContainsFunc(parsed.clauses, clause.canMatch):
		condition.Reason = v1alpha1.ReasonNoWorkflows
		condition.Message = cut("No clause of spec.downsync can match a Workflow. "+listed(parsed.whyNoWorkflows(), maxClauses, "; ")+".", maxCondition)
	case len(clusters) == 0:
		condition.Reason, condition.Message = v1alpha1.ReasonNoClusters, parsed.whyNoClusters()+"."
	case len(clusters) > 1 && !some:
		condition.Reason, condition.Message = v1alpha1.ReasonSeveralClusters, "Nothing is placed: "+severalClusters(clusters)+"."
	default:
		condition.Status, condition.Reason = metav1.ConditionTrue, v1alpha1.ReasonClustersSelected
		condition.Message = fmt.Sprintf("%d clusters are selected: %s.", len(clusters), clusterList(clusters))
		if len(clusters) == 1 {
			condition.Message = fmt.Sprintf("1 cluster is selected: %s.", clusterList(clusters))
			if !all {
				condition.Message += " wantSingletonReportedState is not set everywhere: KubeStellar would not return the status, here it " +
					"comes back; if a second cluster matches nothing is placed."
			}
		}
	}
	return condition
}

// asksForOneRun reports whether all, and whether some, of the clauses that can match a Workflow ask for a single run.
func (p policy) asksForOneRun() (all, some bool) {
	all = true
	for _, clause := range p.clauses {
		if clause.canMatch() {
			all, some = all && clause.singleton, some || clause.singleton
		}
	}
	return all, some
}

// canMatch reports whether there can be a Workflow that matches the clause.
func (c clause) canMatch() bool { return c.missesKind() == "" }

// whyNoWorkflows says for each clause why it cannot match a Workflow.
func (p policy) whyNoWorkflows() []string {
	if len(p.clauses) == 0 {
		return []string{"It is empty: add a clause"}
	}
	var texts []string
	for _, clause := range p.clauses {
		texts = append(texts, clause.missesKind())
	}
	return texts
}

// support is the condition FullySupported.
func support(problems []Problem) metav1.Condition {
	unsupported := sentences(problems, ProblemUnsupported)
	if len(unsupported) == 0 {
		return metav1.Condition{
			Type: v1alpha1.ConditionFullySupported, Status: metav1.ConditionTrue,
			Reason: v1alpha1.ReasonAllFieldsSupported, Message: "Every field is acted on.",
		}
	}
	return metav1.Condition{
		Type: v1alpha1.ConditionFullySupported, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonUnsupportedFields,
		Message: cut("Not acted on: "+listed(unsupported, maxProblems, "; ")+".", maxCondition),
	}
}

// faults returns status.errors: what keeps the policy from doing all it says.
func faults(policy *v1alpha1.BindingPolicy, problems []Problem, clusters []stellarflow.ClusterName) []string {
	var texts []string
	for _, problem := range problems {
		if problem.Kind != ProblemUnsupported {
			texts = append(texts, problem.String())
		}
	}
	if len(clusters) > 1 {
		for _, clause := range parse(policy).clauses {
			if clause.canMatch() && !clause.singleton {
				texts = append(texts, clause.field+": "+severalClusters(clusters))
			}
		}
	}
	for i := range texts[:min(len(texts), maxProblems)] {
		texts[i] = cut(texts[i], maxMessage)
	}
	if len(texts) > maxProblems {
		return append(texts[:maxProblems], fmt.Sprintf("and %d more", len(texts)-maxProblems))
	}
	return texts
}

func hasKind(problems []Problem, kind ProblemKind) bool {
	return slices.ContainsFunc(problems, func(p Problem) bool { return p.Kind == kind })
}

func sentences(problems []Problem, kind ProblemKind) []string {
	var texts []string
	for _, problem := range problems {
		if problem.Kind == kind {
			texts = append(texts, problem.String())
		}
	}
	return texts
}
