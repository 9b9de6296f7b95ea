package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// eventRefused is the reason of the hub manager's event about a request that it does not do.
const eventRefused = "RequestRefused"

// eventWait is how long the event of an answer may come after the answer.
const eventWait = 5 * time.Second

type requestOptions struct {
	hub       *hubFlags
	namespace string
	yes, wait bool
	timeout   time.Duration
}

func abandonCommand(env Env) *cobra.Command {
	var o requestOptions
	cmd := &cobra.Command{
		Use:   "abandon WORKFLOW -n NAMESPACE",
		Short: "Give up a Workflow whose cluster is lost",
		Long: `Give up a Workflow whose cluster is lost: it ends on the hub as Error and can be deleted and resubmitted.

It may still run on that cluster, to its end, and write to the store; nobody on the hub will see it. Resubmit it only if running
twice does no harm. If the cluster comes back, the copy there is removed.`,
		Example: "  stellarflow abandon hello-world-x7k2p -n argo --yes",
		Args:    one("the Workflow's name"),
	}
	addRequestFlags(cmd, &o)
	cmd.Flags().BoolVar(&o.yes, "yes", false, "give it up although it may still run there")
	return env.runs(cmd, func(ctx context.Context, env Env, args []string) (any, error) {
		if !o.yes {
			return nil, usagef("%s/%s may still run on its cluster, to its end, and nobody on the hub will see it: add --yes to give it up all the same", o.namespace, args[0])
		}
		return ask(ctx, env, o, args[0], stellarflow.RequestAbandon)
	})
}

func moveCommand(env Env) *cobra.Command {
	var o requestOptions
	cmd := &cobra.Command{
		Use:   "move WORKFLOW -n NAMESPACE",
		Short: "Place a Workflow that has not started on another cluster",
		Long: `Place a Workflow that has not started on another cluster. It is done only where a start can be excluded: its cluster answers, the
copy there was never seen and is not there, and none can arrive any more. Otherwise the answer says why not.`,
		Example: "  stellarflow move hello-world-x7k2p -n argo",
		Args:    one("the Workflow's name"),
	}
	addRequestFlags(cmd, &o)
	return env.runs(cmd, func(ctx context.Context, env Env, args []string) (any, error) {
		return ask(ctx, env, o, args[0], stellarflow.RequestMove)
	})
}

func suspendCommand(env Env) *cobra.Command {
	var o requestOptions
	cmd := &cobra.Command{
		Use:   "suspend WORKFLOW -n NAMESPACE",
		Short: "Suspend a Workflow on its cluster",
		Long: `Suspend a Workflow on its cluster: steps that run go on, no further one begins. argo resume, and the UI's button, let it go on.

argo suspend and the UI's button do nothing on the hub, because the hub's own copy is suspended already: it never runs here.`,
		Example: "  stellarflow suspend hello-world-x7k2p -n argo",
		Args:    one("the Workflow's name"),
	}
	addRequestFlags(cmd, &o)
	return env.runs(cmd, func(ctx context.Context, env Env, args []string) (any, error) {
		return ask(ctx, env, o, args[0], stellarflow.RequestSuspend)
	})
}

func addRequestFlags(cmd *cobra.Command, o *requestOptions) {
	o.hub = addHubFlags(cmd, "")
	cmd.Flags().StringVarP(&o.namespace, "namespace", "n", "default", "`namespace` of the Workflow")
	cmd.Flags().BoolVar(&o.wait, "wait", true, "wait for the hub manager's answer")
	cmd.Flags().DurationVar(&o.timeout, "timeout", time.Minute, "how long to wait for it")
}

// requested is the answer of suspend, abandon and move.
type requested struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Request   string `json:"request"`
	// Done is false if nobody waited for the hub manager.
	Done bool `json:"done"`
	// Message is what the hub manager said.
	Message string `json:"message"`
}

func (r requested) print(out io.Writer) error {
	_, err := fmt.Fprintf(out, "%s/%s: %s\n", r.Namespace, r.Name, r.Message)
	return err
}

// ask asks the hub manager for something that only a person may decide, and waits for the answer.
func ask(ctx context.Context, env Env, o requestOptions, name, what string) (any, error) {
	hub, err := o.hub.connect()
	if err != nil {
		return nil, err
	}
	key := client.ObjectKey{Namespace: o.namespace, Name: name}
	workflow, err := readWorkflow(ctx, hub, key)
	if err != nil {
		return nil, err
	}
	if refusal := refuses(workflow, what); refusal != "" {
		return nil, fmt.Errorf("workflow %s %s", key, refusal)
	}
	asked := env.Now()
	if err := request(ctx, hub, key, workflow.GetUID(), what); err != nil {
		return nil, err
	}
	answer := requested{Namespace: key.Namespace, Name: key.Name, Request: what}
	if !o.wait {
		answer.Message = "the hub manager was asked: `stellarflow explain " + name + " -n " + o.namespace + "` shows what came of it"
		return answer, nil
	}
	answer.Message, err = awaitAnswer(ctx, hub, asking{workflow, what, asked, o.timeout})
	answer.Done = err == nil
	return answer, err
}

