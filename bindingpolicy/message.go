package bindingpolicy

import (
	"fmt"
	"strings"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// How much a message lists before it says how many more there are, and how many bytes it has at most: what is longer is cut. A
// message about a Workflow fits the note of an event, which may have 1024 bytes; its two parts are cut each for itself, so that
// long sentences about policies do not hide those about clusters.
const (
	maxNames     = 5
	maxClauses   = 3
	maxGroups    = 5
	maxProblems  = 10
	maxValue     = 64
	maxPart      = 480
	maxMessage   = 1024
	maxCondition = 4096
)

// Message returns what the Workflow's status.message says: the placement, or which policies were looked at and why each cluster
// was not chosen. It is the same for the same decision, and short enough for the note of an event.
func (d Decision) Message() string {
	switch {
	case d.Cluster != "":
		return fmt.Sprintf("Placed on cluster %q by policy %q.", d.Cluster, d.Policy)
	case len(d.Policies) == 0:
		return "No BindingPolicy exists: create one that selects this Workflow and a cluster."
	case !d.Selected:
		return "No BindingPolicy selects this Workflow. " + cut(d.policies(func(PolicyVerdict) bool { return true }), 2*maxPart)
	}
	selecting := func(v PolicyVerdict) bool { return v.Reason != PolicyNotSelecting }
	text := "Waiting for a cluster. " + cut(d.policies(selecting), maxPart)
	if len(d.Clusters) == 0 {
		return text + " Clusters: none exists, join one."
	}
	return text + " " + cut(d.clusters(), maxPart)
}

// policies lists those that are shown, and how many others there are.
func (d Decision) policies(shown func(PolicyVerdict) bool) string {
	var texts []string
	for _, verdict := range d.Policies {
		if shown(verdict) {
			texts = append(texts, fmt.Sprintf("%q: %s", verdict.Policy, verdict.Message))
		}
	}
	text := "Policies: " + listed(texts, maxGroups, "; ")
	if others := len(d.Policies) - len(texts); others > 0 {
		text += fmt.Sprintf("; %d more do not select it", others)
	}
	return text + "."
}

// clusters lists the clusters that were not chosen, those with the same reason together, in the order of the first of each.
func (d Decision) clusters() string {
	var order []string
	groups := map[string][]stellarflow.ClusterName{}
	for _, verdict := range d.Clusters {
		if len(groups[verdict.Message]) == 0 {
			order = append(order, verdict.Message)
		}
		groups[verdict.Message] = append(groups[verdict.Message], verdict.Cluster)
	}
	var texts []string
	for _, message := range order {
		texts = append(texts, clusterList(groups[message])+": "+strings.TrimSuffix(message, "."))
	}
	return "Clusters: " + listed(texts, maxGroups, "; ") + "."
}

// clusterList names clusters, at most maxNames of them.
func clusterList(clusters []stellarflow.ClusterName) string {
	texts := make([]string, 0, len(clusters))
	for _, cluster := range clusters {
		texts = append(texts, string(cluster))
	}
	return listed(texts, maxNames, ", ")
}

// listed joins texts, at most limit of them, and says how many more there are.
func listed(texts []string, limit int, separator string) string {
	if len(texts) <= limit {
		return strings.Join(texts, separator)
	}
	return fmt.Sprintf("%s%sand %d more", strings.Join(texts[:limit], separator), separator, len(texts)-limit)
}

// shorten quotes a value, cut if it is long.
func shorten(value string) string { return stellarflow.Quote(value, maxValue) }

// cut bounds a text to so many bytes, at whole characters.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit-3], "") + "..."
}
