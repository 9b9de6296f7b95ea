package cli

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

type leaveOptions struct {
	joinOptions
	force bool
}

func leaveCommand(env Env) *cobra.Command {
	var o leaveOptions
	cmd := &cobra.Command{
		Use:   "leave NAME",
		Short: "Take a cluster out",
		Long: `Take a cluster out: remove the hub's credential for it and its ManagedCluster (if join created that). With --kubeconfig, what join
created on the cluster is removed too. It can be repeated if it was interrupted.

It is refused while unfinished Workflows are placed there. With --force each of them is given up first, as by abandon: it ends on
the hub as Error, may still run on the cluster, and its copy is removed there if the cluster ever joins again.`,
		Example: "  stellarflow leave cluster1 --kubeconfig cluster1.kubeconfig",
		Args:    one("the cluster's name"),
	}
	cmd.Flags().StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig `file` of the cluster, to remove what join created there")
	cmd.Flags().StringVar(&o.context, "context", "", "`context` in it (default: its current one)")
	cmd.Flags().StringVar(&o.server, "server", "", "`URL` of the cluster's API server (default: that of the kubeconfig)")
	cmd.Flags().BoolVar(&o.force, "force", false, "give up the unfinished Workflows that are placed there")
	cmd.Flags().DurationVar(&o.timeout, "timeout", time.Minute, "how long to wait until the hub manager has given them up")
	o.hub = addHubFlags(cmd, "hub-")
	return env.runs(cmd, func(ctx context.Context, env Env, args []string) (any, error) {
		o.name = args[0]
		return leave(ctx, env, o)
	})
}

// leaving is a leave on its way.
type leaving struct {
	env     Env
	hub     client.Client
	name    string
	cluster *clusterv1.ManagedCluster // nil if only the credential is left
	admin   *wecAdmin                 // nil without --kubeconfig
	*removed
}

func leave(ctx context.Context, env Env, o leaveOptions) (any, error) {
	l := &leaving{env: env, name: o.name, removed: newRemoved()}
	if o.kubeconfig != "" { // checked before anything is removed
		_, config, err := checkJoin(env, o.joinOptions)
		if err != nil {
			return nil, err
		}
		if l.admin, err = connectWEC(config); err != nil {
			return nil, err
		}
	}
	var err error
	if l.hub, err = o.hub.connect(); err != nil {
		return nil, err
	}
	if l.cluster, err = findCluster(ctx, l.hub, o.name); err != nil {
		return nil, err
	}
	if l.admin != nil {
		if err := checkSame(ctx, l.admin, l.cluster, o.name); err != nil {
			return nil, err
		}
	}
	if err := l.giveUp(ctx, o); err != nil {
		return nil, err
	}
	return l.removed, l.remove(ctx)
}

// giveUp refuses to leave unfinished Workflows behind, or ends them on the hub if that is forced.
func (l *leaving) giveUp(ctx context.Context, o leaveOptions) error {
	placed, err := listPlaced(ctx, l.hub)
	if err != nil {
		return err
	}
	running := unfinished(placed, stellarflow.ClusterName(l.name))
	if len(running) == 0 {
		return nil
	}
	if !o.force {
		return fmt.Errorf("%d unfinished Workflows are placed on %q:%s\nwait for them, delete them, or use --force: they may then still run there", len(running), l.name, listed(running))
	}
	l.env.sayf("these end on the hub and may still run on %s; their copies are removed there if it joins again:%s", l.name, listed(running))
	l.MayRun = keysOf(running)
	return abandonAll(ctx, l.hub, running, o.timeout)
}

// remove deletes what a join created: first what makes the hub manager place and act there, last the credential, by which a second
// leave finds the rest if this one is interrupted.
func (l *leaving) remove(ctx context.Context) error {
	if err := l.removeCluster(ctx); err != nil {
		return err
	}
	placed, err := listPlaced(ctx, l.hub)
	if err != nil {
		return err
	}
	if late := unfinished(placed, stellarflow.ClusterName(l.name)); len(late) > 0 {
		return fmt.Errorf("%d Workflows were placed on %q while it left:%s\nrun leave again with --force, or join it again", len(late), l.name, listed(late))
	}
	if len(l.MayRun) > 0 {
		l.releaseHarvest(ctx)
	}
	l.removeCopies(ctx)
	if l.admin == nil {
		l.env.sayf("what join created on the cluster stays there: run leave with --kubeconfig to remove it, or delete its namespace %s", stellarflow.SystemNamespace)
	} else if err := l.removeFromWEC(ctx); err != nil {
		return err
	}
	key := credentialKey(l.name)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	if err := client.IgnoreNotFound(l.hub.Delete(ctx, secret)); err != nil {
		return fmt.Errorf("delete secret %s: %w", key, err)
	}
	l.deleted("Secret "+key.String(), "the hub")
	return nil
}

