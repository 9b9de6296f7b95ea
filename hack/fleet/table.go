package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"stellarflow.io/stellarflow/hack/fleet/argo"
)

// table aligns rows of cells.
func table(rows [][]string) string {
	var buf bytes.Buffer
	w := tabwriter.NewWriter(&buf, 0, 0, 3, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	_ = w.Flush() // a buffer takes everything
	return buf.String()
}

func okOr(err error, otherwise string) string {
	if err != nil {
		return otherwise
	}
	return "ready"
}

// podCount is "running/all" of a cluster's pods that have not finished.
func podCount(ctx context.Context, cs *kubernetes.Clientset) string {
	pods, err := cs.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return "?"
	}
	running, all := 0, 0
	for _, p := range pods.Items {
		switch p.Status.Phase {
		case corev1.PodRunning:
			running++
			all++
		case corev1.PodPending, corev1.PodUnknown:
			all++
		case corev1.PodSucceeded, corev1.PodFailed:
		}
	}
	return fmt.Sprintf("%d/%d", running, all)
}

// argoVersion is the tag of the controller's image.
func argoVersion(ctx context.Context, cs *kubernetes.Clientset) string {
	d, err := cs.AppsV1().Deployments(argo.Namespace).Get(ctx, "workflow-controller", metav1.GetOptions{})
	if err != nil || len(d.Spec.Template.Spec.Containers) == 0 {
		return "?"
	}
	image := d.Spec.Template.Spec.Containers[0].Image
	return image[strings.LastIndex(image, ":")+1:]
}
