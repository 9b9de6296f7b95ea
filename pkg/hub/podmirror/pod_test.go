package podmirror

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

var ended = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// running is a pod as Argo makes it and a kubelet reports it, with what must not reach the hub.
func running() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "argo", Name: "hello-main-1", UID: "real", ResourceVersion: "7",
			Labels:      map[string]string{stellarflow.ArgoLabelWorkflow: "hello", stellarflow.ArgoLabelCompleted: "false", "app": "web"},
			Annotations: map[string]string{stellarflow.ArgoAnnotationNodeID: "hello-1", annotationDefaultContainer: "main"},
			Finalizers:  []string{"workflows.argoproj.io/status"},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "argoproj.io/v1alpha1", Kind: "Workflow", Name: "hello", UID: "wec-copy", Controller: ptr.To(true),
			}},
		},
		Spec: corev1.PodSpec{
			NodeName: "worker", TerminationGracePeriodSeconds: ptr.To[int64](600), RestartPolicy: corev1.RestartPolicyNever, PriorityClassName: "high", Priority: ptr.To[int32](1000), ServiceAccountName: "robot", HostNetwork: true,
			Volumes: []corev1.Volume{{Name: "secret"}},
			InitContainers: []corev1.Container{
				{Name: "init", Image: "argoexec"}, {Name: "proxy", RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways)},
			},
			Containers: []corev1.Container{
				{Name: "wait", Env: []corev1.EnvVar{{Name: "TOKEN", Value: "secret"}}},
				{Name: "main", Image: "busybox", Command: []string{"sh"}, Env: []corev1.EnvVar{{Name: "ARGO_TEMPLATE", Value: `{"archiveLocation":{"archiveLogs":true}}`}}},
			},
		},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: "10.0.0.1", PodIPs: []corev1.PodIP{{IP: "10.0.0.1"}}, HostIP: "192.168.0.1", NominatedNodeName: "x", Message: "a\nb",
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}, {Type: corev1.PodScheduled, Status: "odd"}},
			ContainerStatuses: []corev1.ContainerStatus{
				{Name: "main", Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(ended)}}},
				{Name: "main", Ready: false},
				{Name: "unknown"},
				{Name: "wait", RestartCount: -1, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "\x1b[31m", Message: strings.Repeat("x", 5000)}}},
			},
		},
	}
}

// finished is the same pod after its end, its wait container with an exit code.
func finished(code int32) *corev1.Pod {
	pod := running()
	pod.Status.Phase = corev1.PodSucceeded
	at := metav1.NewTime(ended)
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{
		{Name: "main", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{FinishedAt: metav1.NewTime(ended.Add(-time.Second))}}},
		{Name: "wait", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, FinishedAt: at}}},
	}
	return pod
}

func hubCopy() *metav1.PartialObjectMetadata {
	w := stellarflow.NewWorkflowMetadata()
	w.Namespace, w.Name, w.UID = "argo", "hello", types.UID("hub-copy")
	return w
}

