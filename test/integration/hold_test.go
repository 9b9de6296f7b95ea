package integration

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// holding makes a namespace on the hub that holds.
func (c *clusters) holding(t *testing.T, value string) string {
	t.Helper()
	name := c.namespace(t)
	patch := fmt.Sprintf(`{"metadata":{"labels":{%q:%q}}}`, stellarflow.LabelHold, value)
	if _, err := c.hub.core.CoreV1().Namespaces().Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	return name
}

// warned collects the warnings of an API server.
type warned struct {
	mu   sync.Mutex
	text []string
}

func (s *warned) HandleWarningHeader(_ int, _, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = append(s.text, text)
}

func (s *warned) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.text
	s.text = nil
	return taken
}

// person creates Workflows on the hub, deletes them at the end, and hears warnings.
type person struct {
	*clusters
	dynamic.Interface
	warnings *warned
}

func newPerson(t *testing.T, c *clusters) person {
	t.Helper()
	p := person{clusters: c, warnings: &warned{}}
	config := rest.CopyConfig(c.hub.config)
	config.Impersonate = rest.ImpersonationConfig{UserName: "alice", Groups: []string{"system:masters", "system:authenticated"}}
	config.WarningHandler = p.warnings
	var err error
	if p.Interface, err = dynamic.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	return p
}

// creates creates a Workflow from text, which needs no apiVersion and kind.
func (p person) creates(t *testing.T, ns, text string, dryRun ...string) (*unstructured.Unstructured, error) {
	t.Helper()
	workflow := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &workflow.Object); err != nil {
		t.Fatal(err)
	}
	workflow.SetAPIVersion("argoproj.io/v1alpha1")
	workflow.SetKind("Workflow")
	created, err := p.Resource(stellarflow.Workflows).Namespace(ns).Create(t.Context(), workflow, metav1.CreateOptions{DryRun: dryRun})
	if err == nil && len(dryRun) == 0 {
		t.Cleanup(func() { p.wipe(ns, created.GetName()) })
	}
	return created, err
}

// awaitHeld waits until what is selected is held in a namespace.
func (p person) awaitHeld(t *testing.T, ns string) {
	t.Helper()
	eventually(t, "what is selected to be held in namespace "+ns, func(context.Context) (bool, string) {
		created, err := p.creates(t, ns, selectedFor1, metav1.DryRunAll)
		return err == nil && isSuspended(created), fmt.Sprint(err)
	})
	p.warnings.take()
}

func isSuspended(w *unstructured.Unstructured) bool {
	value, _, _ := unstructured.NestedBool(w.Object, "spec", "suspend")
	return value
}

const (
	selectedFor1 = `{metadata: {generateName: held-, labels: {kubestellar.io/cluster: cluster1}}, spec: {entrypoint: main, templates: [{name: main, container: {image: busybox}}]}}`
	notSelected  = `{metadata: {generateName: free-, labels: {a: b}}, spec: {entrypoint: main, templates: [{name: main, container: {image: busybox}}]}}`
	notAnswered  = "BindingPolicy workflows-cluster1 selects this Workflow to run on another cluster, and the hub manager, which suspends such Workflows in namespace"
)

