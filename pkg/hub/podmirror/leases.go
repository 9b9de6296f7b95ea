package podmirror

import (
	"context"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// beat is how often a Lease is renewed, and lives how long it counts: as a kubelet does it (kubelet config, nodeLeaseDurationSeconds).
	beat  = 10 * time.Second
	lives = 40 * time.Second
	// retry is how long a renewal that has failed waits for the next try: there are some until the Lease has run out.
	retry = 3 * time.Second
)

// renewal is what is remembered of the Lease of one Node.
type renewal struct {
	due    time.Time // when the next one is
	failed int       // how many have since the last one that did not
	said   string    // why, as it was said last
}

// after returns what is remembered when a try has ended, and what is to be said of it, empty for nothing: it has failed again and again, and not for
// the reason that was said last.
func (r renewal) after(err error, now time.Time) (next renewal, say string) {
	if err == nil {
		return renewal{due: now.Add(beat)}, ""
	}
	r.due, r.failed = now.Add(retry), r.failed+1
	if why := oneLine(err.Error()); r.failed > patience && why != r.said {
		r.said, say = why, why
	}
	return r, say
}

// renewAll keeps the Leases of the virtual Nodes until ctx ends. It has a loop of its own, as a kubelet has one: to end the mirrors of a WEC that has
// left takes longer than a Lease lives.
func (n *Nodes) renewAll(ctx context.Context) {
	known := map[types.UID]renewal{}
	wait.UntilWithContext(ctx, func(ctx context.Context) { known = n.renewDue(ctx, known) }, look)
}

// renewDue renews the Leases that are due, of all Nodes that are there and whose WECs have not left, and returns what is remembered of those.
func (n *Nodes) renewDue(ctx context.Context, known map[types.UID]renewal) map[types.UID]renewal {
	var nodes corev1.NodeList
	if n.Shown.List(ctx, &nodes, client.UnsafeDisableDeepCopy) != nil {
		return known // the cache is not being filled yet: keep meets that too, and says it
	}
	kept := make(map[types.UID]renewal, len(nodes.Items))
	for i := range nodes.Items {
		node := &nodes.Items[i]
		name, ours := OfCluster(node)
		if !ours {
			continue
		}
		if left, err := n.left(ctx, name); err == nil && left {
			continue
		}
		last := known[node.UID]
		if !n.Now().Before(last.due) {
			var why string
			if last, why = last.after(n.renew(ctx, node), n.Now()); why != "" && ctx.Err() == nil {
				n.say(ctx, name, eventLeaseNotRenewed, fmt.Sprintf("the lease of node %s cannot be renewed, so that Kubernetes takes the node for lost, and if there are many of them "+
					"stops evicting pods from other nodes: %s: if the hub manager lacks the right, run `stellarflow install` again", node.Name, why))
			}
		}
		kept[node.UID] = last
	}
	return kept
}

// renew keeps the Lease of a Node, without which the node lifecycle controller takes it for dead. What does not answer must not hold up the others.
func (n *Nodes) renew(ctx context.Context, node *corev1.Node) error {
	ctx, cancel := context.WithTimeout(ctx, beat)
	defer cancel()
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
