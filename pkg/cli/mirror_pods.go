package cli

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
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
	return mirrorsNone(pod), err
}

// mirrorsNone reports whether pods of the manager are told to mirror none.
func mirrorsNone(pod *corev1.PodSpec) bool {
	return slices.ContainsFunc(pod.Containers, func(c corev1.Container) bool { return slices.Contains(c.Args, endpointFlag+"0") })
}

// awaitUnmirrored waits until no pod of the manager is left that mirrors pods, one that is about to end included: it would take what
// becomes of them for somebody's wish.
func awaitUnmirrored(ctx context.Context, hub client.Client, limit time.Duration) error {
	said, err := poll(ctx, limit, func(ctx context.Context) (bool, string, error) {
		pods, err := managerPods(ctx, hub)
		for i := range pods {
			if !mirrorsNone(&pods[i].Spec) {
				return false, "pod " + pods[i].Name + " still mirrors them", nil
			}
		}
		return err == nil, "", err
	})
	if err != nil {
		return fmt.Errorf("wait until no hub manager mirrors pods: %w (%s): look at `kubectl -n %s get pods` and run install again: until then the mirrored pods stay", err, said, stellarflow.SystemNamespace)
	}
	return nil
}

// removeVirtual removes the mirrored pods and the virtual Nodes of the hub, once no manager makes them again. What is removed by halves,
// Kubernetes' pod GC ends: its Node is gone.
func removeVirtual(ctx context.Context, hub client.Client, report func(what string)) error {
	var pods corev1.PodList
	if err := hub.List(ctx, &pods, client.HasLabels{stellarflow.LabelMirrorOf}); err != nil {
		return fmt.Errorf("list the mirrored pods: %w", err)
	}
	for i := range pods.Items {
		if err := removeMirror(ctx, hub, &pods.Items[i]); err != nil {
			return err
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

// removeMirror removes a mirrored pod; another one that has its label stays. API servers learn of the webhook's removal after a moment: what
// fails for that is tried again.
func removeMirror(ctx context.Context, hub client.Client, mirror *corev1.Pod) error {
	if _, ours := podmirror.MirrorOf(mirror); !ours {
		return nil
	}
	said, err := poll(ctx, 30*time.Second, func(ctx context.Context) (bool, string, error) {
		err := client.IgnoreNotFound(unmirror(ctx, hub, mirror))
		if apierrors.IsConflict(err) || apierrors.IsInternalError(err) {
			return false, err.Error(), nil
		}
		return err == nil, "", err
	})
	if err != nil {
		return fmt.Errorf("remove mirrored pod %s/%s: %w (%s)", mirror.Namespace, mirror.Name, err, said)
	}
	return nil
}

// unmirror deletes a mirrored pod as what it is then, any pod of the hub: while it has its label its deletion by a person is the wish that the
// real pod be deleted, for the webhook and for a manager that still runs. The precondition keeps API servers from asking the webhook about
// the pod as they remember it, with the label.
func unmirror(ctx context.Context, hub client.Client, mirror *corev1.Pod) error {
	patch := fmt.Sprintf(`{"metadata":{"uid":%q,"labels":{%q:null}}}`, mirror.UID, stellarflow.LabelMirrorOf)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: mirror.Namespace, Name: mirror.Name}}
	if err := hub.Patch(ctx, pod, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		return err //nolint:wrapcheck // removeMirror says what was to be done
	}
	return hub.Delete(ctx, pod, client.GracePeriodSeconds(0), client.Preconditions{UID: &pod.UID, ResourceVersion: &pod.ResourceVersion}) //nolint:wrapcheck // as above
}
