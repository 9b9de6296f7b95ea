package wec

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

var (
	getOptions  = metav1.GetOptions{}
	listOptions = metav1.ListOptions{}
)

func TestStripMetadata(t *testing.T) {
	w := stellarflow.NewWorkflowMetadata()
	w.Name = "w"
	w.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "m"}}
	w.Labels = map[string]string{stellarflow.LabelOrigin: "o"}
	w.Annotations = map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "{}", stellarflow.AnnotationHubUID: "u"}
	w.Finalizers = []string{stellarflow.FinalizerHarvest}
	want := w.DeepCopy()
	want.ManagedFields, want.Annotations = nil, map[string]string{stellarflow.AnnotationHubUID: "u"}
	got, err := StripMetadata(w)
	if diff := cmp.Diff(any(want), got); err != nil || diff != "" {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
	if again, err := StripMetadata(w); err != nil || !cmp.Equal(any(want), again) {
		t.Errorf("twice is not once: %v, %v", again, err)
	}
	if got, err := StripMetadata(stellarflow.NewWorkflowMetadata()); err != nil || got == nil {
		t.Errorf("nothing to strip gives %v, %v", got, err)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}}}}
	if got, err := StripMetadata(pod); err != nil || got != any(pod) || len(pod.ManagedFields) != 1 {
		t.Errorf("another object gives %v, %v", got, err)
	}
}

// TestStripPod: of a cluster that has many pods only what is used is kept.
func TestStripPod(t *testing.T) {
	yes := true
	owner := metav1.OwnerReference{Kind: "Workflow", UID: "o", Controller: &yes}
	pod := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: "argo", Name: "w-1", UID: "u", ResourceVersion: "7", CreationTimestamp: metav1.Unix(1, 0), DeletionTimestamp: &metav1.Time{Time: time.Unix(2, 0)},
		Labels: map[string]string{stellarflow.ArgoLabelWorkflow: "w"}, OwnerReferences: []metav1.OwnerReference{owner},
	}}
	want := pod.DeepCopy()
	pod.Labels["app"], pod.Annotations, pod.Finalizers = "web", map[string]string{"a": "b"}, []string{"f"}
	pod.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "m"}}
	other := metav1.OwnerReference{Kind: "Workflow", UID: "p", Name: "p"}
	pod.OwnerReferences[0].APIVersion, pod.OwnerReferences[0].Name, pod.OwnerReferences = "argoproj.io/v1alpha1", "w", append(pod.OwnerReferences, other, other)
	for range 2 {
		if stripPod(pod); !cmp.Equal(want, pod) {
			t.Errorf("-want +got:\n%s", cmp.Diff(want, pod))
		}
	}
	for name, owners := range map[string][]metav1.OwnerReference{
		"none": nil, "no controller": {other}, "another kind": {{Kind: "Job", UID: "o", Controller: &yes}},
	} {
		pod.OwnerReferences = owners
		if stripPod(pod); pod.OwnerReferences != nil {
			t.Errorf("%s: owners are %v", name, pod.OwnerReferences)
		}
	}
}

// TestStripWorkflow: of a WEC copy what decisions read is kept, and nothing else that somebody there may write.
func TestStripWorkflow(t *testing.T) {
	w := stellarflow.NewWorkflowMetadata()
	w.ObjectMeta = metav1.ObjectMeta{
		Namespace: "argo", Name: "w", UID: "u", ResourceVersion: "7", Generation: 3, CreationTimestamp: metav1.Unix(1, 0), DeletionTimestamp: &metav1.Time{Time: time.Unix(2, 0)},
		Labels:      map[string]string{stellarflow.LabelOrigin: "o", stellarflow.ArgoLabelPhase: "Running", stellarflow.ArgoLabelCompleted: "true"},
		Annotations: map[string]string{stellarflow.AnnotationHubUID: "u", stellarflow.AnnotationAttempt: "1", stellarflow.AnnotationDependencies: "d", stellarflow.AnnotationPassedOn: "p"},
		Finalizers:  []string{"f", stellarflow.FinalizerHarvest},
	}
	want := w.DeepCopy()
	w.Labels["app"], w.Labels["workflows.argoproj.io/creator"], w.Annotations["a"], w.GenerateName = "web", "c", "b", "w-"
	w.ManagedFields, w.OwnerReferences = []metav1.ManagedFieldsEntry{{Manager: "m"}}, []metav1.OwnerReference{{Name: "cron"}}
	for range 2 {
		if stripWorkflow(w); !cmp.Equal(want, w) {
			t.Errorf("-want +got:\n%s", cmp.Diff(want, w))
		}
	}
	w.Labels, w.Annotations = map[string]string{"a": "b"}, nil
	if stripWorkflow(w); len(w.Labels)+len(w.Annotations) > 0 {
		t.Errorf("it keeps %v and %v", w.Labels, w.Annotations)
	}
}