// TestHold creates Workflows in namespaces that hold, as people and Argo's programs do.
func TestHold(t *testing.T) {
	a, _ := setUpActing(t, managerOptions{})
	p := newPerson(t, a.clusters)
	ns := a.holding(t, stellarflow.HoldAll)
	p.awaitHeld(t, ns)

	t.Run("SelectedIsSuspendedAndRunsElsewhere", func(t *testing.T) {
		created, err := p.creates(t, ns, selectedFor1)
		if err != nil || !isSuspended(created) || created.GetGeneration() != 1 {
			t.Fatalf("%v: %s", err, describe(created))
		}
		wecCopy := a.wecs["cluster1"].waitFor(t, ns, created.GetName(), "the WEC copy", exists)
		if isSuspended(wecCopy) {
			t.Error("it is suspended on its cluster")
		}
	})
	t.Run("NotSelectedStaysAsItIs", func(t *testing.T) {
		checkUntouched(t, p, ns, notSelected)
	})
	t.Run("OtherNamespace", func(t *testing.T) {
		checkUntouched(t, p, a.ns, selectedFor1)
	})
	t.Run("DryRun", func(t *testing.T) {
		if created, err := p.creates(t, ns, strings.Replace(selectedFor1, "generateName: held-", "name: dry", 1), metav1.DryRunAll); err != nil || !isSuspended(created) {
			t.Errorf("%v: %s", err, describe(created))
		}
		if a.hub.get(t.Context(), ns, "dry") != nil {
			t.Error("it was stored")
		}
	})
	t.Run("FromATemplateAsArgoDoes", func(t *testing.T) { a.holdFromTemplate(t, p, ns) })
	t.Run("Refused", func(t *testing.T) {
		for text, want := range map[string]string{
			`{metadata: {name: x, labels: {kubestellar.io/cluster: cluster1}}, spec: main}`:                                      "and none can run it: its spec is no object",
			`{metadata: {name: x, labels: {kubestellar.io/cluster: cluster1}}, spec: {workflowTemplateRef: {name: Not A Name}}}`: "and none can run it: it refers to what cannot exist: spec.workflowTemplateRef",
		} {
			if _, err := p.creates(t, ns, text); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", text, err, want)
			}
		}
		checkUntouched(t, p, ns, `{metadata: {name: nobodys}, spec: {suspend: "no", workflowTemplateRef: {name: Not A Name}}}`)
	})
	t.Run("WhatItNeedsIsMissing", func(t *testing.T) {
		p.warnings.take()
		if _, err := p.creates(t, ns, `{metadata: {generateName: w-, labels: {kubestellar.io/cluster: cluster1}}, spec: {workflowTemplateRef: {name: absent}}}`); err != nil {
			t.Fatal(err)
		}
		want := []string{fmt.Sprintf("WorkflowTemplate %q (spec.workflowTemplateRef) is not on the hub: create it in namespace %q, or it needs a cluster that has one of its own", "absent", ns)}
		if diff := cmp.Diff(want, p.warnings.take()); diff != "" {
			t.Errorf("warnings (-want +got):\n%s", diff)
		}
	})
	t.Run("ByPolicy", func(t *testing.T) { a.holdByPolicy(t, p) })
}

// checkUntouched creates a Workflow that nobody holds.
func checkUntouched(t *testing.T, p person, ns, text string) {
	t.Helper()
	var sent map[string]any
	if err := yaml.Unmarshal([]byte(text), &sent); err != nil {
		t.Fatal(err)
	}
	p.warnings.take()
	created, err := p.creates(t, ns, text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sent["spec"], created.Object["spec"]); diff != "" || len(created.GetAnnotations()) > 0 || len(created.GetFinalizers()) > 0 {
		t.Errorf("it was changed: %s (-sent +created)\n%s", describe(created), diff)
	}
	if warnings := p.warnings.take(); len(warnings) > 0 {
		t.Errorf("warnings: %q", warnings)
	}
}

