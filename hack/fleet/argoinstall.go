package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"stellarflow.io/stellarflow/hack/fleet/argo"
	"stellarflow.io/stellarflow/hack/fleet/components"
	"stellarflow.io/stellarflow/hack/fleet/images"
	"stellarflow.io/stellarflow/hack/fleet/plan"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// argoLimit bounds how long Argo may take to run.
const argoLimit = 5 * time.Minute

// appliedAnnotation on the namespace argo holds the hash of what was applied,
// so that up on a healthy fleet applies nothing.
const appliedAnnotation = "fleet.stellarflow.io/applied"

// ensureArgo applies Argo to a cluster and waits until it runs.
func (f *fleet) ensureArgo(ctx context.Context, c plan.Cluster) error {
	manifests, err := f.renderArgo(ctx, c)
	if err != nil {
		return err
	}
	cs, err := client(c)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(manifests)
	hash := hex.EncodeToString(sum[:])
	ns, err := cs.CoreV1().Namespaces().Get(ctx, argo.Namespace, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("cluster %s: %w", c.Name, err)
	}
	if err != nil || ns.Annotations[appliedAnnotation] != hash {
		if err := f.apply(ctx, c, manifests, hash); err != nil {
			return err
		}
	}
	return f.awaitArgo(ctx, c)
}

func (f *fleet) renderArgo(ctx context.Context, c plan.Cluster) ([]byte, error) {
	dir, err := components.ArgoManifests(ctx)
	if err != nil {
		return nil, err
	}
	commands, err := images.Entrypoints()
	if err != nil {
		return nil, err
	}
	return argo.Render(argo.Input{
		Manifests: dir, Cluster: stellarflow.ClusterName(c.Name), Store: f.store(), Images: commands,
	})
}

// apply applies YAML server-side.
func (f *fleet) apply(ctx context.Context, c plan.Cluster, manifests []byte, hash string) error {
	if err := writeFile(filepath.Join(c.ConfDir(), "argo.yaml"), string(manifests), 0o600); err != nil {
		return err
	}
	err := f.kubectl(ctx, c, manifests, "apply", "--server-side", "--force-conflicts", "-f", "-")
	if err != nil {
		return fmt.Errorf("install Argo on cluster %s: %w", c.Name, err)
	}
	cs, err := client(c)
	if err != nil {
		return err
	}
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, appliedAnnotation, hash)
	_, err = cs.CoreV1().Namespaces().Patch(ctx, argo.Namespace, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	return err
}

func (f *fleet) kubectl(ctx context.Context, c plan.Cluster, stdin []byte, args ...string) error {
	args = append([]string{"--kubeconfig", c.Kubeconfig}, args...)
	cmd := exec.CommandContext(ctx, f.paths[components.Kubectl], args...) //nolint:gosec // our own kubectl
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// awaitArgo waits until Argo's controller and server run.
func (f *fleet) awaitArgo(ctx context.Context, c plan.Cluster) error {
	cs, err := client(c)
	if err != nil {
		return err
	}
	since := f.recordOf(c.Name).Since
	if argoReady(ctx, cs, since) == nil {
		return nil
	}
	if err := poll(ctx, argoLimit, func() (bool, error) { return false, argoReady(ctx, cs, since) }); err != nil {
		if errors.Is(err, context.Canceled) {
			return err
		}
		return fmt.Errorf("argo on cluster %s is not ready: %w\n%s", c.Name, err, podTroubles(ctx, cs))
	}
	f.say.line("Argo runs on %s", c.Name)
	return nil
}

// podTroubles says why pods of Argo do not run.
func podTroubles(ctx context.Context, cs *kubernetes.Clientset) string {
	pods, err := cs.CoreV1().Pods(argo.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "app"})
	if err != nil {
		return "its pods cannot be listed: " + err.Error()
	}
	var out []string
	for _, p := range pods.Items {
		out = append(out, fmt.Sprintf("pod %s: %s", p.Name, podState(p)))
	}
	events, err := cs.CoreV1().Events(argo.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "type=Warning", Limit: 10})
	if err == nil {
		for _, e := range events.Items {
			out = append(out, fmt.Sprintf("event of %s: %s", e.InvolvedObject.Name, e.Message))
		}
	}
	return strings.Join(out, "\n")
}

func podState(p corev1.Pod) string {
	for _, s := range p.Status.ContainerStatuses {
		if w := s.State.Waiting; w != nil {
			return fmt.Sprintf("waiting: %s %s", w.Reason, w.Message)
		}
		if t := s.State.Terminated; t != nil {
			return fmt.Sprintf("terminated: %s, exit code %d", t.Reason, t.ExitCode)
		}
	}
	return string(p.Status.Phase)
}
