package podmirror

import (
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

// version is what a virtual Node gives as its kubelet's.
const version = "v0.0.0-stellarflow"

// NodeStatus returns the status of a virtual Node: Ready as long as its WEC is connected.
func NodeStatus(state cluster.State, at Endpoint, now time.Time) corev1.NodeStatus {
	none := corev1.ResourceList{corev1.ResourcePods: resource.Quantity{}, corev1.ResourceCPU: resource.Quantity{}, corev1.ResourceMemory: resource.Quantity{}}
	ready := corev1.NodeCondition{
		Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "Connected", Message: "cluster " + string(state.Name) + " is connected",
		LastHeartbeatTime: metav1.NewTime(now), LastTransitionTime: metav1.NewTime(state.Since),
	}
	if !state.Connected {
		ready.Status, ready.Reason, ready.Message = corev1.ConditionFalse, "NotConnected", oneLine("cluster "+string(state.Name)+" cannot be used: "+state.Message)
	}
	return corev1.NodeStatus{
		Capacity: none, Allocatable: none, Conditions: []corev1.NodeCondition{ready},
		Addresses:       []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: at.Host}},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: at.Port}},
		NodeInfo:        corev1.NodeSystemInfo{KubeletVersion: version},
	}
}
