package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/podmirror/events"
	"stellarflow.io/stellarflow/pkg/wec"
)

// talk is what is said of pods on cluster1, and on the hub of their mirrors.
type talk struct {
	*clusters
	ns string
}

// say writes an Event on the WEC as its kubelet does, again if it is there.
func (k talk) say(t *testing.T, pod *corev1.Pod, name, message string, count int32) {
	t.Helper()
	begun := metav1.NewTime(time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC))
	said := k.wecs["cluster1"].core.CoreV1().Events(k.ns)
	event := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: name, Namespace: k.ns},
		InvolvedObject: corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: k.ns, Name: pod.Name, UID: pod.UID, FieldPath: "spec.containers{main}"},
		Reason:         "Pulling", Message: message, Type: corev1.EventTypeWarning, Count: count, Source: corev1.EventSource{Component: "kubelet"},
		FirstTimestamp: begun, LastTimestamp: metav1.NewTime(begun.Add(time.Duration(count) * time.Second)),
	}
	if count > 1 {
		if _, err := said.Update(t.Context(), event, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		return
	}
	if _, err := said.Create(t.Context(), event, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// mirror makes on the hub what shows a pod of cluster1.
func (k talk) mirror(t *testing.T, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	mirror, err := k.hub.core.CoreV1().Pods(k.ns).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Labels: map[string]string{"stellarflow.io/mirror-of": string(pod.UID), stellarflow.LabelCluster: "cluster1"}}, Spec: pod.Spec,
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return mirror
}

// told is what `kubectl describe pod` finds on the hub, as type, reason, message, count and source of each.
func (k talk) told(ctx context.Context, pod *corev1.Pod) []string {
	list, err := k.hub.core.CoreV1().Events(k.ns).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.uid=" + string(pod.UID)})
	if err != nil {
		return []string{err.Error()}
	}
	lines := []string{}
	for i := range list.Items {
		e := &list.Items[i]
		lines = append(lines, fmt.Sprintf("%s %s %s %d %s/%s %s %s", e.Type, e.Reason, e.Message, e.Count, e.Source.Component, e.Source.Host, e.InvolvedObject.FieldPath, e.LastTimestamp.UTC().Format(time.TimeOnly)))
	}
	return lines
}

// await waits until just this is told of a mirror.
func (k talk) await(t *testing.T, mirror *corev1.Pod, wanted ...string) {
	t.Helper()
	eventually(t, "what is said of "+mirror.Name, func(ctx context.Context) (bool, string) {
		diff := cmp.Diff(wanted, k.told(ctx, mirror))
		return diff == "", diff
	})
}

// follow runs a Mirror with the rights that config grants, until the function that it returns is called.
func (k talk) follow(t *testing.T) (*events.Mirror, func()) {
	t.Helper()
	s := k.wecs["cluster1"]
	kubeconfig, err := wec.MinimalKubeconfig(s.config.Host, s.config.CAData, s.token(t, stellarflow.SystemNamespace, "stellarflow"))
	if err != nil {
		t.Fatal(err)
	}
	config, err := wec.ParseKubeconfig(kubeconfig, wec.KubeconfigOptions{AllowLoopback: true})
	if err != nil {
		t.Fatal(err)
	}
	clients, err := wec.Dial(config)
	if err != nil {
		t.Fatal(err)
	}
	asManager := rest.CopyConfig(k.hub.config)
	asManager.Impersonate = rest.ImpersonationConfig{UserName: hubManager, Groups: []string{"system:authenticated"}}
	hub, err := kubernetes.NewForConfig(asManager)
	if err != nil {
		t.Fatal(err)
	}
	m := events.New(events.Options{
		Cluster: "cluster1", WEC: clients.Events, Hub: hub.CoreV1(), Log: logr.Discard(),
		Shown: func(pod types.NamespacedName) *corev1.Pod { // a manager has a cache
			mirror, err := k.hub.core.CoreV1().Pods(pod.Namespace).Get(context.WithoutCancel(t.Context()), pod.Name, metav1.GetOptions{})
			if err != nil {
				return nil
			}
			return mirror
		},
		All: func() (all []types.NamespacedName) {
			mirrors, err := k.hub.core.CoreV1().Pods(k.ns).List(context.WithoutCancel(t.Context()), metav1.ListOptions{LabelSelector: stellarflow.LabelCluster + "=cluster1"})
			if err != nil {
				t.Error(err)
				return nil
			}
			for i := range mirrors.Items {
				all = append(all, types.NamespacedName{Namespace: k.ns, Name: mirrors.Items[i].Name})
			}
			return all
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); m.Run(ctx) }()
	stop := func() { cancel(); <-done; clients.Close() }
	t.Cleanup(stop)
	return m, stop
}

// TestPodEvents shows on the hub what a WEC says of the pods that are mirrored there, before and after they were, and nothing else.
func TestPodEvents(t *testing.T) {
	c := sharedClusters(t)
	k := talk{c, c.namespace(t)}
	s := c.wecs["cluster1"]
	if _, err := s.core.CoreV1().Namespaces().Create(t.Context(), namespaceObject(k.ns), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	early, late, other := s.pod(t, k.ns, nil, "w-1"), s.pod(t, k.ns, nil, "w-2"), s.pod(t, k.ns, nil, "w-3")
	before := k.mirror(t, early)
	k.say(t, early, "early.1", "first", 1)
	k.say(t, late, "late.1", "before it was shown\x1b[31m", 1)
	k.say(t, other, "other.1", "of a pod that is not shown", 1)
	m, stop := k.follow(t)

	const line = "Warning Pulling %s %d stellarflow/cluster1 spec.containers{main} 05:06:%02d"
	k.await(t, before, fmt.Sprintf(line, "first", 1, 8))
	k.say(t, early, "early.1", "again", 5)
	k.await(t, before, fmt.Sprintf(line, "again", 5, 12))

	m.Look(types.NamespacedName{Namespace: k.ns, Name: late.Name}) // its mirror is about to be made
	after := k.mirror(t, late)
	k.await(t, after, fmt.Sprintf(line, "before it was shown\ufffd[31m", 1, 8))
	k.say(t, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: late.Name, UID: "another-pod"}}, "late.0", "of a pod of that name that was there before", 1)
	k.say(t, late, "late.2", "after", 1)
	eventually(t, "the next", func(ctx context.Context) (bool, string) {
		told := strings.Join(k.told(ctx, after), "\n")
		return strings.Contains(told, " after 1 "), told
	})
	if told := k.told(t.Context(), after); len(told) != 2 {
		t.Errorf("it is said of it: %v", told)
	}

	versions := k.versions(t)
	stop()
	k.say(t, early, "early.1", "while nobody looked", 7)
	k.follow(t)
	t.Run("by another manager", func(t *testing.T) {
		k.await(t, before, fmt.Sprintf(line, "while nobody looked", 7, 14))
		for name, version := range k.versions(t) {
			if strings.HasPrefix(name, late.Name) && versions[name] != version {
				t.Errorf("%s was written again", name)
			}
		}
	})
	t.Run("no more than a mirror may have", func(t *testing.T) {
		for i := range 110 {
			k.say(t, late, fmt.Sprintf("many.%d", i), "one of many", 1)
		}
		k.say(t, early, "early.2", "the last", 1)
		eventually(t, "the last", func(ctx context.Context) (bool, string) {
			told := strings.Join(k.told(ctx, before), "\n")
			return strings.Contains(told, " the last 1 "), told
		})
		if told := k.told(t.Context(), after); len(told) != 100 {
			t.Errorf("of one mirror %d events are shown, want 100", len(told))
		}
	})
	t.Run("made anew", func(t *testing.T) {
		seconds := int64(0)
		if err := c.hub.core.CoreV1().Pods(k.ns).Delete(t.Context(), early.Name, metav1.DeleteOptions{GracePeriodSeconds: &seconds}); err != nil {
			t.Fatal(err)
		}
		anew := k.mirror(t, early)
		k.say(t, early, "early.2", "of the new one", 2)
		eventually(t, "what is said of the new mirror", func(ctx context.Context) (bool, string) {
			told := strings.Join(k.told(ctx, anew), "\n")
			return strings.Contains(told, " of the new one 2 "), told
		})
	})
	if of := k.told(t.Context(), other); len(of) > 0 || len(k.versions(t)) != 103 {
		t.Errorf("%d events are on the hub, of the pod that is not shown %v", len(k.versions(t)), of)
	}
}

// versions are the resourceVersions of the Events on the hub.
func (k talk) versions(t *testing.T) map[string]string {
	t.Helper()
	list, err := k.hub.core.CoreV1().Events(k.ns).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	versions := map[string]string{}
	for i := range list.Items {
		versions[list.Items[i].Name] = list.Items[i].ResourceVersion
	}
	return versions
}