func TestRender(t *testing.T) {
	got, err := Render(running(), hubCopy(), "cluster1")
	if err != nil {
		t.Fatal(err)
	}
	container := `  image: registry.k8s.io/pause:3.10
  imagePullPolicy: IfNotPresent
  resources: {limits: {cpu: "0", ephemeral-storage: "0", memory: "0"}, requests: {cpu: "0", ephemeral-storage: "0", memory: "0"}}
  securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}, readOnlyRootFilesystem: true}
`
	const indent = "\n  "
	containers := func(names ...string) (text string) {
		for _, name := range names {
			text += "  - name: " + strings.Replace(name, "!", "\n    restartPolicy: Always", 1) + "\n" + strings.TrimRight("  "+strings.ReplaceAll(container, "\n", indent), " ")
		}
		return text
	}
	want := &corev1.Pod{}
	text := `metadata:
  namespace: argo
  name: hello-main-1
  labels: {stellarflow.io/cluster: cluster1, stellarflow.io/mirror-of: real, workflows.argoproj.io/workflow: hello}
  annotations: {kubectl.kubernetes.io/default-container: main, kuma.io/sidecar-injection: disabled, linkerd.io/inject: disabled, sidecar.istio.io/inject: "false", stellarflow.io/mirrored: "7"}
  ownerReferences: [{apiVersion: argoproj.io/v1alpha1, kind: Workflow, name: hello, uid: hub-copy, controller: true}]
spec:
  nodeName: stellarflow-cluster1
  restartPolicy: Never
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: 600
  tolerations: [{operator: Exists}]
  securityContext: {runAsNonRoot: true, runAsUser: 65532, seccompProfile: {type: RuntimeDefault}}
  initContainers:
` + containers("init", "proxy!") + `  containers:
` + containers("wait", "main") + `status:
  phase: Running
  message: a b
  conditions: [{type: PodScheduled, status: Unknown}]
  containerStatuses:
  - name: wait
    state: {waiting: {reason: "\uFFFD[31m", message: ` + strings.Repeat("x", 1021) + `...}}
  - name: main
    ready: true
    state: {running: {startedAt: "2026-03-04T05:06:07Z"}}
`
	if err := yaml.Unmarshal([]byte(text), want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b metav1.Time) bool { return a.Equal(&b) })); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestRenderRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*corev1.Pod)
		want   string
	}{
		"NoUID":        {func(p *corev1.Pod) { p.UID = "" }, "UID"},
		"BadUID":       {func(p *corev1.Pod) { p.UID = "a/b" }, "UID"},
		"NoContainers": {func(p *corev1.Pod) { p.Spec.Containers = nil }, "no containers"},
		"Many":         {func(p *corev1.Pod) { p.Spec.Containers = make([]corev1.Container, maxContainers-1) }, "33 containers, more than 32"},
		"LongVersion":  {func(p *corev1.Pod) { p.ResourceVersion = strings.Repeat("7", maxVersion+1) }, "resourceVersion"},
		"Twice":        {func(p *corev1.Pod) { p.Spec.Containers[0].Name = "init" }, `"init"`},
		"BadName":      {func(p *corev1.Pod) { p.Spec.Containers[0].Name = "../main" }, `"../main"`},
	} {
		t.Run(name, func(t *testing.T) {
			pod := running()
			tc.change(pod)
			if _, err := Render(pod, hubCopy(), "cluster1"); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
}

func TestArchived(t *testing.T) {
	with := func(pod *corev1.Pod, change func(*corev1.Pod)) *corev1.Pod { change(pod); return pod }
	template := func(value string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Spec.Containers[1].Env[0].Value = value }
	}
	for name, tc := range map[string]struct {
		pod  *corev1.Pod
		want bool
	}{
		"Running":    {running(), false},
		"Finished":   {finished(0), true},
		"NotBrought": {finished(1), false},
		"NotAsked":   {with(finished(0), template(`{"archiveLocation":{"archiveLogs":false}}`)), false},
		"NoLocation": {with(finished(0), template(`{}`)), false},
		"Offloaded":  {with(finished(0), template("")), false},
		"NoTemplate": {with(finished(0), template("{")), false},
		"InInit": {with(finished(0), func(p *corev1.Pod) {
			p.Spec.InitContainers[0].Env, p.Spec.Containers[1].Env = p.Spec.Containers[1].Env, nil
		}), true},
		"StillRunning":  {with(finished(0), func(p *corev1.Pod) { p.Status.Phase = corev1.PodRunning }), false},
		"WithoutWait":   {with(finished(0), func(p *corev1.Pod) { p.Status.ContainerStatuses = p.Status.ContainerStatuses[:1] }), false},
		"WaitNotEnded":  {with(finished(0), func(p *corev1.Pod) { p.Status.ContainerStatuses[1].State.Terminated = nil }), false},
		"FailedAndDone": {with(finished(0), func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }), true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Archived(tc.pod); got != tc.want {
				t.Errorf("got %v", got)
			}
		})
	}
	if got := Finished(finished(0)); !got.Equal(ended) {
		t.Errorf("it finished at %s, want %s", got, ended)
	}
	if got := Finished(running()); !got.IsZero() {
		t.Errorf("a running pod finished at %s", got)
	}
}

// TestRenderFits renders pods of which a WEC says as much as it can.
func TestRenderFits(t *testing.T) {
	long, at := strings.Repeat("\x1b", 100_000), metav1.NewTime(ended)
	terminated := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: math.MinInt32, Signal: math.MinInt32, Reason: long, Message: long, StartedAt: at, FinishedAt: at, ContainerID: long,
	}}
	for name, tc := range map[string]struct {
		containers int
		words      string
		message    int // bytes that are left of each
	}{
		"One":        {1, long, maxText},
		"Four":       {4, long, maxText / 2},
		"Most":       {maxContainers, long, 64},
		"MostNormal": {maxContainers, strings.Repeat("w", 80), 80},
	} {
		t.Run(name, func(t *testing.T) {
			pod := running()
			pod.Spec.InitContainers, pod.Spec.Containers, pod.Status = nil, nil, corev1.PodStatus{Phase: corev1.PodRunning, Message: long, Reason: long, StartTime: &at}
			for i := range tc.containers {
				status := corev1.ContainerStatus{
					Name: fmt.Sprintf("%063d", i), Started: ptr.To(true), RestartCount: math.MaxInt32, Image: tc.words, ImageID: tc.words, ContainerID: tc.words,
					State: *terminated.DeepCopy(), LastTerminationState: *terminated.DeepCopy(),
				}
				for _, state := range []*corev1.ContainerStateTerminated{status.State.Terminated, status.LastTerminationState.Terminated} {
					state.Reason, state.Message, state.ContainerID = tc.words, tc.words, tc.words
				}
				pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: status.Name})
				pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, status)
				pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, Reason: long, Message: long})
			}
			got, err := Render(pod, hubCopy(), "cluster1")
			if err != nil {
				t.Fatal(err)
			}
			if size := got.Status.Size(); size > maxStatus || len(got.Status.Conditions) != 1 {
				t.Errorf("%d bytes with %d conditions", size, len(got.Status.Conditions))
			}
			if size := got.Size(); size > 2*maxStatus {
				t.Errorf("%d bytes in all", size)
			}
			last := got.Status.ContainerStatuses[tc.containers-1].State.Terminated
			if last.ExitCode != math.MinInt32 || len(last.Message) > tc.message || len(last.Message) < tc.message-len("\ufffd") {
				t.Errorf("%d bytes are left of the message, want %d: %+v", len(last.Message), tc.message, last)
			}
		})
	}
}
