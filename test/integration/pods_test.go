package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// hubPod is a pod of config/hub's Deployment.
func hubPod(t *testing.T) *corev1.Pod {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "config", "hub", "deployment.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var deployment appsv1.Deployment
	if err := yaml.UnmarshalStrict(raw, &deployment); err != nil {
		t.Fatal(err)
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: stellarflow.SystemNamespace, Name: "hub", Labels: deployment.Spec.Template.Labels}, Spec: deployment.Spec.Template.Spec,
	}
}

// The API server admits the hub's pod to its namespace, which enforces the restricted Pod Security Standard, and nothing less strict.
func TestHubPodIsRestricted(t *testing.T) {
	c := sharedClusters(t)
	pods := c.hub.core.CoreV1().Pods(stellarflow.SystemNamespace)
	dryRun := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	if _, err := pods.Create(t.Context(), hubPod(t), dryRun); err != nil {
		t.Fatalf("the pod is not admitted: %v", err)
	}
	yes, root := true, int64(0)
	for name, change := range map[string]func(*corev1.PodSpec){
		"root":         func(s *corev1.PodSpec) { s.SecurityContext.RunAsUser = &root },
		"no seccomp":   func(s *corev1.PodSpec) { s.SecurityContext.SeccompProfile = nil },
		"escalation":   func(s *corev1.PodSpec) { s.Containers[0].SecurityContext.AllowPrivilegeEscalation = &yes },
		"capabilities": func(s *corev1.PodSpec) { s.Containers[0].SecurityContext.Capabilities = nil },
		"host network": func(s *corev1.PodSpec) { s.HostNetwork = true },
		"host path": func(s *corev1.PodSpec) {
			s.Volumes = append(s.Volumes, corev1.Volume{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}})
		},
	} {
		pod := hubPod(t)
		change(&pod.Spec)
		if _, err := pods.Create(t.Context(), pod, dryRun); err == nil || !strings.Contains(err.Error(), `violates PodSecurity "restricted:latest"`) {
			t.Errorf("%s: want a refusal, got %v", name, err)
		}
	}
}

// What the standard does not ask for.
func TestHubPodHasWhatItNeedsOnly(t *testing.T) {
	spec := hubPod(t).Spec
	if len(spec.Containers) != 1 || len(spec.InitContainers)+len(spec.Volumes) > 0 || spec.HostPID || spec.HostIPC {
		t.Errorf("it has %d containers and %d volumes", len(spec.Containers), len(spec.Volumes))
	}
	container := spec.Containers[0]
	if context := container.SecurityContext; context.ReadOnlyRootFilesystem == nil || !*context.ReadOnlyRootFilesystem || len(context.Capabilities.Drop) != 1 || context.Capabilities.Drop[0] != "ALL" || len(context.Capabilities.Add) > 0 {
		t.Errorf("its security context is %v", context)
	}
	if container.Resources.Limits.Memory().IsZero() || container.Resources.Requests.Cpu().IsZero() || len(container.VolumeMounts)+len(container.EnvFrom) > 0 {
		t.Errorf("resources %v, mounts %v, environment %v", container.Resources, container.VolumeMounts, container.EnvFrom)
	}
}

// TestHubManifestsAreStored applies config/hub as it stands: the NetworkPolicy, the disruption budget and the Deployment are valid.
func TestHubManifestsAreStored(t *testing.T) {
	c := sharedClusters(t)
	if err := c.hub.apply("hub"); err != nil {
		t.Fatal(err)
	}
	policy, err := c.hub.core.NetworkingV1().NetworkPolicies(stellarflow.SystemNamespace).Get(t.Context(), "stellarflow-hub", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	selected, ports := policy.Spec.PodSelector.MatchLabels["app.kubernetes.io/name"], policy.Spec.Ingress[0].Ports
	if selected != hubPod(t).Labels["app.kubernetes.io/name"] || len(policy.Spec.PolicyTypes) != 2 || len(policy.Spec.Ingress) != 1 || len(ports) != 4 {
		t.Errorf("it selects %q, and lets in %v", selected, policy.Spec.Ingress)
	}
	for _, port := range ports {
		found := false
		for _, open := range hubPod(t).Spec.Containers[0].Ports {
			found = found || open.Name == port.Port.StrVal
		}
		if !found {
			t.Errorf("it lets in to %v, which the pod does not have", port.Port)
		}
	}
}
