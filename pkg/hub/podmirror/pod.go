package podmirror

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/ptr"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

const (
	// Image is what the containers of every mirrored pod name. Nobody pulls it: their Node has no container runtime.
	Image = "registry.k8s.io/pause:3.10"
	// maxContainers bounds the containers that a mirrored pod has. A WEC could send any number.
	maxContainers = 32
	// maxText bounds a message or a reason of the WEC's, in bytes.
	maxText = 1024
	// maxStatus bounds what is shown of a pod's status, in bytes as it is stored: texts are cut shorter until it fits. Without any, that of the
	// most containers takes a third of it.
	maxStatus = 32 << 10
	// maxVersion bounds a resourceVersion, which is a number.
	maxVersion = 64
	// waitContainer is that of Argo which brings logs and outputs to the artifact store.
	waitContainer = "wait"
	// annotationDefaultContainer says which container kubectl means if none is named (k8s.io/kubectl pkg/cmd/util/podcmd).
	annotationDefaultContainer = "kubectl.kubernetes.io/default-container"
)

// notInjected keeps the sidecars of service meshes out of mirrored pods: their webhooks read these.
var notInjected = map[string]string{
	"sidecar.istio.io/inject":   "false",
	"linkerd.io/inject":         "disabled",
	"kuma.io/sidecar-injection": "disabled",
}

// Render returns the Pod on the hub that shows a pod of a WEC, with its status. owner is the hub copy of its Workflow. Names are the real
// ones, so that whoever computes a pod's name finds it; of the rest of the spec there is nothing, so that no quota, policy or webhook of the
// hub has a reason to refuse it. It has no address and is never Ready, so that no Service sends anybody there, and not the label
// workflows.argoproj.io/completed, without which the hub's Argo controller does not see it (argo-workflows v3.7.18
// workflow/controller/pod/controller.go). The error says what cannot be shown.
func Render(pod *corev1.Pod, owner metav1.Object, cluster stellarflow.ClusterName) (*corev1.Pod, error) {
	if err := renderable(pod); err != nil {
		return nil, err
	}
	mirror := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pod.Namespace, Name: pod.Name,
			Labels: map[string]string{
				stellarflow.ArgoLabelWorkflow: owner.GetName(), stellarflow.LabelCluster: string(cluster), stellarflow.LabelMirrorOf: string(pod.UID),
			},
			Annotations: map[string]string{stellarflow.AnnotationMirrored: pod.ResourceVersion},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: stellarflow.WorkflowKind.GroupVersion().String(), Kind: stellarflow.WorkflowKind.Kind, Name: owner.GetName(), UID: owner.GetUID(), Controller: ptr.To(true),
			}},
		},
		Spec: corev1.PodSpec{
			NodeName: NodeName(cluster), RestartPolicy: corev1.RestartPolicyNever, Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			AutomountServiceAccountToken: ptr.To(false), EnableServiceLinks: ptr.To(false),
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To[int64](65532), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
		},
		Status: fitting(pod),
	}
	if grace := pod.Spec.TerminationGracePeriodSeconds; grace != nil && *grace >= 0 { // who deletes it means what the real one has
		mirror.Spec.TerminationGracePeriodSeconds = ptr.To(*grace)
	}
	for key, value := range notInjected {
		mirror.Annotations[key] = value
	}
	for i := range pod.Spec.InitContainers {
		container := rendered(pod.Spec.InitContainers[i].Name)
		if always := pod.Spec.InitContainers[i].RestartPolicy; always != nil && *always == corev1.ContainerRestartPolicyAlways {
			container.RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways) // a sidecar
		}
		mirror.Spec.InitContainers = append(mirror.Spec.InitContainers, container)
	}
	for i := range pod.Spec.Containers {
		mirror.Spec.Containers = append(mirror.Spec.Containers, rendered(pod.Spec.Containers[i].Name))
	}
	if name := pod.Annotations[annotationDefaultContainer]; slices.Contains(names(pod), name) {
		mirror.Annotations[annotationDefaultContainer] = name
	}
	if pod.Spec.RestartPolicy == corev1.RestartPolicyOnFailure || pod.Spec.RestartPolicy == corev1.RestartPolicyAlways {
		mirror.Spec.RestartPolicy = pod.Spec.RestartPolicy
	}
	return mirror, nil
}

// renderable returns what of a pod an API server cannot have made.
func renderable(pod *corev1.Pod) error {
	containers := names(pod)
	switch {
	case pod.UID == "" || len(validation.IsValidLabelValue(string(pod.UID))) > 0:
		return errors.New("its UID is none")
	case len(pod.ResourceVersion) > maxVersion:
		return errors.New("its resourceVersion is none")
	case len(pod.Spec.Containers) == 0:
		return errors.New("it has no containers")
	case len(containers) > maxContainers:
		return fmt.Errorf("it has %d containers, more than %d", len(containers), maxContainers)
	}
	slices.Sort(containers)
	for i, name := range containers {
		if len(validation.IsDNS1123Label(name)) > 0 || i > 0 && containers[i-1] == name {
			return fmt.Errorf("the name of its container %q is no DNS label, or not the only one", stellarflow.OneLine(name, validation.DNS1123LabelMaxLength))
		}
	}
	return nil
}

// names returns those of all containers but ephemeral ones.
func names(pod *corev1.Pod) []string {
	var all []string
	for i := range pod.Spec.InitContainers {
		all = append(all, pod.Spec.InitContainers[i].Name)
	}
	for i := range pod.Spec.Containers {
		all = append(all, pod.Spec.Containers[i].Name)
	}
	return all
}

