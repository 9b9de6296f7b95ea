package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/test/chaos/history"
	"stellarflow.io/stellarflow/test/chaos/recorder"
)

// pods makes a pod on one WEC for each Workflow that runs there, as Argo does, and removes it when the Workflow is gone, as the garbage
// collector does. Nobody else may: one that goes before was deleted by the hub, and no person has asked for that.
type pods struct {
	ctx     context.Context //nolint:containedctx // the life of the controllers
	cluster string
	core    kubernetes.Interface
	log     *recorder.Log
	running chan struct{}

	mu     sync.Mutex
	of     map[types.UID]types.UID // of Workflows; empty while it is not known which pod
	epoch  int
	active int
}

func newPods(ctx context.Context, cluster string, core kubernetes.Interface, log *recorder.Log) *pods {
	return &pods{ctx: ctx, cluster: cluster, core: core, log: log, running: make(chan struct{}, parallel), of: map[types.UID]types.UID{}}
}

// observe is told of every change of a Workflow.
func (p *pods) observe(w *unstructured.Unstructured, gone bool) {
	phase, _, _ := unstructured.NestedString(w.Object, "status", "phase")
	p.mu.Lock()
	defer p.mu.Unlock()
	pod, known := p.of[w.GetUID()]
	switch {
	case w.GetLabels()[history.LabelDecoy] != "":
	case gone && known:
		delete(p.of, w.GetUID())
		p.begin(func(epoch int) { p.remove(w, pod, epoch) })
	case !gone && !known && phase == "Running":
		p.of[w.GetUID()] = ""
		p.begin(func(epoch int) { p.create(w, epoch) })
	}
}

// begin does something as soon as there is room. The caller holds the lock.
func (p *pods) begin(do func(epoch int)) {
	p.active++
	epoch := p.epoch
	go func() {
		select {
		case p.running <- struct{}{}:
			do(epoch)
			<-p.running
		case <-p.ctx.Done():
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.active--
	}()
}

// busy returns how much is being done.
func (p *pods) busy() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.active
}

// forgetAll is called when the cluster's etcd was replaced: what was made may not be there.
func (p *pods) forgetAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.of, p.epoch = map[types.UID]types.UID{}, p.epoch+1
}

// since reports whether the cluster's etcd is the one of an epoch still.
func (p *pods) since(epoch int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.epoch == epoch
}

func (p *pods) create(w *unstructured.Unstructured, epoch int) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: w.GetNamespace(), Name: podName(w), Labels: map[string]string{stellarflow.ArgoLabelWorkflow: w.GetName(), stellarflow.ArgoLabelCompleted: "false"},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: stellarflow.WorkflowKind.GroupVersion().String(), Kind: stellarflow.WorkflowKind.Kind, Name: w.GetName(), UID: w.GetUID(), Controller: ptr.To(true),
			}},
		},
		Spec: corev1.PodSpec{NodeName: "worker", RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "main", Image: "busybox"}}},
	}
	persist(p.ctx, func() error {
		made, err := p.core.CoreV1().Pods(pod.Namespace).Create(p.ctx, pod, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			return nil // one of before, or the answer was lost
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if _, known := p.of[w.GetUID()]; err == nil && known && p.epoch == epoch {
			p.of[w.GetUID()] = made.UID
		}
		return err
	})
}

func (p *pods) remove(w *unstructured.Unstructured, uid types.UID, epoch int) {
	core, asked := p.core.CoreV1().Pods(w.GetNamespace()), false
	persist(p.ctx, func() error {
		pod, err := core.Get(p.ctx, podName(w), metav1.GetOptions{})
		gone := apierrors.IsNotFound(err) || err == nil && (pod.UID != uid || pod.DeletionTimestamp != nil)
		if gone && uid != "" && !asked && p.since(epoch) {
			p.log.Add(history.Record{Kind: history.Harmed, Cluster: p.cluster, Workflow: history.Of(w), Text: fmt.Sprintf("pod %s/%s went before its Workflow", w.GetNamespace(), podName(w))})
		}
		if err != nil || pod.OwnerReferences[0].UID != w.GetUID() {
			return err
		}
		asked = true
		return core.Delete(p.ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0), Preconditions: metav1.NewUIDPreconditions(string(pod.UID))})
	})
}

// podName is one that Argo gives.
func podName(w *unstructured.Unstructured) string { return w.GetName() + "-1234567890" }

// mirrors returns the mirrored pods on the hub.
func (r *run) mirrors(ctx context.Context) []corev1.Pod {
	var mirrors []corev1.Pod
	persist(ctx, func() error {
		list, err := r.fleet.hub().core.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{LabelSelector: stellarflow.LabelMirrorOf})
		if err == nil {
			mirrors = list.Items
		}
		return err
	})
	return mirrors
}

// collectMirrors deletes mirrored pods on the hub as its garbage collector does, now and then one.
func (r *run) collectMirrors(ctx context.Context) {
	config := rest.CopyConfig(r.fleet.hub().config)
	config.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:kube-system:generic-garbage-collector", Groups: []string{"system:masters", "system:authenticated"}}
	collector, err := kubernetes.NewForConfig(config)
	if err != nil {
		r.log.Fault("no garbage collector: %v", err)
		return
	}
	lots := rand.New(rand.NewPCG(r.Seed, 7))
	for pause(ctx, 200*time.Millisecond) == nil {
		if mirrors := r.mirrors(ctx); len(mirrors) > 0 {
			one := &mirrors[lots.IntN(len(mirrors))]
			if collector.CoreV1().Pods(one.Namespace).Delete(ctx, one.Name, metav1.DeleteOptions{}) == nil {
				r.collected.Add(1)
			}
		}
	}
}
