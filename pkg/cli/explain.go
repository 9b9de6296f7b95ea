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

// Reasons of a cluster beside those of bindingpolicy.
const (
	reasonPlaced = "Placed"
	reasonChosen = "Chosen"
)

func explainCommand(env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "explain WORKFLOW -n NAMESPACE",
		Short:   "Say where a Workflow runs, or why it does not",
		Long:    "Say where a Workflow runs, or why it does not: each policy's verdict, each cluster with the reason, the placement and the last sync.",
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
	e.conclude(workflow, decision)
	return e, nil
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
func (e *explanation) conclude(workflow *unstructured.Unstructured, decision bindingpolicy.Decision) {
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
		e.Shutdown = shutdownOf(workflow, p.Cluster)
		return
	}
	switch {
	case !e.Suspended:
		e.Summary = "Not ours: spec.suspend is not true, so the hub runs it itself."
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
	if err := table.Flush(); err != nil {
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