// holdFromTemplate creates a Workflow as argo submit --from does: as Argo's types write it, without suspend, whatever the template says.
func (a acting) holdFromTemplate(t *testing.T, p person, ns string) {
	a.hub.put(t, ns, wft, "greet", `{spec: {entrypoint: main, templates: [{name: main, container: {image: busybox}}]}}`)
	workflow := v1alpha1.Workflow{
		TypeMeta:   metav1.TypeMeta{APIVersion: "argoproj.io/v1alpha1", Kind: "Workflow"},
		ObjectMeta: metav1.ObjectMeta{GenerateName: "greet-", Labels: map[string]string{"kubestellar.io/cluster": "cluster1", "workflows.argoproj.io/workflow-template": "greet"}},
		Spec:       v1alpha1.WorkflowSpec{WorkflowTemplateRef: &v1alpha1.WorkflowTemplateRef{Name: "greet"}},
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&workflow)
	if err != nil {
		t.Fatal(err)
	}
	created, err := p.Resource(stellarflow.Workflows).Namespace(ns).Create(t.Context(), &unstructured.Unstructured{Object: content}, metav1.CreateOptions{})
	if err != nil || !isSuspended(created) {
		t.Fatalf("%v: %s", err, describe(created))
	}
	t.Cleanup(func() { a.wipe(ns, created.GetName()) })
	if warnings := p.warnings.take(); len(warnings) > 0 {
		t.Errorf("the hub has all that it needs, and warns: %q", warnings)
	}
	a.wecs["cluster1"].waitFor(t, ns, created.GetName(), "the WEC copy", exists)
	a.wecs["cluster1"].awaitKind(t, ns, wft, "greet", "to travel", exists)
}

// holdByPolicy has a namespace that leaves it to the policies.
func (a acting) holdByPolicy(t *testing.T, p person) {
	ns := a.holding(t, stellarflow.HoldByPolicy)
	checkUntouched(t, p, ns, selectedFor1)
	patch := func(value string) {
		body := fmt.Sprintf(`{"metadata":{"annotations":{%q:%s}}}`, stellarflow.AnnotationHold, value)
		if _, err := p.Resource(bindingPolicies).Patch(t.Context(), "workflows-cluster1", types.MergePatchType, []byte(body), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	patch(`"true"`)
	p.awaitHeld(t, ns)
	checkUntouched(t, p, ns, strings.ReplaceAll(selectedFor1, "cluster1", "cluster2"))
	patch("null")
	eventually(t, "the policy not to hold any more", func(context.Context) (bool, string) {
		created, err := p.creates(t, ns, selectedFor1, metav1.DryRunAll)
		return err == nil && !isSuspended(created), fmt.Sprint(err)
	})
}

// silent is an address where connections are taken and nothing is answered.
type silent struct {
	asked atomic.Int64
}

func (s *silent) listen(t *testing.T) (address string) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			s.asked.Add(1)
			context.AfterFunc(t.Context(), func() { _ = connection.Close() })
		}
	}()
	return listener.Addr().String()
}

// TestHoldWithoutUs creates Workflows while no hub manager answers: none listens, or one hangs.
func TestHoldWithoutUs(t *testing.T) {
	c := sharedClusters(t)
	c.create(t, policy("cluster1", map[string]string{"name": "cluster1"}))
	p := newPerson(t, c)
	holds, other := c.holding(t, stellarflow.HoldAll), c.namespace(t)
	hangs := &silent{}
	for name, let := range map[string]func(*testing.T){
		"Away":  func(t *testing.T) { c.serveWebhook(t) },
		"Hangs": func(t *testing.T) { c.askAt(t, hangs.listen(t), 1) },
	} {
		t.Run(name, func(t *testing.T) {
			let(t)
			before := hangs.asked.Load()
			eventually(t, "what would run here to be refused", func(context.Context) (bool, string) {
				_, err := p.creates(t, holds, selectedFor1, metav1.DryRunAll)
				if name == "Hangs" && hangs.asked.Load() == before {
					return false, "nobody was asked"
				}
				return apierrors.IsForbidden(err) && strings.Contains(err.Error(), notAnswered), fmt.Sprint(err)
			})
			checkUntouched(t, p, holds, notSelected)
			if created, err := p.creates(t, holds, strings.Replace(selectedFor1, "spec: {", "spec: {suspend: true, ", 1)); err != nil || !isSuspended(created) {
				t.Errorf("what is suspended by hand: %v", err)
			}
			asked := hangs.asked.Load()
			checkUntouched(t, p, other, selectedFor1)
			if hangs.asked.Load() != asked {
				t.Error("the webhook was asked about a namespace that does not hold")
			}
		})
	}
}
