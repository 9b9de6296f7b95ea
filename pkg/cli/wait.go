package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// waitAvailable waits until the hub manager's Deployment is rolled out, and says why it is not when the time is over.
func waitAvailable(ctx context.Context, env Env, hub client.Client, limit time.Duration) error {
	env.sayf("waiting for Deployment %s (at most %s)", managerKey(), limit)
	err := waitRolledOut(ctx, hub, managerKey(), limit)
	if err == nil {
		env.sayf("the hub manager is available")
	}
	return err
}

// waitRolledOut waits until a Deployment is rolled out, and says why it is not when the time is over.
func waitRolledOut(ctx context.Context, hub client.Client, key client.ObjectKey, limit time.Duration) error {
	var deployment appsv1.Deployment
	said, err := poll(ctx, limit, func(ctx context.Context) (bool, string, error) {
		if err := hub.Get(ctx, key, &deployment); err != nil {
			return false, err.Error(), client.IgnoreNotFound(err)
		}
		finished, said := rolledOut(&deployment)
		return finished, said, nil
	})
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	// The time of the wait is over, so the reasons are looked up with a little time of their own.
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	reasons := podReasons(ctx, hub, &deployment)
	if len(reasons) > 0 {
		said += ": " + strings.Join(reasons, "; ")
	}
	return fmt.Errorf("deployment %s is not available after %s: %s: correct that and run install again, or see `kubectl -n %s describe pods`",
		key, limit, said, key.Namespace)
}

// rolledOut reports whether a Deployment runs its newest template, and what is missing.
func rolledOut(deployment *appsv1.Deployment) (bool, string) {
	wanted := int32(1)
	if deployment.Spec.Replicas != nil {
		wanted = *deployment.Spec.Replicas
	}
	status := deployment.Status
	switch {
	case status.ObservedGeneration < deployment.Generation:
		return false, "the controller manager has not seen it yet"
	case status.UpdatedReplicas < wanted:
		return false, fmt.Sprintf("%d of %d pods are new", status.UpdatedReplicas, wanted)
	case status.Replicas > wanted:
		return false, fmt.Sprintf("%d old pods still run", status.Replicas-wanted)
	case status.AvailableReplicas < wanted:
		return false, fmt.Sprintf("%d of %d pods are available", status.AvailableReplicas, wanted)
	}
	return true, ""
}

// podReasons says what keeps each pod of a Deployment from being ready.
func podReasons(ctx context.Context, hub client.Client, deployment *appsv1.Deployment) []string {
	if deployment.Spec.Selector == nil {
		return nil
	}
	var pods corev1.PodList
	if err := hub.List(ctx, &pods, client.InNamespace(deployment.Namespace), client.MatchingLabels(deployment.Spec.Selector.MatchLabels)); err != nil {
		return []string{"its pods cannot be listed: " + err.Error()}
	}
	if len(pods.Items) == 0 {
		for _, condition := range deployment.Status.Conditions {
			if condition.Type == appsv1.DeploymentReplicaFailure && condition.Status == corev1.ConditionTrue {
				return []string{"no pod could be created: " + condition.Message}
			}
		}
		return []string{"it has no pod"}
	}
	var reasons []string
	for i := range pods.Items {
		if reason := podReason(&pods.Items[i]); reason != "" {
			reasons = append(reasons, "pod "+pods.Items[i].Name+": "+reason)
		}
	}
	return reasons
}

// podReason says what keeps a pod from being ready; empty if nothing does.
func podReason(pod *corev1.Pod) string {
	for i := range pod.Status.ContainerStatuses {
		state := &pod.Status.ContainerStatuses[i]
		last := ""
		if ended := state.LastTerminationState.Terminated; ended != nil {
			last = fmt.Sprintf(" (it last ended with exit code %d: %s)", ended.ExitCode, firstOf(strings.TrimSpace(ended.Message), ended.Reason))
		}
		switch {
		case state.State.Waiting != nil:
			return strings.TrimSuffix(state.State.Waiting.Reason+": "+state.State.Waiting.Message, ": ") + last
		case state.State.Terminated != nil:
			return fmt.Sprintf("ended with exit code %d: %s", state.State.Terminated.ExitCode, firstOf(strings.TrimSpace(state.State.Terminated.Message), state.State.Terminated.Reason))
		case !state.Ready:
			return "runs, but its readiness probe fails" + last
		}
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
			return condition.Reason + ": " + condition.Message
		}
	}
	if len(pod.Status.ContainerStatuses) == 0 {
		return "no container has started"
	}
	return ""
}

// firstOf is the first text that is not empty.
func firstOf(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}
