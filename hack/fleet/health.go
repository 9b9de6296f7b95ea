package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"stellarflow.io/stellarflow/hack/fleet/argo"
	"stellarflow.io/stellarflow/hack/fleet/plan"
)

// client is a client of a cluster for the administrator.
func client(c plan.Cluster) (*kubernetes.Clientset, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig of cluster %s: %w", c.Name, err)
	}
	cfg.Timeout = 5 * time.Second
	cfg.QPS = -1
	return kubernetes.NewForConfig(cfg)
}

// clusterReady says what a cluster still lacks: an API server that is ready, a
// node that is, and said so after a time.
func clusterReady(ctx context.Context, cs *kubernetes.Clientset, c plan.Cluster, after time.Time) error {
	if err := apiReady(ctx, cs); err != nil {
		return err
	}
	return nodeReady(ctx, cs, c, after)
}

func apiReady(ctx context.Context, cs *kubernetes.Clientset) error {
	if _, err := cs.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx); err != nil {
		return fmt.Errorf("API server: %w", err)
	}
	return nil
}

func nodeReady(ctx context.Context, cs *kubernetes.Clientset, c plan.Cluster, after time.Time) error {
	n, err := cs.CoreV1().Nodes().Get(ctx, c.NodeName(), metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("node: %w", err)
	}
	for _, cond := range n.Status.Conditions {
		if cond.Type != corev1.NodeReady {
			continue
		}
		if cond.LastHeartbeatTime.Time.Before(after) {
			return errors.New("node: the kubelet has not reported yet")
		}
		if cond.Status != corev1.ConditionTrue {
			return fmt.Errorf("node: not ready: %s", cond.Message)
		}
		return nil
	}
	return errors.New("node: the kubelet has not reported yet")
}

// argoReady says what Argo lacks on a cluster that was started at a time: what
// the API server remembers of pods from before does not count.
func argoReady(ctx context.Context, cs *kubernetes.Clientset, after time.Time) error {
	for _, name := range []string{"workflow-controller", "argo-server"} {
		d, err := cs.AppsV1().Deployments(argo.Namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		s := d.Status
		if s.ObservedGeneration < d.Generation || s.UpdatedReplicas < 1 || s.AvailableReplicas < 1 || s.Replicas != s.UpdatedReplicas {
			return fmt.Errorf("deployment %s/%s: %d of 1 available", argo.Namespace, name, s.AvailableReplicas)
		}
		pods, err := cs.CoreV1().Pods(argo.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=" + name})
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(pods.Items, func(p corev1.Pod) bool { return runsSince(p, after) }) {
			return fmt.Errorf("deployment %s/%s: no pod is ready", argo.Namespace, name)
		}
	}
	return nil
}

// runsSince tells whether a pod is ready and all its containers were started
// after a time.
func runsSince(p corev1.Pod, after time.Time) bool {
	if p.DeletionTimestamp != nil || len(p.Status.ContainerStatuses) == 0 {
		return false
	}
	for _, s := range p.Status.ContainerStatuses {
		if r := s.State.Running; !s.Ready || r == nil || r.StartedAt.Time.Before(after) {
			return false
		}
	}
	return true
}
