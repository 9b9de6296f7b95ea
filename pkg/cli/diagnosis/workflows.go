package diagnosis

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

const (
	// deletesWithin is how long a deletion takes at most while the cluster answers: the copy's end, two looks, and the time until a
	// create without an answer cannot arrive any more.
	deletesWithin = 5 * time.Minute
	// buriedWithin is how long a tombstone stays at most while its cluster answers.
	buriedWithin = 5 * time.Minute
)

// workflows says what waits. Workflows that wait for one cluster for a reason of that cluster are one finding.
func (f *Facts) workflows() []Finding {
	var found []Finding
	silent := map[stellarflow.ClusterName][]Workflow{}
	for _, w := range f.Workflows {
		key, flags := w.Namespace+"/"+w.Name, join("-n "+w.Namespace, f.HubFlags)
		switch {
		case w.Request != "":
			found = append(found, Finding{
				RequestUnanswered, Problem, GroupWorkflows, "Workflow " + key, fmt.Sprintf("the hub manager has not answered the request to %s it", w.Request),
				f.kubectl("-n " + stellarflow.SystemNamespace + " rollout restart deployment stellarflow-hub"),
			})
		case !w.Deleted.IsZero() && f.Now.Sub(w.Deleted) > deletesWithin && w.Finished:
			found = append(found, Finding{
				WorkflowNotDeleted, Problem, GroupWorkflows, "Workflow " + key, fmt.Sprintf("it is finished and being deleted, and waits for cluster %s since %s: if that is lost for good, take it out", w.Cluster, stamp(w.Deleted)),
				join("stellarflow leave", string(w.Cluster), f.WECFlags),
			})
		case !w.Deleted.IsZero() && f.Now.Sub(w.Deleted) > deletesWithin:
			found = append(found, Finding{
				WorkflowNotDeleted, Problem, GroupWorkflows, "Workflow " + key, fmt.Sprintf("it is being deleted and waits for cluster %s since %s: if that is lost for good, give it up", w.Cluster, stamp(w.Deleted)),
				join("stellarflow abandon", w.Name, "--yes", flags),
			})
		case w.Sync != "":
			silent[w.Cluster] = append(silent[w.Cluster], w)
		}
	}
	for _, cluster := range slices.Sorted(maps.Keys(silent)) {
		waiting := slices.SortedFunc(slices.Values(silent[cluster]), func(a, b Workflow) int {
			return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
		})
		first := waiting[0]
		found = append(found, Finding{
			WorkflowsNotSynced, Warning, GroupWorkflows, fmt.Sprintf("%d Workflows on cluster %s", len(waiting), cluster),
			fmt.Sprintf("their status is not kept up to date; of %s/%s it says: %s", first.Namespace, first.Name, first.Sync),
			join("stellarflow explain", first.Name, "-n "+first.Namespace, f.HubFlags),
		})
	}
	return append(found, f.tombstones()...)
}

// tombstones says which copies of given-up Workflows are still to be removed.
func (f *Facts) tombstones() []Finding {
	var found []Finding
	for _, t := range f.Tombstones {
		if f.Now.Sub(t.Since) < buriedWithin {
			continue
		}
		found = append(found, Finding{
			TombstoneWaits, Warning, GroupWorkflows, "ConfigMap " + stellarflow.SystemNamespace + "/" + t.Name,
			fmt.Sprintf("Workflow %s was given up at %s and may still be on cluster %s: it is removed there when the cluster is back; if that will not be, forget it", t.Workflow, stamp(t.Since), t.Cluster),
			f.kubectl("-n " + stellarflow.SystemNamespace + " delete configmap " + t.Name),
		})
	}
	return found
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