func TestHubUIDs(t *testing.T) {
	w := stellarflow.NewWorkflowMetadata()
	for name, tc := range map[string]struct {
		object any
		want   []string
	}{
		"ours":       {&metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{stellarflow.AnnotationHubUID: "u"}}}, []string{"u"}},
		"without":    {w, nil},
		"empty":      {&metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{stellarflow.AnnotationHubUID: ""}}}, nil},
		"other type": {&corev1.Pod{}, nil},
	} {
		got, err := hubUIDs(tc.object)
		if diff := cmp.Diff(tc.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v, -want +got:\n%s", name, err, diff)
		}
	}
}

// TestWatchBeforeItRuns: everything can be asked before the first list.
func TestWatchBeforeItRuns(t *testing.T) {
	clients, err := Dial(&rest.Config{Host: "https://wec.example:6443"})
	if err != nil {
		t.Fatal(err)
	}
	w, err := clients.NewWatch("hub", func(types.NamespacedName) {})
	if err != nil {
		t.Fatal(err)
	}
	key := types.NamespacedName{Namespace: "argo", Name: "w"}
	if w.Synced() || w.IsLost() || w.Get(key) != nil || len(w.List())+len(w.ByHubUID("u")) != 0 {
		t.Error("a watch that does not run knows something")
	}
	copied := stellarflow.NewWorkflowMetadata()
	copied.Namespace, copied.Name, copied.Annotations = "argo", "w", map[string]string{stellarflow.AnnotationHubUID: "u"}
	for _, object := range []any{copied, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "argo", Name: "pod"}}} {
		if err := w.informer.GetStore().Add(object); err != nil {
			t.Fatal(err)
		}
	}
	if w.Get(key) != copied || len(w.List()) != 1 || len(w.ByHubUID("u")) != 1 || len(w.ByHubUID("v")) != 0 {
		t.Errorf("Get %v, List %v, ByHubUID %v", w.Get(key), w.List(), w.ByHubUID("u"))
	}
	if got := w.Get(types.NamespacedName{Namespace: "argo", Name: "pod"}); got != nil {
		t.Errorf("what is no metadata is returned: %v", got)
	}
}

// TestWatchSaysWhyItIsLost: who uses it can tell what the WEC forbids from what has failed.
func TestWatchSaysWhyItIsLost(t *testing.T) {
	clients, _ := dial(t, answer(http.StatusForbidden, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","message":"no pods for you","code":403}`))
	w, err := clients.NewPodWatch(func(types.NamespacedName) {})
	if err != nil {
		t.Fatal(err)
	}
	if w.Err() != nil {
		t.Errorf("before it runs its error is %v", w.Err())
	}
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { w.Run(ctx) })
	defer group.Wait()
	defer cancel()
	select {
	case <-w.Lost():
	case <-time.After(30 * time.Second):
		t.Fatal("it is not lost")
	}
	if err := w.Err(); !apierrors.IsForbidden(err) {
		t.Errorf("the error is %v", err)
	}
}

func TestDialRefuses(t *testing.T) {
	for name, config := range map[string]*rest.Config{
		"no certificate": {Host: "https://wec.example", TLSClientConfig: rest.TLSClientConfig{CAData: []byte("no PEM")}},
		"no host":        {Host: "https://wec.example:6443:1/%zz"},
	} {
		if _, err := Dial(config); err == nil {
			t.Errorf("%s: it is accepted", name)
		}
	}
}