// readWorkflow reads a Workflow of the hub.
func readWorkflow(ctx context.Context, hub client.Client, key client.ObjectKey) (*unstructured.Unstructured, error) {
	workflow := &unstructured.Unstructured{}
	workflow.SetGroupVersionKind(stellarflow.WorkflowKind)
	err := hub.Get(ctx, key, workflow)
	switch {
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("workflow %s does not exist: `kubectl get workflows -A` lists those that do, -n names the namespace", key)
	case isNoMatch(err):
		return nil, errors.New("this cluster does not serve Workflows, so it is no hub: name the hub with --kubeconfig")
	case err != nil:
		return nil, fmt.Errorf("read workflow %s: %w", key, err)
	}
	return workflow, nil
}

// refuses says why a request makes no sense for a Workflow; empty if it does.
func refuses(workflow metav1.Object, what string) string {
	placement, placed := stellarflow.PlacementOf(workflow)
	switch {
	case !placed:
		return "is not placed on a cluster: `stellarflow explain` says why"
	case workflow.GetAnnotations()[stellarflow.AnnotationAbandoned] != "":
		return "was given up at " + workflow.GetAnnotations()[stellarflow.AnnotationAbandoned] + ": delete it, or resubmit it to run it again"
	case stellarflow.Completed(workflow) && what == stellarflow.RequestSuspend:
		return "has finished"
	case what == stellarflow.RequestSuspend && workflow.GetAnnotations()[stellarflow.AnnotationSuspended] == "true":
		return fmt.Sprintf("is suspended on cluster %s already", placement.Cluster)
	case stellarflow.Completed(workflow):
		return fmt.Sprintf("has finished: delete it; if that waits because cluster %s is lost for good, run `stellarflow leave %s`", placement.Cluster, placement.Cluster)
	case what != stellarflow.RequestAbandon && workflow.GetDeletionTimestamp() != nil:
		return "is being deleted: create it again under another name"
	}
	return ""
}

// request writes the annotation, on this object and no later one of its name.
func request(ctx context.Context, hub client.Client, key client.ObjectKey, uid types.UID, what string) error {
	patch := fmt.Sprintf(`{"metadata":{"uid":%q,"annotations":{%q:%q}}}`, uid, stellarflow.AnnotationRequest, what)
	workflow := stellarflow.NewWorkflowMetadata()
	workflow.Namespace, workflow.Name = key.Namespace, key.Name
	if err := hub.Patch(ctx, workflow, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		return fmt.Errorf("ask the hub manager to %s workflow %s: %w", what, key, err)
	}
	return nil
}

// asking is a request on its way.
type asking struct {
	// before is the Workflow as it was.
	before  *unstructured.Unstructured
	what    string
	asked   time.Time
	timeout time.Duration
}

// awaitAnswer waits for the hub manager's answer to a request. It fails if that is a refusal.
func awaitAnswer(ctx context.Context, hub client.Client, a asking) (string, error) {
	key := client.ObjectKeyFromObject(a.before)
	answer, refused := "", false
	_, err := poll(ctx, a.timeout, func(ctx context.Context) (bool, string, error) {
		now := a.before.NewEmptyInstance().(*unstructured.Unstructured)
		err := hub.Get(ctx, key, now)
		if apierrors.IsNotFound(err) || err == nil && now.GetUID() != a.before.GetUID() {
			answer = "it is gone from the hub"
			return true, "", nil
		}
		if err != nil {
			return false, "", fmt.Errorf("read workflow %s: %w", key, err)
		}
		var done bool
		done, answer, refused = answered(a.before, now, a.what)
		return done, "", nil
	})
	if errors.Is(err, context.DeadlineExceeded) && a.what == stellarflow.RequestSuspend {
		return "", fmt.Errorf("its cluster has not done it in %s: `stellarflow explain %s -n %s` says why; it stays asked for and is done when the cluster can be reached; `kubectl -n %s annotate workflow %s %s-` takes it back",
			a.timeout, key.Name, key.Namespace, key.Namespace, key.Name, stellarflow.AnnotationIntents)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "", fmt.Errorf("the hub manager has not answered in %s: check that it runs (`kubectl -n %s get pods`); the request stays and is done when it does; `kubectl -n %s annotate workflow %s %s-` takes it back",
			a.timeout, stellarflow.SystemNamespace, key.Namespace, key.Name, stellarflow.AnnotationRequest)
	}
	if err != nil {
		return "", err
	}
	if refused && a.what == stellarflow.RequestSuspend {
		return "", fmt.Errorf("workflow %s is not suspended: %s", key, answer)
	}
	if refused {
		return "", fmt.Errorf("workflow %s: the hub manager does not %s it: %s", key, a.what, refusalOf(ctx, hub, a.before.GetUID(), a.asked))
	}
	return answer, nil
}

