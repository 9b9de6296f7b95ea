package cli

import (
	"context"
	"fmt"
	"slices"

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

func leaveCommand(env Env) *cobra.Command {
	var o joinOptions
	cmd := &cobra.Command{
		Use:   "leave NAME",
		Short: "Take a cluster out",
		Long: `Take a cluster out: remove the hub's credential for it and its ManagedCluster (if join created that). It is refused while
unfinished Workflows are placed there. With --kubeconfig, what join created on the cluster is removed too.`,
		Args: one("the cluster's name"),
	}
	cmd.Flags().StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig `file` of the cluster, to remove what join created there")
	cmd.Flags().StringVar(&o.context, "context", "", "`context` in it (default: its current one)")
	cmd.Flags().StringVar(&o.server, "server", "", "`URL` of the cluster's API server (default: that of the kubeconfig)")
	o.hub = addHubFlags(cmd, "hub-")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.name = args[0]
		return leave(cmd.Context(), env, o)
	}
	return cmd
}

func leave(ctx context.Context, env Env, o joinOptions) error {
	var admin *wecAdmin
	if o.kubeconfig != "" { // checked before anything is removed
		_, config, err := checkJoin(env, o)
		if err != nil {
			return err
		}
		if admin, err = connectWEC(config); err != nil {
			return err
		}
	}
	_, hub, err := o.hub.connect()
	if err != nil {
		return err
	}
	cluster, err := findCluster(ctx, hub, o.name)
	if err != nil {
		return err
	}
	placed, err := listPlaced(ctx, hub)
	if err != nil {
		return err
	}
	if running := unfinished(placed, stellarflow.ClusterName(o.name)); len(running) > 0 {
		return fmt.Errorf("%d unfinished Workflows are placed on %q:%s\nwait for them, or delete them", len(running), o.name, listed(running))
	}
	if admin != nil {
		if err := checkSame(ctx, admin, cluster, o.name); err != nil {
			return err
		}
	}
	if err := removeFromHub(ctx, env, hub, cluster, o.name); err != nil {
		return err
	}
	if admin == nil {
		env.sayf("what join created on the cluster stays there: run leave with --kubeconfig to remove it, or delete its namespace %s", stellarflow.SystemNamespace)
		return nil
	}
	objects, err := wecLeftovers()
	if err != nil {
		return err
	}
	// A cluster can be a hub too: its manager and what belongs to it live in the same namespace.
	if err := admin.client.Get(ctx, client.ObjectKey{Namespace: stellarflow.SystemNamespace, Name: hubDeployment}, &appsv1.Deployment{}); err == nil {
		objects = slices.DeleteFunc(objects, func(object *unstructured.Unstructured) bool { return object.GetKind() == "Namespace" })
	}
	return deleteAll(ctx, admin.client, objects, func(what string) { env.sayf("deleted %s on %s", what, o.name) })
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

// removeFromHub deletes the credential and the ManagedCluster, or what join wrote on one that is somebody else's.
func removeFromHub(ctx context.Context, env Env, hub client.Client, cluster *clusterv1.ManagedCluster, name string) error {
	key := credentialKey(name)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	if err := client.IgnoreNotFound(hub.Delete(ctx, secret)); err != nil {
		return fmt.Errorf("delete secret %s: %w", key, err)
	}
	env.sayf("deleted Secret %s on the hub", key)
	switch {
	case cluster == nil:
	case isOurs(cluster):
		if err := client.IgnoreNotFound(hub.Delete(ctx, cluster)); err != nil {
			return fmt.Errorf("delete managed cluster %s: %w", name, err)
		}
		env.sayf("deleted ManagedCluster %s on the hub", name)
	default:
		before := cluster.DeepCopy()
		for _, annotation := range []string{stellarflow.AnnotationClusterID, stellarflow.AnnotationNamespaces, stellarflow.AnnotationArgoVersion} {
			delete(cluster.Annotations, annotation)
		}
		if err := hub.Patch(ctx, cluster, client.MergeFrom(before)); err != nil {
			return fmt.Errorf("remove our annotations from managed cluster %s: %w", name, err)
		}
		env.sayf("ManagedCluster %s was not created by join: it stays", name)
	}
	return nil
}
