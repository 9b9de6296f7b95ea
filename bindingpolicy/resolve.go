package bindingpolicy

import (
	"cmp"
	"fmt"
	"slices"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// Resolve decides where a Workflow runs. Candidates are the clusters that any policy which selects the Workflow selects by their
// labels; among those that are healthy and did not refuse it before, it is the one with the fewest unfinished Workflows, the first
// by name if several have as few. The policy recorded is the first by name that offers the chosen cluster.
//
// A policy without wantSingletonReportedState, neither in its spec nor in a clause that matches, asks for a run on each cluster it
// selects. If that is one cluster it is offered as by any policy; if it is several the policy offers none and says so.
func Resolve(policies []v1alpha1.BindingPolicy, workflow Workflow, inventory []Cluster) Decision {
	clusters := slices.Clone(inventory)
	slices.SortStableFunc(clusters, func(a, b Cluster) int { return cmp.Compare(a.Name, b.Name) })

	offered := map[stellarflow.ClusterName]string{}   // to the first policy that offers it
	ambiguous := map[stellarflow.ClusterName]string{} // to the first policy that would mean a run on each of several
	var decision Decision
	for _, policy := range parseAll(policies) {
		verdict := policy.judge(workflow, clusters)
		decision.Policies = append(decision.Policies, verdict)
		decision.Selected = decision.Selected || verdict.Reason != PolicyNotSelecting
		switch verdict.Reason {
		case PolicyOffers:
			keepFirst(offered, verdict)
		case PolicySeveralClusters:
			keepFirst(ambiguous, verdict)
		}
	}

	chosen := choose(clusters, offered)
	if chosen != nil {
		decision.Cluster, decision.Policy = chosen.Name, offered[chosen.Name]
	}
	for i := range clusters {
		if cluster := &clusters[i]; chosen == nil || cluster.Name != chosen.Name {
			decision.Clusters = append(decision.Clusters, whyNot(cluster, chosen, offered, ambiguous))
		}
	}
	return decision
}

// Selects reports whether a downsync clause of the policy selects the Workflow and, if not, why.
func Selects(policy *v1alpha1.BindingPolicy, workflow Workflow) (bool, string) {
	selected, _, why := parse(policy).selects(workflow)
	return selected, why
}

// ClustersOf returns the clusters that the policy selects by their labels, sorted, healthy or not.
func ClustersOf(policy *v1alpha1.BindingPolicy, inventory []Cluster) []stellarflow.ClusterName {
	names := parse(policy).clustersOf(inventory)
	slices.Sort(names)
	return names
}

// judge says what one policy does for a Workflow; the clusters are sorted.
func (p policy) judge(workflow Workflow, clusters []Cluster) PolicyVerdict {
	verdict := PolicyVerdict{Policy: p.name}
	selected, singleton, why := p.selects(workflow)
	if !selected {
		verdict.Reason, verdict.Message = PolicyNotSelecting, why
		return verdict
	}
	matching := p.clustersOf(clusters)
	switch {
	case len(matching) == 0:
		verdict.Reason, verdict.Message = PolicyNoClusters, p.whyNoClusters()
	case len(matching) > 1 && !singleton:
		verdict.Reason, verdict.Message = PolicySeveralClusters, severalClusters(matching)
		verdict.Clusters = matching
	default:
		verdict.Reason, verdict.Message = PolicyOffers, "it offers "+clusterList(matching)
		verdict.Clusters = matching
	}
	return verdict
}

// whyNoClusters says why the policy selects no cluster.
func (p policy) whyNoClusters() string {
	switch {
	case len(p.clusters.problems) > 0:
		return p.clusters.problems[0].String()
	case len(p.clusters.valid) == 0:
		return "spec.clusterSelectors is empty, which selects no cluster: add a selector, {} for every cluster"
	default:
		return "spec.clusterSelectors: no ManagedCluster has labels that match: label one or change the selectors"
	}
}

// severalClusters says why nothing is placed by a policy that would mean a run on each of several clusters.
func severalClusters(matching []stellarflow.ClusterName) string {
	return fmt.Sprintf("it selects %d clusters (%s) without wantSingletonReportedState, which would mean a run on each: "+
		"that is not supported; set wantSingletonReportedState: true for one run on one of them, or select one cluster",
		len(matching), clusterList(matching))
}

// keepFirst notes the policy for each of its clusters that has none yet.
func keepFirst(first map[stellarflow.ClusterName]string, verdict PolicyVerdict) {
	for _, cluster := range verdict.Clusters {
		if _, found := first[cluster]; !found {
			first[cluster] = verdict.Policy
		}
	}
}

// choose returns the best of the sorted clusters, nil if none can be used.
func choose(clusters []Cluster, offered map[stellarflow.ClusterName]string) *Cluster {
	var best *Cluster
	for i := range clusters {
		cluster := &clusters[i]
		if _, found := offered[cluster.Name]; !found || !cluster.usable() {
			continue
		}
		if best == nil || cluster.Unfinished < best.Unfinished {
			best = cluster
		}
	}
	return best
}

func (c *Cluster) usable() bool { return c.Name.Validate() == nil && !c.Refused && c.Unhealthy == "" }

// whyNot says why a cluster is not the chosen one.
func whyNot(cluster, chosen *Cluster, offered, ambiguous map[stellarflow.ClusterName]string) ClusterVerdict {
	verdict := ClusterVerdict{Cluster: cluster.Name}
	_, isOffered := offered[cluster.Name]
	policy, isAmbiguous := ambiguous[cluster.Name]
	invalid := cluster.Name.Validate()
	switch {
	case !isOffered && isAmbiguous:
		verdict.Reason = ClusterSeveralClusters
		verdict.Message = fmt.Sprintf("policy %q selects it among several without wantSingletonReportedState", policy)
	case !isOffered:
		verdict.Reason = ClusterNotOffered
		verdict.Message = "no policy that selects the Workflow selects it by its labels"
	case invalid != nil:
		verdict.Reason, verdict.Message = ClusterInvalidName, invalid.Error()
	case cluster.Refused:
		verdict.Reason, verdict.Message = ClusterRefused, "it refused the Workflow: "+orUnknown(cluster.RefusedWhy)
	case cluster.Unhealthy != "":
		verdict.Reason, verdict.Message = ClusterUnhealthy, cluster.Unhealthy
	case cluster.Unfinished == chosen.Unfinished:
		verdict.Reason = ClusterBusier
		verdict.Message = fmt.Sprintf("it has as many unfinished Workflows as %s (%d), which comes first by name",
			chosen.Name, chosen.Unfinished)
	default:
		verdict.Reason = ClusterBusier
		verdict.Message = fmt.Sprintf("it has %d unfinished Workflows, %s has %d", cluster.Unfinished, chosen.Name, chosen.Unfinished)
	}
	return verdict
}

func orUnknown(why string) string {
	if why == "" {
		return "it gave no reason"
	}
	return why
}
