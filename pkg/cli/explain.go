package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/bindingpolicy"
	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// explanation is what explain says of a Workflow.
type explanation struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Phase     string `json:"phase,omitempty"`
	Message   string `json:"message,omitempty"`
	Suspended bool   `json:"suspended"`
	// Placement is nil while there is none.
	Placement *stellarflow.Placement `json:"placement,omitempty"`
	// Sync says how the status came or why it does not; LastSync is when it was mirrored last.
	Sync     string     `json:"sync,omitempty"`
	LastSync *time.Time `json:"lastSync,omitempty"`
	// Shutdown says whether what was asked with spec.shutdown has reached the cluster; empty if nothing was, or it has ended.
	Shutdown string `json:"shutdown,omitempty"`
	// Suspend says how it can be suspended; empty if argo suspend does that, or it is suspended or has ended.
	Suspend string `json:"suspend,omitempty"`
	// Actions says what people asked for on the hub that waits for the cluster, was refused there, and how often each was done.
	Actions []string `json:"actions,omitempty"`
	// Dependencies are what it needs on the cluster; empty if nothing, or if that is not known yet.
	Dependencies []dependency `json:"dependencies,omitempty"`
	// Accounts are the ServiceAccounts of its pods, less default, as far as they are known.
	Accounts []string `json:"serviceAccounts,omitempty"`
	// Summary is one sentence about where it runs or why not.
	Summary  string    `json:"summary"`
	Policies []verdict `json:"policies"`
	Clusters []verdict `json:"clusters"`
}

