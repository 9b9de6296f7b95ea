package cli

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestControllerImage(t *testing.T) {
	cases := map[string]struct {
		reason string
		labels map[string]string
		spec   []corev1.Container
		image  string
		runs   bool
	}{
		"Manifests": {
			reason: "Argo's own manifests name the binary in command",
			spec:   []corev1.Container{{Image: "quay.io/argoproj/workflow-controller:v3.7.18", Command: []string{"workflow-controller"}}},
			image:  "quay.io/argoproj/workflow-controller:v3.7.18", runs: true,
		},
		"Image": {
			reason: "the image's entrypoint runs it, beside a sidecar",
			spec:   []corev1.Container{{Image: "proxy:1"}, {Image: "registry:5000/mirror/workflow-controller@sha256:00"}},
			image:  "registry:5000/mirror/workflow-controller@sha256:00", runs: true,
		},
		"Args": {
			reason: "a wrapper starts it",
			spec:   []corev1.Container{{Image: "own:2", Command: []string{"/init"}, Args: []string{"/bin/workflow-controller", "--namespaced"}}},
			image:  "own:2", runs: true,
		},
		"Label": {
			reason: "the label of Argo's manifests", labels: map[string]string{"app": "workflow-controller"},
			spec: []corev1.Container{{Image: "own:3"}}, image: "own:3", runs: true,
		},
		"HelmLabel": {
			reason: "the label of Argo's Helm chart", labels: map[string]string{"app.kubernetes.io/component": "workflow-controller"},
			spec: []corev1.Container{{Image: "own:4"}}, image: "own:4", runs: true,
		},
		"Other": {
			reason: "the Argo server is no controller, nor is a flag that mentions one",
			labels: map[string]string{"app": "argo-server"},
			spec:   []corev1.Container{{Image: "quay.io/argoproj/argocli:v3.7.18", Args: []string{"server", "--configmap=workflow-controller-configmap"}}},
		},
		"Empty": {reason: "a label without a container", labels: map[string]string{"app": "workflow-controller"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Labels: tc.labels}}
			deployment.Spec.Template.Spec.Containers = tc.spec
			if image, runs := controllerImage(deployment); image != tc.image || runs != tc.runs {
				t.Errorf("%s: want %q, %t, got %q, %t", tc.reason, tc.image, tc.runs, image, runs)
			}
		})
	}
}

func TestActsOnWorkflows(t *testing.T) {
	zero, one := int32(0), int32(1)
	rolledOut := appsv1.DeploymentStatus{ObservedGeneration: 3, Replicas: 1, UpdatedReplicas: 1}
	cases := map[string]struct {
		reason   string
		replicas *int32
		args     []string
		status   appsv1.DeploymentStatus
		want     bool
	}{
		"Default":      {"a Deployment has one replica, and Argo 32 workers", nil, nil, rolledOut, true},
		"ScaledToZero": {"no pod runs", &zero, nil, appsv1.DeploymentStatus{ObservedGeneration: 3}, false},
		"Ending":       {"its pod is not gone yet", &zero, nil, rolledOut, true},
		"NoWorkers":    {"it keeps house only", &one, []string{"--workflow-workers=0"}, rolledOut, false},
		"TwoWords":     {"a flag and its value", &one, []string{"--workflow-workers", "0", "--namespaced"}, rolledOut, false},
		"LastCounts":   {"as in Argo", &one, []string{"--workflow-workers=0", "--workflow-workers=4"}, rolledOut, true},
		"NoValue":      {"Argo would not start", &one, []string{"--workflow-workers"}, rolledOut, true},
		"TTLWorkers":   {"another flag", &one, []string{"--workflow-ttl-workers=0"}, rolledOut, true},
		"NotSeen":      {"pods without the flag may run still", &one, []string{"--workflow-workers=0"}, appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 1, UpdatedReplicas: 1}, true},
		"RollingOut":   {"one without the flag runs still", &one, []string{"--workflow-workers=0"}, appsv1.DeploymentStatus{ObservedGeneration: 3, Replicas: 2, UpdatedReplicas: 1}, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Generation: 3}, Status: tc.status}
			deployment.Spec.Replicas = tc.replicas
			deployment.Spec.Template.Spec.Containers = []corev1.Container{{Command: []string{controllerName}, Args: tc.args}}
			if got := actsOnWorkflows(deployment); got != tc.want {
				t.Errorf("%s: actsOnWorkflows(...) = %v", tc.reason, got)
			}
		})
	}
}

func TestImageTag(t *testing.T) {
	for image, want := range map[string]string{
		"quay.io/argoproj/workflow-controller:v3.7.18":         "v3.7.18",
		"registry:5000/workflow-controller":                    "",
		"registry:5000/workflow-controller:v1@sha256:00":       "v1",
		"registry:5000/argo/workflow-controller@sha256:00ff00": "",
		"workflow-controller":                                  "",
	} {
		if got := imageTag(image); got != want {
			t.Errorf("tag of %s: want %q, got %q", image, want, got)
		}
	}
}
