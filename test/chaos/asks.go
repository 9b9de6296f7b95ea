package chaos

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/test/chaos/history"
)

// What people ask of a Workflow on the hub, that is to be done where it runs.
const (
	// askHold suspends it for a while, askWaver takes that back at once, twice.
	askHold  = "hold"
	askWaver = "waver"
	// askRetry retries it after its end, askRetries again before and after that is done.
	askRetry   = "retry"
	askRetries = "retries"
	// askTerminate ends it, and retries it, askNote changes a label and an annotation several times.
	askTerminate = "terminate"
	askNote      = "note"
)

var asks = []string{askHold, askHold, askWaver, askRetry, askRetry, askRetries, askTerminate, askNote}

// ask does what a plan asks of the hub copy, until it is enough.
func (p *people) ask(plan plan) {
	if plan.asks == "" {
		return
	}
	until(p.asked, func() bool {
		w := p.get(history.Hub, plan.namespace, plan.name)
		return w == nil || w.GetLabels()[stellarflow.LabelCluster] != ""
	})
	if plan.asks == askRetry || plan.asks == askRetries {
		p.retries(plan)
		return
	}
	if pause(p.asked, plan.asksT) != nil {
		return
	}
	switch plan.asks {
	case askHold:
		p.write(plan.namespace, plan.name, suspend)
		_ = pause(p.asked, plan.asksT) // ends early with the asking: what is suspended then is resumed by tidy
		p.write(plan.namespace, plan.name, resume)
	case askWaver:
		for _, change := range []change{suspend, resume, suspend, resume} {
			p.write(plan.namespace, plan.name, change)
		}
	case askTerminate:
		persist(p.asked, func() error { return p.merge(plan.namespace, plan.name, `{"spec":{"shutdown":"Terminate"}}`) })
		p.retries(plan)
	case askNote:
		for i := range 3 {
			persist(p.asked, func() error { return p.noteOnce(plan.namespace, plan.name, fmt.Sprintf("note-%d", i)) })
			_ = pause(p.asked, plan.asksT/4)
		}
	}
}

// finish lets people go on asking for a while, until nobody does, and waits for who is at it.
func (p *people) finish(within time.Duration) {
	timer := time.AfterFunc(within, p.enough)
	defer timer.Stop()
	p.asking.Wait()
	p.enough()
}

// retries asks for another run of one that has failed. Nobody asks within a second of the last end: Argo's times have no fractions.
func (p *people) retries(plan plan) {
	again := func() bool {
		until(p.asked, func() bool {
			w := p.get(history.Hub, plan.namespace, plan.name)
			return w == nil || stellarflow.Completed(w)
		})
		if pause(p.asked, time.Second+plan.asksT/2) != nil {
			return false
		}
		p.write(plan.namespace, plan.name, retry)
		return true
	}
	if !again() || plan.asks == askRetry {
		return
	}
	p.write(plan.namespace, plan.name, retry)
	again()
}

// change is what one of Argo's tools makes of a hub copy that it has read; false if it refuses to.
type change func(*unstructured.Unstructured) bool

// write reads a placed Workflow, changes it and writes it whole, as Argo's tools do, again while it is somebody else's turn or nobody answers.
func (p *people) write(namespace, name string, change change) {
	persist(p.asked, func() error { return p.writeOnce(namespace, name, change) })
}

func (p *people) writeOnce(namespace, name string, change change) error {
	workflows := p.hub.Resource(stellarflow.Workflows).Namespace(namespace)
	w, err := workflows.Get(p.ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if _, placed := stellarflow.PlacementOf(w); !placed || w.GetDeletionTimestamp() != nil || !change(w) {
		return nil
	}
	_, err = workflows.Update(p.ctx, w, metav1.UpdateOptions{})
	return err
}

// suspend is `stellarflow suspend`.
func suspend(w *unstructured.Unstructured) bool {
	annotations := w.GetAnnotations()
	annotations[stellarflow.AnnotationRequest] = stellarflow.RequestSuspend
	w.SetAnnotations(annotations)
	return !stellarflow.Completed(w)
}

// resume is `argo resume`.
func resume(w *unstructured.Unstructured) bool {
	unstructured.RemoveNestedField(w.Object, "spec", "suspend")
	return !stellarflow.Completed(w)
}

// retry is `argo retry`: what has failed is taken away, the rest stays.
func retry(w *unstructured.Unstructured) bool {
	status, _, _ := unstructured.NestedMap(w.Object, "status")
	if phase := status["phase"]; !stellarflow.Completed(w) || phase != "Failed" && phase != "Error" {
		return false
	}
	nodes, _ := status["nodes"].(map[string]any)
	for id, node := range nodes {
		if phase, _, _ := unstructured.NestedString(node.(map[string]any), "phase"); phase != "Succeeded" { //nolint:forcetypeassert // the hub shows what our Argo has written
			delete(nodes, id)
		}
	}
	status["phase"], status["message"], status["startedAt"], status["nodes"] = "Running", "", time.Now().UTC().Format(time.RFC3339), nodes
	status["conditions"] = []any{map[string]any{"type": "Completed", "status": "False"}}
	delete(status, "finishedAt")
	w.Object["status"] = status
	labels := w.GetLabels()
	delete(labels, stellarflow.ArgoLabelCompleted)
	labels[stellarflow.ArgoLabelPhase] = "Running"
	w.SetLabels(labels)
	return unstructured.SetNestedField(w.Object, "", "spec", "shutdown") == nil
}

// merge tries to patch a hub copy.
func (p *people) merge(namespace, name, patch string) error {
	_, err := p.hub.Resource(stellarflow.Workflows).Namespace(namespace).Patch(p.ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	return err
}

// noteOnce tries to change what a person notes on a Workflow.
func (p *people) noteOnce(namespace, name, text string) error {
	return p.merge(namespace, name, fmt.Sprintf(`{"metadata":{"labels":{%q:%q},"annotations":{%q:%q}}}`, history.KeyNote, text, history.KeyNote, text))
}

// switchOnWEC is what a person there does to a copy: suspend it, or lift that.
func (p *people) switchOnWEC(cluster string, w *unstructured.Unstructured, suspended bool) error {
	patch := fmt.Sprintf(`{"metadata":{"uid":%q,"annotations":{%q:%q}},"spec":{"suspend":%v}}`, w.GetUID(), history.KeySwitched, time.Now().Format(time.RFC3339Nano), suspended)
	_, err := p.wecs[cluster].Resource(stellarflow.Workflows).Namespace(w.GetNamespace()).Patch(p.ctx, w.GetName(), types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	return ignoreConflict(err)
}

// resumeAll is what people do with Workflows that stay suspended: they resume them, and on a WEC the copies that the hub has no record of.
func (p *people) resumeAll() {
	for _, w := range p.list(history.Hub) {
		annotations := w.GetAnnotations()
		if annotations[stellarflow.AnnotationSuspended] == "" || annotations[stellarflow.AnnotationIntents] != "" || stellarflow.Completed(w) {
			continue
		}
		if p.writeOnce(w.GetNamespace(), w.GetName(), resume) != nil {
			return // nobody answers
		}
	}
	for cluster := range p.wecs {
		for _, w := range p.list(cluster) {
			hub := p.get(history.Hub, w.GetNamespace(), w.GetName())
			if !stellarflow.Suspended(w) || stellarflow.Completed(w) || hub != nil && history.Of(hub).WECUID == string(w.GetUID()) {
				continue
			}
			if p.switchOnWEC(cluster, w, false) != nil {
				break
			}
		}
	}
}
