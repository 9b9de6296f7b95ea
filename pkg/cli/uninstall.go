package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

func uninstallCommand(env Env) *cobra.Command {
	var force, crds bool
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Remove the hub from a cluster",
		Long: `Remove the hub from a cluster: the manager, its rights, the guard, the credentials of the clusters and of the store, and our
finalizer from every Workflow, so that none waits for ever.

It is refused while placed Workflows are unfinished. With --force it goes on: they may still run on their clusters, and the
Argo controller of the hub will show them as failed. From their copies on clusters that answer our finalizer is taken too; what
has to be done by hand on the others is said. What install has added to Argo's UI goes too. Policies, transforms, clusters and their CRDs stay, unless --crds is given.`,
		Args: none,
	}
	hubFlags := addHubFlags(cmd, "")
	cmd.Flags().BoolVar(&force, "force", false, "go on although placed Workflows are unfinished")
	cmd.Flags().BoolVar(&crds, "crds", false, "remove our CRDs too, and with them every BindingPolicy, CustomTransform and (unless they are not ours) ManagedCluster")
	return env.runs(cmd, func(ctx context.Context, env Env, _ []string) (any, error) {
		hub, err := hubFlags.connect()
		if err != nil {
			return nil, err
		}
		return uninstall(ctx, env, hub, force, crds)
	})
}

// removed is the answer of uninstall and leave.
type removed struct {
	// Deleted are the objects, Kind namespace/name.
	Deleted []string `json:"deleted"`
	// Released are the Workflows that our finalizer was taken from, MayRun those that may still run on their clusters.
	Released []string `json:"released"`
	MayRun   []string `json:"mayStillRun"`
}

func newRemoved() *removed {
	return &removed{Deleted: []string{}, Released: []string{}, MayRun: []string{}}
}

func uninstall(ctx context.Context, env Env, hub client.Client, force, crds bool) (any, error) {
	placed, err := listPlaced(ctx, hub)
	if err != nil {
		return nil, err
	}
	running := slices.DeleteFunc(unfinished(placed, ""), func(workflow placedWorkflow) bool {
		return !slices.Contains(workflow.Finalizers, stellarflow.FinalizerCleanup) // released by an earlier uninstall
	})
	answer := newRemoved()
	if len(running) > 0 {
		if !force {
			return nil, fmt.Errorf("%d placed Workflows are unfinished:%s\nwait for them or delete them, or use --force: they may then still run on their clusters", len(running), listed(running))
		}
		env.sayf("these may still run on their clusters, where nobody watches them now:%s", listed(running))
		answer.MayRun = keysOf(running)
	}
	return answer, answer.uninstall(ctx, env, hub, crds)
}

// uninstall removes everything in the order in which nothing is left in anybody's way.
func (r *removed) uninstall(ctx context.Context, env Env, hub client.Client, crds bool) error {
	objects, err := renderHub(renderOptions{Controllers: []string{"unused"}})
	if err != nil {
		return err
	}
	report := func(what string) {
		r.Deleted = append(r.Deleted, what)
		env.sayf("deleted %s", what)
	}
	guard, manager, rest, definitions := uninstallOrder(objects)
	// The manager first, or it would put back what is taken away; then the guard, which would refuse the finalizers' removal.
	for _, step := range [][]*unstructured.Unstructured{manager, guard} {
		if err := deleteAll(ctx, hub, step, report); err != nil {
			return err
		}
	}
	if err := waitNoPods(ctx, hub); err != nil {
		return err
	}
	if err := removeVirtual(ctx, hub, report); err != nil {
		return err
	}
	if r.Released, err = releaseAll(ctx, env, hub); err != nil {
		return err
	}
	if err := releaseClusters(ctx, env, hub); err != nil { // with credentials that the next step deletes
		return err
	}
	if err := deleteAll(ctx, hub, rest, report); err != nil {
		return err
	}
	if err := waitGone(ctx, hub); err != nil {
		return err
	}
	showClusters(ctx, env, hub, "", true)
	if !crds {
		env.sayf("policies, transforms, clusters and their CRDs stay (--crds removes them)")
		return nil
	}
	return deleteDefinitions(ctx, hub, definitions, report)
}

// uninstallOrder sorts what is installed into the steps of its removal.
func uninstallOrder(objects []*unstructured.Unstructured) (guard, manager, rest, definitions []*unstructured.Unstructured) {
	for _, object := range slices.Backward(objects) { // bindings before policies, the Namespace last
		switch kind := object.GetKind(); {
		case isGuard(kind):
			guard = append(guard, object)
		case kind == "Deployment":
			manager = append(manager, object)
		case kind == "CustomResourceDefinition":
			definitions = append(definitions, object)
		default:
			rest = append(rest, object)
		}
	}
	return guard, manager, rest, definitions
}

// isGuard reports whether objects of a kind are the guard: the policies and the webhooks.
func isGuard(kind string) bool {
	return strings.HasPrefix(kind, "ValidatingAdmissionPolicy") || strings.HasSuffix(kind, "WebhookConfiguration")
}

