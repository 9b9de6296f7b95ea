package cli

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/podmirror"
)

// endpointFlag tells the manager where it serves what people ask of mirrored pods; the last one counts.
const endpointFlag = "--kubelet-bind-address="

// Values of --mirror-pods.
const (
	podsOn  = "on"
	podsOff = "off"
)

// podsPatch starts the manager without mirrored pods.
func podsPatch() patch {
	return jsonPatch("Deployment", hubDeployment,
		map[string]any{"op": "test", "path": "/spec/template/spec/containers/0/args/0", "value": "--leader-elect"},
		map[string]any{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": endpointFlag + "0"})
}

// givenPods reads --mirror-pods.
func givenPods(given string) (off bool, err error) {
	if given != "" && given != podsOn && given != podsOff {
		return false, usagef("--mirror-pods %q is neither %s nor %s", given, podsOn, podsOff)
	}
	return given == podsOff, nil
}

// choosePods decides whether the hub mirrors no pods: as given, else as it is; it does if it is new.
func choosePods(ctx context.Context, hub client.Client, given string) (off bool, err error) {
	if given != "" {
		return givenPods(given)
	}
	return presentPods(ctx, hub)
}

// presentPods reports whether the manager that is installed was told to mirror no pods.
func presentPods(ctx context.Context, hub client.Client) (off bool, err error) {
	pod, err := presentPod(ctx, hub)
	for _, container := range pod.Containers {
		off = off || slices.Contains(container.Args, endpointFlag+"0")
	}
	return off, err
}

// removeVirtual removes the mirrored pods and the virtual Nodes of the hub, once no manager makes them again.
func removeVirtual(ctx context.Context, hub client.Client, report func(what string)) error {
	var pods corev1.PodList
	if err := hub.List(ctx, &pods, client.HasLabels{stellarflow.LabelMirrorOf}); err != nil {
		return fmt.Errorf("list the mirrored pods: %w", err)
	}
	for i := range pods.Items {
		if err := hub.Delete(ctx, &pods.Items[i], client.GracePeriodSeconds(0)); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete mirrored pod %s/%s: %w", pods.Items[i].Namespace, pods.Items[i].Name, err)
		}
	}
	var nodes corev1.NodeList
	if err := hub.List(ctx, &nodes, client.HasLabels{stellarflow.LabelCluster}); err != nil {
		return fmt.Errorf("list the virtual nodes: %w", err)
	}
	for i := range nodes.Items {
		if _, ours := podmirror.OfCluster(&nodes.Items[i]); !ours {
			continue
		}
		if err := hub.Delete(ctx, &nodes.Items[i]); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete virtual node %s: %w", nodes.Items[i].Name, err)
		}
		report("Node " + nodes.Items[i].Name)
	}
	return nil
}
