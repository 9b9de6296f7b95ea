package hub

import (
	"context"
	"fmt"
	"net"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	crcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/cluster"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
	"stellarflow.io/stellarflow/pkg/hub/kubelet"
	"stellarflow.io/stellarflow/pkg/hub/podmirror"
	"stellarflow.io/stellarflow/pkg/hub/upsync"
)

// Limits of what is written of mirrored pods. Workflows have their own.
const (
	podQPS   = 100
	podBurst = 200
)

// podConfigs returns the hub's REST config with limits for mirrored pods, and the one for virtual Nodes: whatever waits to be written of pods, Leases
// are renewed. That has no limit, as a kubelet has none for it (k8s.io/kubernetes cmd/kubelet/app/server.go, heartbeatClientConfig): Nodes are
// written one after the other.
func podConfigs(config *rest.Config) (pods, nodes *rest.Config) {
	pods, nodes = rest.CopyConfig(config), rest.CopyConfig(config)
	pods.QPS, pods.Burst, pods.RateLimiter = podQPS, podBurst, nil
	nodes.QPS, nodes.RateLimiter = -1, nil
	return pods, nodes
}

// mirrorPods shows the pods of the WECs on the hub, and serves what is asked of them, unless there is no address for that.
func (h *hub) mirrorPods(ctx context.Context, connections *cluster.Fleet, store *hubcopy.Store, status *upsync.Mirrorer) error {
	if !h.options.mirrorsPods() {
		h.log.Info("pods of other clusters are not mirrored: logs of running steps are not shown here; give --kubelet-address and --kubelet-bind-address")
		return nil
	}
	config, forNodes := podConfigs(h.mgr.GetConfig())
	core, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make a client for the hub's pods: %w", err)
	}
	nodes, err := kubernetes.NewForConfig(forNodes)
	if err != nil {
		return fmt.Errorf("make a client for the virtual nodes: %w", err)
	}
	// A cache of its own, which nothing waits for: without the right to watch Pods or Nodes all else goes on.
	shown, err := crcache.New(config, crcache.Options{
		Scheme: h.mgr.GetScheme(), Mapper: h.mgr.GetRESTMapper(), DefaultTransform: crcache.TransformStripManagedFields(),
		ByObject: map[client.Object]crcache.ByObject{
			&corev1.Pod{}:  {Label: stellarflow.Labelled(stellarflow.LabelMirrorOf), Transform: podmirror.Strip},
			&corev1.Node{}: {Label: stellarflow.Labelled(stellarflow.LabelCluster)},
		},
	})
	if err != nil {
		return fmt.Errorf("make a cache of the hub's pods: %w", err)
	}
	mirrorer := &podmirror.Mirrorer{
		Hub: core, Shown: shown, Policies: h.mgr.GetClient(), Copies: store, Recorder: h.recorder, Log: h.log.WithName("pods"), Now: h.clock.Now,
	}
	connections.Companion, status.LogsFromS3, status.PodsLookedAt = mirrorer.Follow, mirrorer.LogsFromS3, mirrorer.LookedAt
	mirrors, err := shown.GetInformer(ctx, &corev1.Pod{}, crcache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch the mirrored pods: %w", err)
	}
	if _, err := shown.GetInformer(ctx, &corev1.Node{}, crcache.BlockUntilSynced(false)); err != nil {
		return fmt.Errorf("watch the virtual nodes: %w", err)
	}
	if err := h.mgr.Add(manager.RunnableFunc(shown.Start)); err != nil { // of the leader
		return fmt.Errorf("watch the mirrored pods: %w", err)
	}
	policies, err := h.mgr.GetCache().GetInformer(ctx, &v1alpha1.BindingPolicy{}, crcache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch the policies: %w", err)
	}
	if err := mirrorer.Watch(ctx, mirrors, h.workflows, policies); err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(h.options.KubeletAddress)
	if err != nil {
		return fmt.Errorf("serve the pods: %w", err)
	}
	number, err := strconv.ParseInt(port, 10, 32)
	if err != nil {
		return fmt.Errorf("serve the pods: %w", err)
	}
	if err := h.mgr.Add(&kubelet.Server{
		Address: h.options.KubeletAddress, Host: h.options.KubeletHost, Pods: found{mirrorer}, Core: h.core, Now: h.options.Now, Log: h.log.WithName("kubelet"), Metrics: h.options.Metrics,
	}); err != nil {
		return fmt.Errorf("serve the pods: %w", err)
	}
	return h.mgr.Add(&podmirror.Nodes{
		Hub: nodes, Shown: shown, Cache: h.mgr.GetClient(), Fleet: connections, Mirrorer: mirrorer, Recorder: h.recorder, Log: h.log.WithName("pods"), Now: h.options.Now,
		Endpoint: podmirror.Endpoint{Host: h.options.KubeletHost, Port: int32(number)},
	})
}

// found finds the clusters of mirrored pods for the endpoint.
type found struct{ mirrorer *podmirror.Mirrorer }

// Find is that of kubelet.Pods.
func (f found) Find(ctx context.Context, pod types.NamespacedName) (kubelet.Target, bool) {
	where, ok := f.mirrorer.Find(ctx, pod)
	if !ok {
		return kubelet.Target{}, false
	}
	target := kubelet.Target{Cluster: where.Cluster, Node: podmirror.NodeName(where.Cluster), UID: where.UID, Done: where.Done}
	if where.Connection != nil {
		target.Streams = where.Connection.Clients.Streams()
		target.Check = func(ctx context.Context) error { return f.mirrorer.Check(ctx, pod, where) }
	}
	return target, true
}
