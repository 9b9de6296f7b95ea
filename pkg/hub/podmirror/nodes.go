package podmirror

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/cluster"
)

const (
	// look is how often the connections are looked at.
	look = time.Second
	// beat is how often a Lease is renewed, and lives how long it counts: as a kubelet does it (kubelet config, nodeLeaseDurationSeconds).
	beat  = 10 * time.Second
	lives = 40 * time.Second
	// statusEvery is how often the status of a Node is written although nothing has changed (kubelet config, nodeStatusReportFrequency).
	statusEvery = 5 * time.Minute
)

// Fleet knows the connections.
type Fleet interface {
	Connections() []*cluster.Connection
	// Settled is false while connections may be missing that are about to be made.
	Settled() bool
}

// Nodes keeps a virtual Node on the hub for each connected WEC, and removes those of WECs that have left, with their mirrored pods. It is a
// manager.Runnable that needs leader election: the address on the Nodes is the leader's.
type Nodes struct {
	Hub kubernetes.Interface
	// Shown has the virtual Nodes and the mirrored pods, Cache the inventory.
	Shown, Cache client.Reader
	Fleet        Fleet
	Mirrorer     *Mirrorer
	// Endpoint is where this process serves what is asked of pods.
	Endpoint Endpoint
	Log      logr.Logger
	Now      func() time.Time

	renewed map[stellarflow.ClusterName]time.Time // when the Leases were
}

// NeedLeaderElection is true.
func (n *Nodes) NeedLeaderElection() bool { return true }

// Start keeps the Nodes until ctx ends. They stay then: another manager goes on, or none, and what is shown is what was last known.
func (n *Nodes) Start(ctx context.Context) error {
	n.renewed = map[stellarflow.ClusterName]time.Time{}
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		if err := n.keep(ctx); err != nil && ctx.Err() == nil {
			n.Log.Info("virtual nodes are not up to date", "error", oneLine(err.Error()))
		}
	}, look)
	return nil
}

func (n *Nodes) keep(ctx context.Context) error {
	var problems []error
	for _, connection := range n.Fleet.Connections() {
		problems = append(problems, n.ensure(ctx, connection.State()))
	}
	if n.Fleet.Settled() {
		problems = append(problems, n.sweep(ctx))
	}
	return errors.Join(problems...)
}

// ensure keeps the Node of one WEC.
func (n *Nodes) ensure(ctx context.Context, state cluster.State) error {
	if !state.Tried {
		return nil // what is said of it may change in a moment
	}
	want, node := Node(state.Name), &corev1.Node{}
	switch err := n.Shown.Get(ctx, client.ObjectKeyFromObject(want), node); {
	case apierrors.IsNotFound(err):
		if node, err = n.Hub.CoreV1().Nodes().Create(ctx, want, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("create node %s: %w", want.Name, err)
		}
	case err != nil:
		return fmt.Errorf("read node %s from the cache: %w", want.Name, err)
	}
	if now := n.Now(); now.Sub(n.renewed[state.Name]) >= beat {
		if err := n.renew(ctx, node); err != nil {
			return err
		}
		n.renewed[state.Name] = now
	}
	next := node.DeepCopy()
	change(&next.Status, NodeStatus(state, n.Endpoint, n.Now()))
	if equality.Semantic.DeepEqual(next.Status, node.Status) {
		return nil
	}
	if _, err := n.Hub.CoreV1().Nodes().UpdateStatus(ctx, next, metav1.UpdateOptions{}); err != nil && !apierrors.IsConflict(err) {
		return fmt.Errorf("write the status of node %s: %w", want.Name, err)
	}
	return nil
}

// change brings a Node's status up to date. What others have written, conditions of other types say, stays; a condition that says the same is
// written again only so often.
func change(status *corev1.NodeStatus, want corev1.NodeStatus) {
	conditions := slices.DeleteFunc(slices.Clone(status.Conditions), func(c corev1.NodeCondition) bool {
		return slices.ContainsFunc(want.Conditions, func(ours corev1.NodeCondition) bool { return ours.Type == c.Type })
	})
	for _, ours := range want.Conditions {
		i := slices.IndexFunc(status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == ours.Type })
		if i >= 0 {
			before := status.Conditions[i]
			if before.Status == ours.Status && before.Reason == ours.Reason && before.Message == ours.Message && ours.LastHeartbeatTime.Sub(before.LastHeartbeatTime.Time) < statusEvery {
				ours = before
			} else if before.Status == ours.Status {
				ours.LastTransitionTime = before.LastTransitionTime
			}
		}
		conditions = append(conditions, ours)
	}
	want.Conditions = conditions
	want.Images, want.VolumesInUse, want.VolumesAttached = status.Images, status.VolumesInUse, status.VolumesAttached
	*status = want
}

// renew keeps the Lease of a Node, without which the node lifecycle controller takes it for dead.
func (n *Nodes) renew(ctx context.Context, node *corev1.Node) error {
	leases := n.Hub.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	now := metav1.NewMicroTime(n.Now())
	lease, err := leases.Get(ctx, node.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = leases.Create(ctx, &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{
				Name:            node.Name,
				OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}},
			},
			Spec: coordinationv1.LeaseSpec{HolderIdentity: ptr.To(node.Name), LeaseDurationSeconds: ptr.To(int32(lives / time.Second)), RenewTime: &now},
		}, metav1.CreateOptions{})
	} else if err == nil {
		lease.Spec.RenewTime = &now
		lease.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}}
		_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
	}
	if err != nil && !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("renew the lease of node %s: %w", node.Name, err)
	}
	return nil
}

// sweep removes what stands for WECs that have left: a cluster that only cannot be reached has not.
func (n *Nodes) sweep(ctx context.Context) error {
	var nodes corev1.NodeList
	var mirrors corev1.PodList
	for _, list := range []client.ObjectList{&nodes, &mirrors} {
		if err := n.Shown.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return fmt.Errorf("list what stands for clusters: %w", err)
		}
	}
	left := map[stellarflow.ClusterName]bool{}
	check := func(name stellarflow.ClusterName) (bool, error) {
		if gone, checked := left[name]; checked {
			return gone, nil
		}
		err := n.Cache.Get(ctx, types.NamespacedName{Name: string(name)}, &clusterv1.ManagedCluster{})
		if err != nil && !apierrors.IsNotFound(err) {
			return false, fmt.Errorf("read managed cluster %q: %w", name, err)
		}
		left[name] = err != nil
		return left[name], nil
	}
	var problems []error
	for i := range mirrors.Items {
		mirror := &mirrors.Items[i]
		name, ours := MirrorOf(mirror)
		if !ours {
			continue
		}
		gone, err := check(name)
		if err == nil && gone {
			err = n.Mirrorer.remove(ctx, mirror)
		}
		problems = append(problems, err)
	}
	for i := range nodes.Items {
		node := &nodes.Items[i]
		name, ours := OfCluster(node)
		if !ours {
			continue
		}
		gone, err := check(name)
		if err == nil && gone {
			err = client.IgnoreNotFound(n.Hub.CoreV1().Nodes().Delete(ctx, node.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(node.UID))}))
		}
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}