// answered compares a Workflow before and after a request: whether there is an answer, what it says, and whether it is a refusal.
func answered(before, now *unstructured.Unstructured, what string) (done bool, says string, refused bool) {
	message, _, _ := unstructured.NestedString(now.Object, "status", "message")
	old, _ := stellarflow.PlacementOf(before)
	placement, _ := stellarflow.PlacementOf(now)
	switch {
	case what == stellarflow.RequestSuspend && !stellarflow.Completed(now):
		return suspendAnswered(now, placement.Cluster)
	case what == stellarflow.RequestAbandon && now.GetAnnotations()[stellarflow.AnnotationAbandoned] != "":
		return true, firstOf(message, "given up"), false
	case what == stellarflow.RequestMove && placement.Attempt > old.Attempt:
		return true, fmt.Sprintf("moved from cluster %s to cluster %s (attempt %d)", old.Cluster, placement.Cluster, placement.Attempt), false
	case stellarflow.Completed(now):
		return true, "it has finished meanwhile", true
	case now.GetAnnotations()[stellarflow.AnnotationRequest] == "":
		return true, "", true
	}
	return false, "", false
}

// suspendAnswered says what has become of a suspension that admission has taken.
func suspendAnswered(now *unstructured.Unstructured, cluster stellarflow.ClusterName) (done bool, says string, refused bool) {
	switch annotations := now.GetAnnotations(); {
	case annotations[stellarflow.AnnotationSuspended] == "true":
		return true, fmt.Sprintf("suspended on cluster %s: steps that run go on, no further one begins until argo resume", cluster), false
	case annotations[stellarflow.AnnotationIntents] != "":
		return false, "", false
	default:
		return true, firstOf(annotations[stellarflow.AnnotationRefused], "it was taken back"), true
	}
}

// refusalOf is the newest sentence with which the hub manager refused a request of a Workflow. The event may come a moment after
// the answer; one that was there before the request counts only if none comes.
func refusalOf(ctx context.Context, hub client.Client, uid types.UID, asked time.Time) string {
	says := "`kubectl get events` may say why"
	_, _ = poll(ctx, eventWait, func(ctx context.Context) (bool, string, error) {
		var events eventsv1.EventList
		if err := hub.List(ctx, &events, client.MatchingFields{"reason": eventRefused, "regarding.uid": string(uid)}); err != nil {
			return false, "", err
		}
		var newest time.Time
		for i := range events.Items {
			if at := lastSeen(&events.Items[i]); !at.Before(newest) {
				newest, says = at, events.Items[i].Note
			}
		}
		return !newest.Before(asked.Add(-time.Second)), "", nil // events of older kinds have whole seconds
	})
	return says
}

// lastSeen is when an event happened last.
func lastSeen(event *eventsv1.Event) time.Time {
	if event.Series != nil {
		return event.Series.LastObservedTime.Time
	}
	if !event.EventTime.IsZero() {
		return event.EventTime.Time
	}
	return event.DeprecatedLastTimestamp.Time
}

// abandonAll asks the hub manager to give Workflows up, and waits until it has done it for each.
func abandonAll(ctx context.Context, hub client.Client, workflows []placedWorkflow, limit time.Duration) error {
	for _, workflow := range workflows {
		key := client.ObjectKey{Namespace: workflow.Namespace, Name: workflow.Name}
		if err := request(ctx, hub, key, workflow.Placement.UID, stellarflow.RequestAbandon); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return err
		}
	}
	left := workflows
	_, err := poll(ctx, limit, func(ctx context.Context) (bool, string, error) {
		placed, err := listPlaced(ctx, hub)
		if err != nil {
			return false, "", err
		}
		left = still(workflows, placed)
		return len(left) == 0, "", nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("the hub manager has not given up %d Workflows in %s:%s\ncheck that it runs (`kubectl -n %s get pods`) and repeat this; the requests stay and are done when it does",
			len(left), limit, listed(left), stellarflow.SystemNamespace)
	}
	return err
}

// still are those of some Workflows that are placed and unfinished now, under the same record's UID.
func still(workflows, placed []placedWorkflow) []placedWorkflow {
	now := map[types.UID]bool{}
	for _, workflow := range unfinished(placed, "") {
		now[workflow.Placement.UID] = true
	}
	var left []placedWorkflow
	for _, workflow := range workflows {
		if now[workflow.Placement.UID] {
			left = append(left, workflow)
		}
	}
	return left
}