func rendered(name string) corev1.Container {
	zero := corev1.ResourceList{corev1.ResourceCPU: resource.Quantity{}, corev1.ResourceMemory: resource.Quantity{}, corev1.ResourceEphemeralStorage: resource.Quantity{}}
	return corev1.Container{
		Name: name, Image: Image, ImagePullPolicy: corev1.PullIfNotPresent,
		Resources: corev1.ResourceRequirements{Requests: zero, Limits: zero},
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: ptr.To(false), ReadOnlyRootFilesystem: ptr.To(true), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
	}
}

// fitting returns what is shown of a pod's status, with texts as long as there is room for.
func fitting(pod *corev1.Pod) corev1.PodStatus {
	for texts := cut(maxText); ; texts /= 2 {
		if to := texts.status(pod); to.Size() <= maxStatus || texts < 4 {
			return to
		}
	}
}

// cut is how many bytes each text of a status may have.
type cut int

func (c cut) oneLine(text string) string { return stellarflow.OneLine(text, int(c)) }

// status returns what is shown of a pod's status.
func (c cut) status(pod *corev1.Pod) corev1.PodStatus {
	from := &pod.Status
	to := corev1.PodStatus{
		Message: c.oneLine(from.Message), Reason: c.oneLine(from.Reason), StartTime: from.StartTime.DeepCopy(),
		InitContainerStatuses: c.statuses(from.InitContainerStatuses, pod.Spec.InitContainers),
		ContainerStatuses:     c.statuses(from.ContainerStatuses, pod.Spec.Containers),
	}
	switch from.Phase {
	case corev1.PodRunning, corev1.PodSucceeded, corev1.PodFailed:
		to.Phase = from.Phase
	default:
		to.Phase = corev1.PodPending
	}
	for _, kind := range []corev1.PodConditionType{corev1.PodScheduled, corev1.PodInitialized} {
		if at := slices.IndexFunc(from.Conditions, func(one corev1.PodCondition) bool { return one.Type == kind }); at >= 0 {
			condition := &from.Conditions[at]
			to.Conditions = append(to.Conditions, corev1.PodCondition{
				Type: condition.Type, Status: known(condition.Status), LastTransitionTime: condition.LastTransitionTime, Reason: c.oneLine(condition.Reason), Message: c.oneLine(condition.Message),
			})
		}
	}
	return to
}

func known(status corev1.ConditionStatus) corev1.ConditionStatus {
	if status == corev1.ConditionTrue || status == corev1.ConditionFalse {
		return status
	}
	return corev1.ConditionUnknown
}

// statuses returns those of containers that are in the spec, each once, in its order.
func (c cut) statuses(from []corev1.ContainerStatus, containers []corev1.Container) []corev1.ContainerStatus {
	var to []corev1.ContainerStatus
	for i := range containers {
		at := slices.IndexFunc(from, func(s corev1.ContainerStatus) bool { return s.Name == containers[i].Name })
		if at < 0 {
			continue
		}
		one := &from[at]
		to = append(to, corev1.ContainerStatus{
			Name: one.Name, Ready: one.Ready, Started: one.Started, RestartCount: max(0, one.RestartCount), Image: c.oneLine(one.Image), ImageID: c.oneLine(one.ImageID),
			ContainerID: c.oneLine(one.ContainerID), State: c.state(one.State), LastTerminationState: c.state(one.LastTerminationState),
		})
	}
	return to
}

func (c cut) state(from corev1.ContainerState) corev1.ContainerState {
	switch {
	case from.Terminated != nil:
		ended := from.Terminated
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: ended.ExitCode, Signal: ended.Signal, Reason: c.oneLine(ended.Reason), Message: c.oneLine(ended.Message), StartedAt: ended.StartedAt, FinishedAt: ended.FinishedAt,
			ContainerID: c.oneLine(ended.ContainerID),
		}}
	case from.Running != nil:
		return corev1.ContainerState{Running: from.Running.DeepCopy()}
	case from.Waiting != nil:
		return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: c.oneLine(from.Waiting.Reason), Message: c.oneLine(from.Waiting.Message)}}
	}
	return corev1.ContainerState{}
}

func oneLine(text string) string { return stellarflow.OneLine(text, maxText) }

// Finished returns when the last container of a finished pod ended, zero if it is not finished.
func Finished(pod *corev1.Pod) time.Time {
	if pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
		return time.Time{}
	}
	last := pod.CreationTimestamp.Time // it never ran: nothing of it has an end
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if ended := status.State.Terminated; ended != nil && ended.FinishedAt.After(last) {
			last = ended.FinishedAt.Time
		}
	}
	return last
}

// Archived reports whether the log of a finished pod is in the artifact store: its template says that it goes there, and the container that
// brings it has ended well. Argo gives a pod's first container its template (argo-workflows v3.7.18 workflow/controller/workflowpod.go,
// EnvVarTemplate), if it is not too large for that; then the pod is not known to be archived.
func Archived(pod *corev1.Pod) bool {
	if !saved(pod) {
		return false
	}
	for _, container := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		for _, variable := range container.Env {
			if variable.Name == "ARGO_TEMPLATE" && variable.Value != "" {
				var template struct {
					ArchiveLocation struct {
						ArchiveLogs bool `json:"archiveLogs"`
					} `json:"archiveLocation"`
				}
				return json.Unmarshal([]byte(variable.Value), &template) == nil && template.ArchiveLocation.ArchiveLogs
			}
		}
	}
	return false
}

// saved reports whether a pod is finished and the container that brings its log to the artifact store, if it goes there, has ended well. Of a
// real pod and of its mirror it is the same.
func saved(pod *corev1.Pod) bool {
	return !Finished(pod).IsZero() && slices.ContainsFunc(pod.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool {
		return s.Name == waitContainer && s.State.Terminated != nil && s.State.Terminated.ExitCode == 0
	})
}
