package bindingpolicy

import (
	"fmt"
	"strconv"
	"strings"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// How much a message lists before it says how many more there are. With these a message stays below maxMessage characters unless
// names or sentences are very long, and then it is cut.
const (
	maxNames    = 5
	maxClauses  = 3
	maxGroups   = 5
	maxProblems = 10
	maxValue    = 64
	maxMessage  = 2000
)

// Message returns what the Workflow's status.message says: the placement, or which policies were looked at and why each cluster
// was not chosen. It is the same for the same decision and at most maxMessage characters.
func (d Decision) Message() string {
	switch {
	case d.Cluster != "":
		return fmt.Sprintf("Placed on cluster %q by policy %q.", d.Cluster, d.Policy)
	case len(d.Policies) == 0:
		return "No BindingPolicy exists: create one that selects this Workflow and a cluster."
	case !d.Selected:
		return cut("No BindingPolicy selects this Workflow. " + d.policies(func(PolicyVerdict) bool { return true }))
	}
	selecting := func(v PolicyVerdict) bool { return v.Reason != PolicyNotSelecting }
	text := "Waiting for a cluster. " + d.policies(selecting)
	if len(d.Clusters) == 0 {
		return cut(text + " Clusters: none exists, join one.")
	}
	return cut(text + " " + d.clusters())
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
func shorten(value string) string {
	if runes := []rune(value); len(runes) > maxValue {
		value = string(runes[:maxValue]) + "..."
	}
	return strconv.Quote(value)
}

// cut bounds a message.
func cut(text string) string {
	if runes := []rune(text); len(runes) > maxMessage {
		return string(runes[:maxMessage-3]) + "..."
	}
	return text
}