func (l *leaving) deleted(what, where string) {
	l.Deleted = append(l.Deleted, what+" on "+where)
	l.env.sayf("deleted %s on %s", what, where)
}

// releaseHarvest takes our finalizer from what was given up, if the cluster answers: it is that cluster's own now.
func (l *leaving) releaseHarvest(ctx context.Context) {
	w, hubID, err := l.stored(ctx)
	if err == nil {
		_, err = w.releaseHarvest(ctx, hubID)
	}
	if err != nil {
		l.env.sayf("warning: %v: the Workflows that were given up keep the finalizer %s there, until it joins again or somebody removes it", err, stellarflow.FinalizerHarvest)
	}
}

func (l *leaving) removeFromWEC(ctx context.Context) error {
	objects, err := wecLeftovers()
	if err != nil {
		return err
	}
	// A cluster can be a hub too: its manager and what belongs to it live in the same namespace.
	if err := l.admin.client.Get(ctx, managerKey(), &appsv1.Deployment{}); err == nil {
		objects = slices.DeleteFunc(objects, func(object *unstructured.Unstructured) bool { return object.GetKind() == "Namespace" })
	}
	return deleteAll(ctx, l.admin.client, objects, func(what string) { l.deleted(what, l.name) })
}

// findCluster reads a ManagedCluster; it is nil if only the credential is left of it.
func findCluster(ctx context.Context, hub client.Client, name string) (*clusterv1.ManagedCluster, error) {
	var cluster clusterv1.ManagedCluster
	err := hub.Get(ctx, client.ObjectKey{Name: name}, &cluster)
	if err == nil {
		return &cluster, nil
	}
	if !apierrors.IsNotFound(err) && !isNoMatch(err) {
		return nil, fmt.Errorf("read managed cluster %s: %w", name, err)
	}
	err = hub.Get(ctx, credentialKey(name), &corev1.Secret{})
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("cluster %q is not joined: `stellarflow clusters` lists those that are", name)
	}
	return nil, err
}

// checkSame refuses to clean up a cluster other than the one that was joined.
func checkSame(ctx context.Context, admin *wecAdmin, cluster *clusterv1.ManagedCluster, name string) error {
	var system corev1.Namespace
	if err := admin.client.Get(ctx, client.ObjectKey{Name: metav1.NamespaceSystem}, &system); err != nil {
		return fmt.Errorf("read namespace kube-system of %q: %w: leave without --kubeconfig if it is gone for good", name, err)
	}
	if cluster == nil {
		return nil
	}
	if id := clusterID(cluster); id != "" && id != string(system.UID) {
		return fmt.Errorf("--kubeconfig is of another cluster than %q (UID of kube-system %s, that of %s is %s): give the right one, or none", name, system.UID, name, id)
	}
	return nil
}

// removeCluster deletes the ManagedCluster, or what join wrote on one that is somebody else's.
func (l *leaving) removeCluster(ctx context.Context) error {
	switch {
	case l.cluster == nil:
	case isOurs(l.cluster):
		if err := client.IgnoreNotFound(l.hub.Delete(ctx, l.cluster)); err != nil {
			return fmt.Errorf("delete managed cluster %s: %w", l.name, err)
		}
		l.deleted("ManagedCluster "+l.name, "the hub")
	default:
		before := l.cluster.DeepCopy()
		after := l.cluster.DeepCopy()
		for _, annotation := range []string{stellarflow.AnnotationClusterID, stellarflow.AnnotationNamespaces, stellarflow.AnnotationArgoVersion} {
			delete(after.Annotations, annotation)
		}
		if err := l.hub.Patch(ctx, after, client.MergeFrom(before)); err != nil {
			return fmt.Errorf("remove our annotations from managed cluster %s: %w", l.name, err)
		}
		l.env.sayf("ManagedCluster %s was not created by join: it stays", l.name)
	}
	return nil
}