// waitNoPods waits until the manager has ended.
func waitNoPods(ctx context.Context, hub client.Client) error {
	said, err := poll(ctx, time.Minute, func(ctx context.Context) (bool, string, error) {
		pods, err := managerPods(ctx, hub)
		return err == nil && len(pods) == 0, fmt.Sprintf("%d pods are left", len(pods)), err
	})
	if err != nil {
		return fmt.Errorf("wait until the manager has ended: %w (%s): look at `kubectl -n %s get pods` and run uninstall again", err, said, stellarflow.SystemNamespace)
	}
	return nil
}

// managerPods are the pods of the manager that exist, those that are about to end included.
func managerPods(ctx context.Context, hub client.Client) ([]corev1.Pod, error) {
	var pods corev1.PodList
	if err := hub.List(ctx, &pods, client.InNamespace(stellarflow.SystemNamespace), client.MatchingLabels{"app.kubernetes.io/name": hubDeployment}); err != nil {
		return nil, fmt.Errorf("list the manager's pods: %w", err)
	}
	return pods.Items, nil
}

// releaseAll takes our finalizer from every Workflow of the hub and returns those that had it. API servers learn of the guard's
// removal after a moment, so a refusal by it is tried again.
func releaseAll(ctx context.Context, env Env, hub client.Client) ([]string, error) {
	workflows, err := listWorkflows(ctx, hub)
	if err != nil {
		return nil, err
	}
	released := []string{}
	for i := range workflows {
		if !slices.Contains(workflows[i].Finalizers, stellarflow.FinalizerCleanup) {
			continue
		}
		key := client.ObjectKeyFromObject(&workflows[i])
		said, err := poll(ctx, 30*time.Second, func(ctx context.Context) (bool, string, error) {
			err := release(ctx, hub, key)
			switch {
			case err == nil:
				return true, "", nil
			case apierrors.IsForbidden(err), apierrors.IsInvalid(err), apierrors.IsConflict(err):
				return false, err.Error(), nil
			}
			return false, "", err
		})
		if err != nil {
			return nil, fmt.Errorf("remove finalizer %s from workflow %s: %w (%s)", stellarflow.FinalizerCleanup, key, err, said)
		}
		released = append(released, key.String())
	}
	if len(released) > 0 {
		env.sayf("removed finalizer %s from %d Workflows", stellarflow.FinalizerCleanup, len(released))
	}
	return released, nil
}

// release takes our finalizer from one Workflow, with a test on the value at its index. What may run elsewhere is left suspended: a dedicated
// hub may get an Argo controller.
func release(ctx context.Context, hub client.Client, key client.ObjectKey) error {
	workflow := stellarflow.NewWorkflowMetadata()
	if err := hub.Get(ctx, key, workflow); err != nil {
		return client.IgnoreNotFound(err)
	}
	i := slices.Index(workflow.Finalizers, stellarflow.FinalizerCleanup)
	if i < 0 {
		return nil
	}
	suspend := ""
	if stellarflow.FollowsWECCopy(workflow) { // the ended ones too: a resubmitted copy has their spec
		suspend = `,{"op":"add","path":"/spec/suspend","value":true},{"op":"remove","path":"/metadata/annotations/` +
			strings.ReplaceAll(stellarflow.AnnotationFollows, "/", "~1") + `"}`
	}
	patch := fmt.Sprintf(`[{"op":"test","path":"/metadata/finalizers/%d","value":%q},{"op":"remove","path":"/metadata/finalizers/%d"}%s]`, i, stellarflow.FinalizerCleanup, i, suspend)
	return client.IgnoreNotFound(hub.Patch(ctx, workflow, client.RawPatch(types.JSONPatchType, []byte(patch))))
}

// waitGone waits until our Namespace is gone, so that an installation may follow at once.
func waitGone(ctx context.Context, hub client.Client) error {
	said, err := poll(ctx, time.Minute, func(ctx context.Context) (bool, string, error) {
		var namespace corev1.Namespace
		err := hub.Get(ctx, systemNamespace(), &namespace)
		if apierrors.IsNotFound(err) {
			return true, "", nil
		}
		said := "it is " + string(namespace.Status.Phase)
		for _, condition := range namespace.Status.Conditions {
			if condition.Status == corev1.ConditionTrue {
				said += "; " + condition.Message
			}
		}
		return false, said, err
	})
	if err != nil {
		return fmt.Errorf("wait until namespace %s is gone: %w (%s)", stellarflow.SystemNamespace, err, said)
	}
	return nil
}

// deleteDefinitions deletes our CRDs; ManagedCluster only if it was installed by us.
func deleteDefinitions(ctx context.Context, hub client.Client, definitions []*unstructured.Unstructured, report func(string)) error {
	for _, definition := range definitions {
		foreign, err := foreignCRD(ctx, hub, definition.GetName())
		if err != nil {
			return err
		}
		if foreign {
			continue
		}
		if err := deleteAll(ctx, hub, []*unstructured.Unstructured{definition}, report); err != nil {
			return err
		}
	}
	return nil
}
