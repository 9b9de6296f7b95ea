package cli

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

func TestRolledOut(t *testing.T) {
	cases := map[string]struct {
		reason string
		status appsv1.DeploymentStatus
		said   string
	}{
		"Available": {"all is there", appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 1, UpdatedReplicas: 1, AvailableReplicas: 1}, ""},
		"Unseen":    {"the status is of an older generation", appsv1.DeploymentStatus{ObservedGeneration: 1, Replicas: 1, UpdatedReplicas: 1, AvailableReplicas: 1}, "the controller manager has not seen it yet"},
		"NotNew":    {"the new pod does not exist", appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 1, AvailableReplicas: 1}, "0 of 1 pods are new"},
		"OldLeft":   {"the old pod still holds the lease", appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 2, UpdatedReplicas: 1, AvailableReplicas: 2}, "1 old pods still run"},
		"NotReady":  {"the new pod does not answer", appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 1, UpdatedReplicas: 1}, "0 of 1 pods are available"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			deployment := &appsv1.Deployment{Status: tc.status}
			deployment.Generation = 2
			finished, said := rolledOut(deployment)
			if said != tc.said || finished != (tc.said == "") {
				t.Errorf("%s: want %q, got %t and %q", tc.reason, tc.said, finished, said)
			}
		})
	}
}

func TestPodReason(t *testing.T) {
	waiting := func(reason, message string) corev1.ContainerState {
		return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
	}
	ended := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error", Message: "hub: no store\n"}}
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	container := func(status corev1.ContainerStatus) corev1.PodStatus {
		return corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{status}}
	}
	cases := map[string]struct {
		reason string
		status corev1.PodStatus
		want   string
	}{
		"Ready":     {"nothing is wrong", container(corev1.ContainerStatus{Ready: true, State: running}), ""},
		"Image":     {"no such image", container(corev1.ContainerStatus{State: waiting("ImagePullBackOff", "not found")}), "ImagePullBackOff: not found"},
		"NoMessage": {"a reason alone", container(corev1.ContainerStatus{State: waiting("ContainerCreating", "")}), "ContainerCreating"},
		"Crash": {
			"it ends again and again", container(corev1.ContainerStatus{State: waiting("CrashLoopBackOff", "back-off 10s"), LastTerminationState: ended}),
			"CrashLoopBackOff: back-off 10s (it last ended with exit code 1: hub: no store)",
		},
		"Ended":    {"it has just ended", container(corev1.ContainerStatus{State: ended}), "ended with exit code 1: hub: no store"},
		"NotReady": {"it runs and does not answer", container(corev1.ContainerStatus{State: running}), "runs, but its readiness probe fails"},
		"Unscheduled": {
			"no node takes it",
			corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/1 nodes are available"}}},
			"Unschedulable: 0/1 nodes are available",
		},
		"Nothing": {"the kubelet has not looked at it", corev1.PodStatus{}, "no container has started"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, podReason(&corev1.Pod{Status: tc.status})); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

func TestServedBy(t *testing.T) {
	is := func(kind apiextensionsv1.CustomResourceDefinitionConditionType, status apiextensionsv1.ConditionStatus, message string) apiextensionsv1.CustomResourceDefinitionCondition {
		return apiextensionsv1.CustomResourceDefinitionCondition{Type: kind, Status: status, Message: message}
	}
	cases := map[string]struct {
		reason     string
		conditions []apiextensionsv1.CustomResourceDefinitionCondition
		served     bool
		said       string
	}{
		"New":    {"the API server has not judged it", nil, false, "no condition yet"},
		"Served": {"its names are its own", []apiextensionsv1.CustomResourceDefinitionCondition{is("NamesAccepted", "True", "no conflicts found"), is("Established", "True", "accepted")}, true, ""},
		"TakenLater": {
			"a CRD that is served stays so", []apiextensionsv1.CustomResourceDefinitionCondition{is("NamesAccepted", "False", "in use"), is("Established", "True", "accepted")}, true, "",
		},
		"Taken": {
			"whose the name is must be said",
			[]apiextensionsv1.CustomResourceDefinitionCondition{is("NamesAccepted", "False", `"K" is already in use`), is("Established", "False", "not all names are accepted")},
			false, `NamesAccepted is False: "K" is already in use; Established is False: not all names are accepted`,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if served, said := servedBy(tc.conditions); served != tc.served || said != tc.said {
				t.Errorf("%s: got %v, %q", tc.reason, served, said)
			}
		})
	}
}

func TestPoll(t *testing.T) {
	broken := errors.New("broken")
	said, err := poll(t.Context(), time.Minute, func(context.Context) (bool, string, error) { return false, "saw it", broken })
	if !errors.Is(err, broken) || said != "saw it" {
		t.Errorf("an error ends the wait at once: got %q, %v", said, err)
	}
	said, err = poll(t.Context(), time.Millisecond, func(context.Context) (bool, string, error) { return false, "not yet", nil })
	if !errors.Is(err, context.DeadlineExceeded) || said != "not yet" {
		t.Errorf("at the end of the time the last that was seen is said: got %q, %v", said, err)
	}
	tries := 0
	if _, err = poll(t.Context(), time.Minute, func(context.Context) (bool, string, error) { tries++; return tries == 2, "", nil }); err != nil || tries != 2 {
		t.Errorf("it looks again until it is done: got %d tries, %v", tries, err)
	}
}
