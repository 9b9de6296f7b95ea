package podmirror

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/cluster"
)

func TestNode(t *testing.T) {
	node := Node("cluster1")
	if name, ours := OfCluster(node); !ours || name != "cluster1" {
		t.Errorf("it stands for %q, %v", name, ours)
	}
	node.Name = "worker" // somebody labelled his own
	if name, ours := OfCluster(node); ours {
		t.Errorf("a node of another name stands for %q", name)
	}
	// None is of an operating system: DaemonSets that select one must not find it.
	labels := map[string]string{"stellarflow.io/cluster": "cluster1", "node.kubernetes.io/exclude-from-external-load-balancers": "true", "type": "virtual-kubelet"}
	if diff := cmp.Diff(labels, node.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	taints := []corev1.Taint{{Key: "stellarflow.io/virtual-node", Effect: "NoSchedule"}, {Key: "stellarflow.io/virtual-node", Effect: "NoExecute"}}
	if diff := cmp.Diff(taints, node.Spec.Taints); diff != "" {
		t.Errorf("taints (-want +got):\n%s", diff)
	}
}

// TestChange: a status is written when it says something else, or has not been written for long; what others say of a Node stays.
func TestChange(t *testing.T) {
	state := cluster.State{Name: "cluster1", Connected: true, Since: ended}
	at := func(d time.Duration) corev1.NodeStatus {
		return NodeStatus(state, Endpoint{"10.0.0.1", 10250}, ended.Add(d))
	}
	status := corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: "NetworkUnavailable", Status: corev1.ConditionFalse}}}
	beats := func() time.Time { return status.Conditions[1].LastHeartbeatTime.Time }
	change(&status, at(0))
	if len(status.Conditions) != 3 || status.Conditions[0].Type != "NetworkUnavailable" || status.Conditions[1].Status != corev1.ConditionTrue {
		t.Fatalf("conditions %v", status.Conditions)
	}
	if !status.Allocatable.Pods().IsZero() || status.DaemonEndpoints.KubeletEndpoint.Port != 10250 || status.Addresses[0].Address != "10.0.0.1" {
		t.Errorf("%+v", status)
	}
	if change(&status, at(time.Minute)); !beats().Equal(ended) {
		t.Error("it is written although it says the same")
	}
	if change(&status, at(statusEvery)); !beats().Equal(ended.Add(statusEvery)) || !status.Conditions[1].LastTransitionTime.Time.Equal(ended) {
		t.Error("it is not written although that was long ago, or as a change")
	}
	status.Conditions[1].Status = corev1.ConditionUnknown // by the node lifecycle controller
	if change(&status, at(statusEvery)); status.Conditions[1].Status != corev1.ConditionTrue {
		t.Error("what somebody else said stays")
	}
	state.Connected, state.Message, state.Since = false, "it does not answer\x1b[2J", ended.Add(time.Hour)
	change(&status, at(time.Hour))
	if ready := status.Conditions[1]; ready.Type != corev1.NodeReady || ready.Status != corev1.ConditionTrue {
		t.Errorf("many clusters that are away would keep the hub from evicting: %+v", ready)
	}
	said := status.Conditions[2]
	if said.Type != ConditionConnected || said.Status != corev1.ConditionFalse || said.Message != "cluster cluster1 cannot be used: it does not answer\ufffd[2J" || !said.LastTransitionTime.Equal(&metav1.Time{Time: state.Since}) {
		t.Errorf("%+v", said)
	}
}

// TestRepaired: a Node gets back what somebody took off, and keeps what others have added.
func TestRepaired(t *testing.T) {
	others := corev1.Taint{Key: "node.kubernetes.io/unschedulable", Effect: corev1.TaintEffectNoSchedule}
	there := func(change func(*corev1.Node)) *corev1.Node {
		node := Node("cluster1")
		node.Labels["theirs"], node.Spec.Unschedulable = "x", true
		node.Spec.Taints = append([]corev1.Taint{others}, node.Spec.Taints...)
		change(node)
		return node
	}
	for name, change := range map[string]func(*corev1.Node){
		"NoTaints":     func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{others} },
		"OneTaint":     func(n *corev1.Node) { n.Spec.Taints = n.Spec.Taints[:2] },
		"NoLabel":      func(n *corev1.Node) { delete(n.Labels, corev1.LabelNodeExcludeBalancers) },
		"OtherCluster": func(n *corev1.Node) { n.Labels[stellarflow.LabelCluster] = "cluster2" },
	} {
		t.Run(name, func(t *testing.T) {
			node := there(change)
			before := node.DeepCopy()
			if diff := cmp.Diff(there(func(*corev1.Node) {}), Repaired(Node("cluster1"), node)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if diff := cmp.Diff(before, node); diff != "" {
				t.Errorf("its input was changed:\n%s", diff)
			}
		})
	}
	for name, change := range map[string]func(*corev1.Node){"AsMade": func(*corev1.Node) {}, "ValueOfATaint": func(n *corev1.Node) { n.Spec.Taints[1].Value = "x" }} {
		if got := Repaired(Node("cluster1"), there(change)); got != nil {
			t.Errorf("%s: nothing is missing, and it is made %+v", name, got)
		}
	}
	labels := Repaired(Node("cluster1"), &corev1.Node{}).Labels
	if labels[stellarflow.LabelCluster] != "cluster1" {
		t.Errorf("one without labels gets %v", labels)
	}
}
