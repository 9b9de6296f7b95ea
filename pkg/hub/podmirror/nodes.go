package podmirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"
	clusterv1 "open-cluster-management.io/api/cluster/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/cluster"
)

const (
	// look is how often the connections are looked at.
	look = time.Second
	// statusEvery is how often the status of a Node is written although nothing has changed (kubelet config, nodeStatusReportFrequency).
	statusEvery = 5 * time.Minute
)

// Fleet knows the connections.
type Fleet interface {
	Connections() []*cluster.Connection
	// Settled is false while connections may be missing that are about to be made.
	Settled() bool
}

// Nodes keeps a virtual Node on the hub for each WEC that has joined, and removes those of WECs that have left, with their mirrored pods. It is a
// manager.Runnable that needs leader election: the address on the Nodes is the leader's.
type Nodes struct {
	// Hub writes Nodes and their Leases. What else is written must not keep it waiting.
	Hub kubernetes.Interface
	// Shown has the virtual Nodes and the mirrored pods, Cache the inventory.
	Shown, Cache client.Reader
	Fleet        Fleet
	Mirrorer     *Mirrorer
	// Endpoint is where this process serves what is asked of pods.
	Endpoint Endpoint
	Log      logr.Logger
	Now      func() time.Time

	// Recorder says on ManagedClusters whose Node is not theirs, or is not as it should be.
	Recorder record.EventRecorder

	kept       map[stellarflow.ClusterName]bool      // whose Nodes are
	hidden     map[stellarflow.ClusterName]time.Time // when a Node was found that the cache does not show: another's, or one without its label
	unrepaired map[stellarflow.ClusterName]time.Time // when a Node could not be
}

// NeedLeaderElection is true.
func (n *Nodes) NeedLeaderElection() bool { return true }

// Start keeps the Nodes until ctx ends. They stay then: another manager goes on, or none, and what is shown is what was last known.
func (n *Nodes) Start(ctx context.Context) error {
	n.kept, n.hidden, n.unrepaired = map[stellarflow.ClusterName]bool{}, map[stellarflow.ClusterName]time.Time{}, map[stellarflow.ClusterName]time.Time{}
	var group sync.WaitGroup
	group.Go(func() { n.renewAll(ctx) })
	said := ""
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		problem := inOrder(n.keep(ctx))
		if problem != "" && problem != said && ctx.Err() == nil {
			n.Log.Info("virtual nodes are not up to date", "error", problem)
		}
		said = problem
	}, look)
	group.Wait()
	return nil
}

// inOrder returns what joined errors say as one that can be compared: caches list in no order. It is empty for nil.
func inOrder(err error) string {
	if err == nil {
		return ""
	}
	lines := strings.Split(err.Error(), "\n")
	slices.Sort(lines)
	return oneLine(strings.Join(slices.Compact(lines), "; "))
}

func (n *Nodes) keep(ctx context.Context) error {
	var problems []error
	states := map[stellarflow.ClusterName]cluster.State{}
	for _, connection := range n.Fleet.Connections() {
		states[connection.Name] = connection.State()
		problems = append(problems, n.ensure(ctx, connection.State()))
	}
	if n.Fleet.Settled() {
		problems = append(problems, n.keepOthers(ctx, states), n.sweep(ctx, states))
	}
	return errors.Join(problems...)
}

