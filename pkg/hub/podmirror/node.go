package podmirror

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/cluster"
)

// NodeName returns the name of the Node on the hub that stands for a WEC.
func NodeName(cluster stellarflow.ClusterName) string { return "stellarflow-" + string(cluster) }

// OfCluster returns the WEC that a Node of the hub stands for, false for a Node that is none of ours.
func OfCluster(node metav1.Object) (stellarflow.ClusterName, bool) {
	name := stellarflow.ClusterName(node.GetLabels()[stellarflow.LabelCluster])
	return name, name != "" && node.GetName() == NodeName(name)
}

// MirrorOf returns the WEC of which a Pod of the hub mirrors one, false for a Pod that is none of ours, whatever its labels say.
func MirrorOf(pod *corev1.Pod) (stellarflow.ClusterName, bool) {
	name := stellarflow.ClusterName(pod.Labels[stellarflow.LabelCluster])
	return name, pod.Labels[stellarflow.LabelMirrorOf] != "" && name.Validate() == nil && pod.Spec.NodeName == NodeName(name)
}

// Endpoint is where the API server of the hub asks for what is to be had of pods: the leader's.
type Endpoint struct {
	// Host is its IP address, Port its TCP port.
	Host string
	Port int32
}

// Node returns the Node that stands for a WEC, without its status. The scheduler finds no room on it, load balancers leave it out, and what
// selects its nodes by operating system, as the DaemonSets of networks and proxies do, does not find it.
func Node(cluster stellarflow.ClusterName) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name:   NodeName(cluster),
			Labels: map[string]string{stellarflow.LabelCluster: string(cluster), corev1.LabelNodeExcludeBalancers: "true", "type": "virtual-kubelet"},
		},
		Spec: corev1.NodeSpec{Taints: []corev1.Taint{
			{Key: stellarflow.TaintVirtualNode, Effect: corev1.TaintEffectNoSchedule}, {Key: stellarflow.TaintVirtualNode, Effect: corev1.TaintEffectNoExecute},
		}},
	}
}

// Repaired returns a virtual Node with what it lacks of the one that is wanted, nil if it lacks nothing. What others have added stays.
func Repaired(want, node *corev1.Node) *corev1.Node {
	repaired := node.DeepCopy()
	if repaired.Labels == nil {
		repaired.Labels = map[string]string{}
	}
	maps.Copy(repaired.Labels, want.Labels)
	for _, ours := range want.Spec.Taints {
		if !slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.MatchTaint(&ours) }) {
			repaired.Spec.Taints = append(repaired.Spec.Taints, ours)
		}
	}
	if maps.Equal(repaired.Labels, node.Labels) && len(repaired.Spec.Taints) == len(node.Spec.Taints) {
		return nil
	}
	return repaired
}

// made reports whether a Node is one that a hub manager has made, whatever its labels say.
func made(node *corev1.Node) bool { return node.Status.NodeInfo.KubeletVersion == version }

// version is what a virtual Node gives as its kubelet's.
const version = "v0.0.0-stellarflow"

// ConditionConnected is the type of the condition of a virtual Node that says whether its WEC is connected. It is Ready all the same as long as a
// manager leads: of Nodes that are not Ready the node lifecycle controller counts how many there are, and stops evicting from others if they are
// many (k8s.io/kubernetes pkg/controller/nodelifecycle, ComputeZoneState).
const ConditionConnected corev1.NodeConditionType = stellarflow.ConditionConnected

// NodeStatus returns the status of a virtual Node.
func NodeStatus(state cluster.State, at Endpoint, now time.Time) corev1.NodeStatus {
	none := corev1.ResourceList{corev1.ResourcePods: resource.Quantity{}, corev1.ResourceCPU: resource.Quantity{}, corev1.ResourceMemory: resource.Quantity{}}
	beat := metav1.NewTime(now)
	connected := corev1.NodeCondition{
		Type: ConditionConnected, Status: corev1.ConditionTrue, Reason: "Connected", Message: "cluster " + string(state.Name) + " is connected",
		LastHeartbeatTime: beat, LastTransitionTime: metav1.NewTime(state.Since),
	}
	if !state.Connected {
		connected.Status, connected.Reason, connected.Message = corev1.ConditionFalse, "NotConnected", oneLine("cluster "+string(state.Name)+" cannot be used: "+state.Message)
	}
	ready := corev1.NodeCondition{
		Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "HubManager", Message: "the hub manager shows the pods of cluster " + string(state.Name) + " here",
		LastHeartbeatTime: beat, LastTransitionTime: beat,
	}
	return corev1.NodeStatus{
		Capacity: none, Allocatable: none, Conditions: []corev1.NodeCondition{ready, connected},
		Addresses:       []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: at.Host}},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: at.Port}},
		NodeInfo:        corev1.NodeSystemInfo{KubeletVersion: version},
	}
}
