package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// orphan is a WEC copy of this hub that no hub copy claims.
type orphan struct {
	Cluster   stellarflow.ClusterName `json:"cluster"`
	Namespace string                  `json:"namespace"`
	Name      string                  `json:"name"`
	UID       types.UID               `json:"uid"`
	// HubUID and Attempt are what the copy says of itself.
	HubUID   string    `json:"hubUID"`
	Attempt  int       `json:"attempt"`
	Phase    string    `json:"phase"`
	Finished bool      `json:"finished"`
	Created  time.Time `json:"created"`
	// Why says why it is an orphan.
	Why string `json:"why"`

	age string
}

func (o orphan) key() string { return o.Namespace + "/" + o.Name }

func orphansCommand(env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "orphans",
		Short: "Show, adopt or delete copies on clusters that no Workflow of the hub claims",
		Long: `Show, adopt or delete copies on clusters that no Workflow of the hub claims: their Workflow was removed by force, or the hub was
restored from a backup that does not know it. Finished ones are removed by the hub manager; of unfinished ones a person decides.`,
	}
	cmd.AddCommand(orphansListCommand(env), orphansAdoptCommand(env), orphansDeleteCommand(env))
	return cmd
}

func orphansListCommand(env Env) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List the orphans of every cluster", Args: none}
	hubFlags := addHubFlags(cmd, "")
	return env.runs(cmd, func(ctx context.Context, env Env, _ []string) (any, error) {
		hub, err := hubFlags.connect()
		if err != nil {
			return nil, err
		}
		return listOrphans(ctx, env, hub)
	})
}

// orphanList is the answer of orphans list.
type orphanList struct {
	Orphans []orphan `json:"orphans"`
	// Unchecked are the clusters that did not answer, and why.
	Unchecked []string `json:"unchecked"`
}

func listOrphans(ctx context.Context, env Env, hub client.Client) (any, error) {
	hubID, err := readHubID(ctx, hub)
	if err != nil {
		return nil, err
	}
	wecs, err := storedWECs(ctx, env, hub)
	if err != nil {
		return nil, err
	}
	wecs = slices.DeleteFunc(wecs, func(w storedWEC) bool { return errors.Is(w.Err, errNoCredential) })
	copies := make([][]metav1.PartialObjectMetadata, len(wecs))
	errs := each(ctx, wecs, func(ctx context.Context, i int) (err error) {
		copies[i], err = wecs[i].copies(ctx, hubID)
		return err
	})
	workflows, err := listWorkflows(ctx, hub) // after the copies: a hub copy is there before its WEC copy
	if err != nil {
		return nil, err
	}
	answer := orphanList{Orphans: []orphan{}, Unchecked: []string{}}
	for i := range wecs {
		answer.Orphans = append(answer.Orphans, orphansAmong(wecs[i], copies[i], workflows, env.Now())...)
	}
	for _, err := range errs {
		answer.Unchecked = append(answer.Unchecked, err.Error())
	}
	if len(errs) > 0 {
		return answer, answeredError{fmt.Errorf("not every cluster could be asked: %w", errors.Join(errs...))}
	}
	return answer, nil
}

func (l orphanList) print(out io.Writer) error {
	if len(l.Orphans) == 0 {
		_, err := fmt.Fprintln(out, "No orphan was found.")
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	_, _ = fmt.Fprintln(table, "CLUSTER\tWORKFLOW\tPHASE\tATTEMPT\tAGE\tHUB UID\tWHY")
	for i := range l.Orphans {
		o := &l.Orphans[i]
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%s\t%s\t%s\n", o.Cluster, o.key(), firstOf(o.Phase, "-"), o.Attempt, o.age, firstOf(o.HubUID, "-"), o.Why)
	}
	return table.Flush()
}

// orphansAmong are the orphans among the copies of this hub on a cluster, by namespace and name. Workflows are all of the hub.
func orphansAmong(w storedWEC, copies, workflows []metav1.PartialObjectMetadata, now time.Time) []orphan {
	byUID := map[types.UID]*metav1.PartialObjectMetadata{}
	for i := range workflows {
		byUID[workflows[i].UID] = &workflows[i]
	}
	var orphans []orphan
	for i := range copies {
		wecCopy := &copies[i]
		hubUID := wecCopy.Annotations[stellarflow.AnnotationHubUID]
		why := unclaimed(w.Name, wecCopy, byUID[types.UID(hubUID)])
		if why == "" {
			continue
		}
		attempt, _ := strconv.Atoi(wecCopy.Annotations[stellarflow.AnnotationAttempt])
		orphans = append(orphans, orphan{
			Cluster: w.Name, Namespace: wecCopy.Namespace, Name: wecCopy.Name, UID: wecCopy.UID, HubUID: hubUID, Attempt: attempt,
			Phase: wecCopy.Labels[stellarflow.ArgoLabelPhase], Finished: stellarflow.Completed(wecCopy), Created: wecCopy.CreationTimestamp.UTC(),
			Why: why, age: duration.HumanDuration(now.Sub(wecCopy.CreationTimestamp.Time)),
		})
	}
	slices.SortFunc(orphans, func(a, b orphan) int { return cmp.Compare(a.key(), b.key()) })
	return orphans
}

// unclaimed says why no hub copy claims a WEC copy, given the one whose UID it names; empty if that does.
func unclaimed(cluster stellarflow.ClusterName, wecCopy, hubCopy *metav1.PartialObjectMetadata) string {
	hubUID := wecCopy.Annotations[stellarflow.AnnotationHubUID]
	if hubUID == "" {
		return "it does not say which Workflow of the hub it is the copy of"
	}
	if hubCopy == nil {
		return "no Workflow of the hub has the UID that it names"
	}
	placement, placed := stellarflow.PlacementOf(hubCopy)
	switch {
	case hubCopy.Namespace != wecCopy.Namespace || hubCopy.Name != wecCopy.Name:
		return fmt.Sprintf("the Workflow that it names is another, %s/%s", hubCopy.Namespace, hubCopy.Name)
	case !placed:
		return "" // the hub manager is about to restore the record
	case placement.Cluster != cluster:
		return fmt.Sprintf("its Workflow is placed on cluster %s (attempt %d)", placement.Cluster, placement.Attempt)
	case !placement.Owns(wecCopy):
		return fmt.Sprintf("its Workflow's record means another copy (attempt %d, UID %s)", placement.Attempt, firstOf(string(placement.WECUID), "not known"))
	}
	return ""
}

// parseOrphan reads CLUSTER NAMESPACE/NAME.
func parseOrphan(args []string) (stellarflow.ClusterName, client.ObjectKey, error) {
	namespace, name, found := strings.Cut(args[1], "/")
	if !found || namespace == "" || name == "" || strings.Contains(name, "/") {
		return "", client.ObjectKey{}, usagef("%q is not NAMESPACE/NAME: write it as `stellarflow orphans list` does", args[1])
	}
	return stellarflow.ClusterName(args[0]), client.ObjectKey{Namespace: namespace, Name: name}, nil
}

// twoArgs is the Args of a command that names an orphan.
func twoArgs(_ *cobra.Command, args []string) error {
	if len(args) != 2 {
		return errors.New("an orphan is named by two arguments: the cluster and NAMESPACE/NAME, as `stellarflow orphans list` shows them")
	}
	return nil
}