// verdict is what a policy or a cluster means for the Workflow.
type verdict struct {
	Name    string `json:"name"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// maxSaid bounds a sentence that quotes what somebody wrote, in bytes.
const maxSaid = 1024

// Reasons of a cluster beside those of bindingpolicy.
const (
	reasonPlaced = "Placed"
	reasonChosen = "Chosen"
)

func explainCommand(env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "explain WORKFLOW -n NAMESPACE",
		Short:   "Say where a Workflow runs, or why it does not",
		Long:    "Say where a Workflow runs, or why it does not: each policy's verdict, each cluster with the reason, the placement, the last sync, and\nwhat it needs there and where that came from.",
		Example: "  stellarflow explain hello-world-x7k2p -n argo",
		Args:    one("the Workflow's name"),
	}
	hubFlags := addHubFlags(cmd, "")
	namespace := cmd.Flags().StringP("namespace", "n", "default", "`namespace` of the Workflow")
	return env.runs(cmd, func(ctx context.Context, _ Env, args []string) (any, error) {
		hub, err := hubFlags.connect()
		if err != nil {
			return nil, err
		}
		return explain(ctx, hub, client.ObjectKey{Namespace: *namespace, Name: args[0]})
	})
}

// explain reads the Workflow and everything that a decision about it is made from, and decides.
func explain(ctx context.Context, hub client.Client, key client.ObjectKey) (*explanation, error) {
	workflow, err := readWorkflow(ctx, hub, key)
	if err != nil {
		return nil, err
	}
	var policies v1alpha1.BindingPolicyList
	if err := hub.List(ctx, &policies); err != nil {
		return nil, fmt.Errorf("list binding policies: %w", err)
	}
	clusters, err := listClusters(ctx, hub)
	if err != nil {
		return nil, err
	}
	placed, err := listPlaced(ctx, hub)
	if err != nil {
		return nil, err
	}
	var namespace corev1.Namespace
	if err := hub.Get(ctx, client.ObjectKey{Name: key.Namespace}, &namespace); err != nil {
		return nil, fmt.Errorf("read namespace %s: %w", key.Namespace, err)
	}
	placement, isPlaced := stellarflow.PlacementOf(workflow)
	decision := bindingpolicy.Resolve(policies.Items, bindingpolicy.Workflow{
		Namespace: key.Namespace, Name: key.Name, Labels: workflow.GetLabels(), NamespaceLabels: namespace.Labels,
	}, inventoryOf(clusters, placed, key, placement.Refused))
	e := newExplanation(workflow, decision)
	if isPlaced {
		e.Placement = &placement
	}
	profile, err := presentProfile(ctx, hub)
	if apierrors.IsForbidden(err) { // who may only read Workflows is told as on a shared hub
		profile, err = stellarflow.ProfileShared, nil
	}
	e.conclude(workflow, decision, profile)
	return e, err
}

// newExplanation copies what the Workflow says and the verdicts.
func newExplanation(workflow *unstructured.Unstructured, decision bindingpolicy.Decision) *explanation {
	e := &explanation{Namespace: workflow.GetNamespace(), Name: workflow.GetName(), Policies: []verdict{}, Clusters: []verdict{}}
	e.Phase, _, _ = unstructured.NestedString(workflow.Object, "status", "phase")
	e.Message, _, _ = unstructured.NestedString(workflow.Object, "status", "message")
	e.Suspended, _, _ = unstructured.NestedBool(workflow.Object, "spec", "suspend")
	for _, policy := range decision.Policies {
		e.Policies = append(e.Policies, verdict{policy.Policy, string(policy.Reason), policy.Message})
	}
	if decision.Cluster != "" {
		e.Clusters = append(e.Clusters, verdict{string(decision.Cluster), reasonChosen, fmt.Sprintf("offered by policy %q.", decision.Policy)})
	}
	for _, cluster := range decision.Clusters {
		e.Clusters = append(e.Clusters, verdict{string(cluster.Cluster), string(cluster.Reason), cluster.Message})
	}
	return e
}

// conclude says in one sentence where the Workflow runs or why it does not, and how its status came.
func (e *explanation) conclude(workflow *unstructured.Unstructured, decision bindingpolicy.Decision, profile stellarflow.Profile) {
	if p := e.Placement; p != nil {
		e.Summary = fmt.Sprintf("Placed on cluster %q by policy %q since %s (attempt %d); a placement does not change.", p.Cluster, p.Policy, p.Time.UTC().Format(time.RFC3339), p.Attempt)
		for i := range e.Clusters {
			if e.Clusters[i].Name == string(p.Cluster) {
				e.Clusters[i] = verdict{string(p.Cluster), reasonPlaced, "it runs here, or ran here."}
			} else if e.Clusters[i].Reason == reasonChosen {
				e.Clusters[i].Reason, e.Clusters[i].Message = "Offered", "a Workflow like this would be placed here now."
			}
		}
		e.Sync, e.LastSync = syncOf(workflow)
		e.Shutdown, e.Actions = shutdownOf(workflow, p.Cluster), actionsOf(workflow, p.Cluster)
		e.Suspend, e.Dependencies, e.Accounts = suspendOf(workflow), dependenciesOf(workflow), accountsOf(workflow)
		return
	}
	switch {
	case !e.Suspended && profile == stellarflow.ProfileShared:
		e.Summary = "Not ours: spec.suspend is not true, so the hub runs it itself."
	case !e.Suspended && e.Phase != "" && workflow.GetAnnotations()[stellarflow.AnnotationWaiting] == "":
		e.Summary = fmt.Sprintf("Not ours: it has phase %s already, so it was begun elsewhere: resubmit it to run it.", e.Phase)
	case !decision.Selected:
		e.Summary = "Not ours: " + decision.Message()
	case decision.Cluster != "":
		e.Summary = fmt.Sprintf("Not placed yet; cluster %q would be chosen now: if that does not happen within seconds, check that the hub manager runs and that the Workflow has not started on the hub.", decision.Cluster)
	default:
		e.Summary = decision.Message()
	}
}

// syncOf says how the status of a placed Workflow came, and when. The time is that of the field manager's last write of
// the observed annotation: nothing else records it.
func syncOf(workflow *unstructured.Unstructured) (string, *time.Time) {
	var last *time.Time
	for _, entry := range workflow.GetManagedFields() {
		if entry.FieldsV1 != nil && entry.Time != nil && strings.Contains(entry.FieldsV1.GetRawString(), `"f:`+stellarflow.AnnotationObserved+`"`) {
			if at := entry.Time.UTC(); last == nil || at.After(*last) {
				last = &at
			}
		}
	}
	if trouble := workflow.GetAnnotations()[stellarflow.AnnotationSync]; trouble != "" {
		return trouble, last
	}
	observed, mirrored := stellarflow.ParseObserved(workflow.GetAnnotations()[stellarflow.AnnotationObserved])
	if !mirrored {
		return "Nothing was mirrored yet.", nil
	}
	return fmt.Sprintf("Mirrored from WEC copy %s at its resourceVersion %s.", observed.WECUID, observed.ResourceVersion), last
}

// shutdownOf says whether the cluster was told of spec.shutdown.
func shutdownOf(workflow *unstructured.Unstructured, cluster stellarflow.ClusterName) string {
	asked := stellarflow.Shutdown(workflow)
	if asked == "" || stellarflow.Completed(workflow) {
		return ""
	}
	if observed, mirrored := stellarflow.ParseObserved(workflow.GetAnnotations()[stellarflow.AnnotationObserved]); !mirrored || observed.Generation != workflow.GetGeneration() {
		return fmt.Sprintf("%s is not passed on to cluster %q yet.", asked, cluster)
	}
	return fmt.Sprintf("%s was passed on to cluster %q; it ends there.", asked, cluster)
}

// suspendOf says how a placed Workflow of a shared hub is suspended that is not.
func suspendOf(workflow *unstructured.Unstructured) string {
	if stellarflow.Completed(workflow) || stellarflow.FollowsWECCopy(workflow) || workflow.GetAnnotations()[stellarflow.AnnotationSuspended] == "true" {
		return ""
	}
	return fmt.Sprintf("With `stellarflow suspend %s -n %s`: argo suspend sends nothing, since the copy here always is.", workflow.GetName(), workflow.GetNamespace())
}

// actionsOf says what has become of what people asked for.
func actionsOf(workflow *unstructured.Unstructured, cluster stellarflow.ClusterName) []string {
	var lines []string
	if workflow.GetAnnotations()[stellarflow.AnnotationSuspended] == "true" {
		lines = append(lines, fmt.Sprintf("Suspended on cluster %q: no further step begins; argo resume lets it go on.", cluster))
	}
	waiting, err := stellarflow.IntentsOf(workflow)
	if err != nil {
		lines = append(lines, stellarflow.OneLine(err.Error(), maxSaid))
	}
	for _, intent := range waiting {
		lines = append(lines, fmt.Sprintf("%s, asked by %s at %s, waits for cluster %q.", intent.Kind, intent.Caller, intent.Time.UTC().Format(time.RFC3339), cluster))
	}
	if refused := workflow.GetAnnotations()[stellarflow.AnnotationRefused]; refused != "" {
		lines = append(lines, refused)
	}
	counts := stellarflow.ActionsOf(workflow)
	for _, kind := range stellarflow.IntentKinds {
		if count, found := counts[kind]; found {
			lines = append(lines, fmt.Sprintf("%s: done %d, refused %d.", kind, count.Done, count.Refused))
		}
	}
	return lines
}

func (e *explanation) print(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(table, "Workflow:\t%s/%s\n", e.Namespace, e.Name)
	_, _ = fmt.Fprintf(table, "Phase:\t%s\n", firstOf(e.Phase, "-"))
	if e.Message != "" {
		_, _ = fmt.Fprintf(table, "Message:\t%s\n", e.Message)
	}
	_, _ = fmt.Fprintf(table, "Placement:\t%s\n", e.Summary)
	if e.Sync != "" {
		sync := e.Sync
		if e.LastSync != nil {
			sync += " Last sync " + e.LastSync.Format(time.RFC3339) + "."
		}
		_, _ = fmt.Fprintf(table, "Sync:\t%s\n", sync)
	}
	if e.Shutdown != "" {
		_, _ = fmt.Fprintf(table, "Shutdown:\t%s\n", e.Shutdown)
	}
	if e.Suspend != "" {
		_, _ = fmt.Fprintf(table, "Suspend:\t%s\n", e.Suspend)
	}
	for i, action := range e.Actions {
		_, _ = fmt.Fprintf(table, "%s\t%s\n", []string{"Actions:", ""}[min(i, 1)], action)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if err := e.printDependencies(table); err != nil {
		return err
	}
	for _, section := range []struct {
		title, empty string
		verdicts     []verdict
	}{
		{"Policies:", "  none: create a BindingPolicy that selects this Workflow and a cluster", e.Policies},
		{"Clusters:", "  none: run `stellarflow join NAME --kubeconfig FILE`", e.Clusters},
	} {
		_, _ = fmt.Fprintf(table, "\n%s\n", section.title)
		for _, v := range section.verdicts {
			_, _ = fmt.Fprintf(table, "  %s\t%s\t%s\n", v.Name, v.Reason, v.Message)
		}
		if len(section.verdicts) == 0 {
			_, _ = fmt.Fprintln(table, section.empty)
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	return nil
}