// keepOthers keeps the Nodes of WECs that have joined and are not connected: their credential is gone, or is none.
func (n *Nodes) keepOthers(ctx context.Context, connected map[stellarflow.ClusterName]cluster.State) error {
	var joined clusterv1.ManagedClusterList
	if err := n.Cache.List(ctx, &joined); err != nil {
		return fmt.Errorf("list the managed clusters: %w", err)
	}
	var problems []error
	for i := range joined.Items {
		name := stellarflow.ClusterName(joined.Items[i].Name)
		if _, found := connected[name]; found || name.Validate() != nil {
			continue
		}
		if !n.kept[name] && n.Shown.Get(ctx, types.NamespacedName{Name: NodeName(name)}, &corev1.Node{}) != nil {
			continue
		}
		left, err := n.left(ctx, name)
		if err == nil && !left {
			err = n.ensure(ctx, unconnected(&joined.Items[i]))
		}
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// gone reports whether a WEC has left. One that is connected has not, unless its ManagedCluster is gone.
func (n *Nodes) gone(ctx context.Context, name stellarflow.ClusterName, connected map[stellarflow.ClusterName]cluster.State) (bool, error) {
	if _, found := connected[name]; !found {
		return n.left(ctx, name)
	}
	err := n.Cache.Get(ctx, types.NamespacedName{Name: string(name)}, &clusterv1.ManagedCluster{})
	if err != nil && !apierrors.IsNotFound(err) {
		return false, fmt.Errorf("read managed cluster %q: %w", name, err)
	}
	return err != nil, nil
}

// left reports whether a WEC without a connection was taken off the hub: its ManagedCluster is gone, or is somebody else's (OCM's) and has neither
// what a join writes on it nor a credential any more.
func (n *Nodes) left(ctx context.Context, name stellarflow.ClusterName) (bool, error) {
	var managed clusterv1.ManagedCluster
	if err := n.Cache.Get(ctx, types.NamespacedName{Name: string(name)}, &managed); err != nil {
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, fmt.Errorf("read managed cluster %q: %w", name, err)
	}
	for _, key := range []string{stellarflow.AnnotationClusterID, stellarflow.AnnotationNamespaces, stellarflow.AnnotationArgoVersion} {
		if _, joined := managed.Annotations[key]; joined {
			return false, nil
		}
	}
	err := n.Cache.Get(ctx, types.NamespacedName{Namespace: stellarflow.SystemNamespace, Name: stellarflow.CredentialName(name)}, &corev1.Secret{})
	if err != nil && !apierrors.IsNotFound(err) {
		return false, fmt.Errorf("read the credential of cluster %q: %w", name, err)
	}
	return err != nil, nil
}

// unconnected returns the state of a WEC without a connection.
func unconnected(managed *clusterv1.ManagedCluster) cluster.State {
	state := cluster.State{Name: stellarflow.ClusterName(managed.Name), Tried: true, Message: "it is not connected"}
	if said := meta.FindStatusCondition(managed.Status.Conditions, stellarflow.ConditionConnected); said != nil && said.Status == metav1.ConditionFalse {
		state.Since, state.Message = said.LastTransitionTime.Time, said.Message
	}
	return state
}

// ensure keeps the Node of one WEC.
func (n *Nodes) ensure(ctx context.Context, state cluster.State) error {
	node, err := n.node(ctx, state)
	if err != nil || node == nil {
		return err
	}
	n.kept[state.Name] = true
	if !state.Tried {
		return nil // what is said of it may change in a moment
	}
	next := node.DeepCopy()
	change(&next.Status, NodeStatus(state, n.Endpoint, n.Now()))
	if equality.Semantic.DeepEqual(next.Status, node.Status) {
		return nil
	}
	if _, err := n.Hub.CoreV1().Nodes().UpdateStatus(ctx, next, metav1.UpdateOptions{}); err != nil && !apierrors.IsConflict(err) {
		return fmt.Errorf("write the status of node %s: %w", node.Name, err)
	}
	return nil
}

// node returns the Node of one WEC as it is to be, nil if there can be none now.
func (n *Nodes) node(ctx context.Context, state cluster.State) (*corev1.Node, error) {
	want, node := Node(state.Name), &corev1.Node{}
	switch err := n.Shown.Get(ctx, client.ObjectKeyFromObject(want), node); {
	case err == nil:
		return n.repair(ctx, state.Name, node), nil
	case !apierrors.IsNotFound(err):
		return nil, fmt.Errorf("read node %s from the cache: %w", want.Name, err)
	case !state.Tried || n.Now().Sub(n.hidden[state.Name]) < beat:
		return nil, nil //nolint:nilnil // none is an answer
	}
	node, err := n.Hub.CoreV1().Nodes().Create(ctx, want, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		n.hidden[state.Name] = n.Now()
		if node, err = n.Hub.CoreV1().Nodes().Get(ctx, want.Name, metav1.GetOptions{}); err == nil && !made(node) {
			n.say(ctx, state.Name, eventNodeTaken, fmt.Sprintf("node %s is there and is none of the hub manager's: logs and exec of the cluster's pods do not work here, "+
				"and what removes pods of lost nodes may remove them: remove that node, or join the cluster under another name", want.Name))
			return nil, nil //nolint:nilnil // it is said
		}
		if err == nil {
			return n.repair(ctx, state.Name, node), nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("create node %s: %w", want.Name, err)
	}
	return node, nil
}

// say says something on a ManagedCluster, if it is there.
func (n *Nodes) say(ctx context.Context, name stellarflow.ClusterName, reason, message string) {
	var managed clusterv1.ManagedCluster
	if n.Cache.Get(ctx, types.NamespacedName{Name: string(name)}, &managed) == nil {
		n.Recorder.Event(&managed, corev1.EventTypeWarning, reason, message)
	}
}

// repair puts back what a Node of ours lacks, and returns the Node as it is then, nil if it has changed meanwhile: the cache will show what won. It
// is patched: if it were made anew whoever has cordoned it would find it open again.
func (n *Nodes) repair(ctx context.Context, name stellarflow.ClusterName, node *corev1.Node) *corev1.Node {
	repaired := Repaired(Node(name), node)
	if repaired == nil || n.Now().Sub(n.unrepaired[name]) < lastBackoff {
		return node
	}
	raw, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": node.UID, "resourceVersion": node.ResourceVersion, "labels": repaired.Labels}, "spec": map[string]any{"taints": repaired.Spec.Taints},
	})
	if err == nil {
		repaired, err = n.Hub.CoreV1().Nodes().Patch(ctx, node.Name, types.MergePatchType, raw, metav1.PatchOptions{FieldManager: fieldManager})
	}
	switch {
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		return nil
	case err != nil: // all else of it goes on
		n.unrepaired[name] = n.Now()
		n.say(ctx, name, eventNodeNotRepaired, fmt.Sprintf("node %s lacks labels or taints, so that pods of the hub may be put on it, and the hub manager cannot put them back: %s: "+
			"if it lacks the right, run `stellarflow install` again", node.Name, oneLine(err.Error())))
		return node
	}
	return repaired
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

// sweep removes what stands for WECs that have left: a cluster that only cannot be reached has not. Of such a cluster it ends the mirrors that
// nobody looks after.
func (n *Nodes) sweep(ctx context.Context, connected map[stellarflow.ClusterName]cluster.State) error {
	var nodes corev1.NodeList
	var mirrors corev1.PodList
	for _, list := range []client.ObjectList{&nodes, &mirrors} {
		if err := n.Shown.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return fmt.Errorf("list what stands for clusters: %w", err)
		}
	}
	known := map[stellarflow.ClusterName]bool{}
	gone := func(name stellarflow.ClusterName) (bool, error) {
		if gone, found := known[name]; found {
			return gone, nil
		}
		gone, err := n.gone(ctx, name, connected)
		if err == nil {
			known[name] = gone
		}
		return gone, err
	}
	return errors.Join(n.sweepMirrors(ctx, mirrors.Items, connected, gone), n.sweepNodes(ctx, nodes.Items, gone))
}

func (n *Nodes) sweepMirrors(ctx context.Context, mirrors []corev1.Pod, connected map[stellarflow.ClusterName]cluster.State, gone func(stellarflow.ClusterName) (bool, error)) error {
	var problems []error
	for i := range mirrors {
		name, ours := MirrorOf(&mirrors[i])
		if !ours {
			continue
		}
		left, err := gone(name)
		if err == nil && left {
			err = n.Mirrorer.remove(ctx, &mirrors[i])
		} else if state, found := connected[name]; err == nil && (!found || state.Tried && !state.Connected) {
			err = n.Mirrorer.settle(ctx, &mirrors[i])
		}
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

func (n *Nodes) sweepNodes(ctx context.Context, nodes []corev1.Node, gone func(stellarflow.ClusterName) (bool, error)) error {
	var problems []error
	for i := range nodes {
		name, ours := OfCluster(&nodes[i])
		if !ours {
			continue
		}
		left, err := gone(name)
		if err == nil && left {
			delete(n.kept, name)
			err = client.IgnoreNotFound(n.Hub.CoreV1().Nodes().Delete(ctx, nodes[i].Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(nodes[i].UID))}))
		}
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}
