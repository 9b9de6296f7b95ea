package guard

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
	"stellarflow.io/stellarflow/pkg/hub/intent"
	"stellarflow.io/stellarflow/pkg/hub/upsync"
)

// errNoAction is what is said of a status that no action of Argo's writes.
var errNoAction = errors.New("what is written here would be overwritten. Use argo resume, argo node set, argo stop --node-field-selector, argo retry, or act on that cluster")

// status is a Workflow's status as Argo's programs see it: two that they do not tell apart are equal.
type status struct {
	v1alpha1.WorkflowStatus

	// raw are the nodes as they are stored.
	raw map[string]any
}

// statusOf reads the status of a Workflow, with its nodes unpacked.
func statusOf(workflow *unstructured.Unstructured) (status, error) {
	raw, err := json.Marshal(workflow.Object["status"])
	if err != nil {
		return status{}, fmt.Errorf("its status cannot be read: %w", err)
	}
	var read status
	if string(raw) == "null" {
		return read, nil
	}
	unpacked, _, err := upsync.Unpacked(raw)
	if err != nil {
		return status{}, err
	}
	if raw, err = json.Marshal(unpacked); err == nil {
		err = json.Unmarshal(raw, &read.WorkflowStatus)
	}
	if err != nil {
		return status{}, fmt.Errorf("its status cannot be read: %w", err)
	}
	read.raw, _ = unpacked["nodes"].(map[string]any)
	return read, nil
}

// MarshalJSON leaves the stored nodes out.
func (s status) MarshalJSON() ([]byte, error) { return json.Marshal(s.WorkflowStatus) }

// acted finds out what a write to a Workflow that has not ended means: resume, or changes of suspended nodes.
func (w Write) acted(old, next status, lifted bool, restore []hubcopy.Operation, placement stellarflow.Placement) (stellarflow.Intent, []hubcopy.Operation, error) {
	found := stellarflow.Intent{Kind: stellarflow.IntentSet}
	if lifted {
		found.Kind, found.Whole = stellarflow.IntentResume, true
	}
	var err error
	if found.Nodes, err = changedNodes(old, next); err != nil {
		return found, nil, err
	}
	expected := status{WorkflowStatus: *old.DeepCopy()}
	for id, change := range found.Nodes {
		expected.Nodes[id] = changed(old.Nodes[id], change)
	}
	found.Outputs = changedOutputs(old.Outputs, next.Outputs)
	for _, name := range slices.Sorted(maps.Keys(found.Outputs)) {
		if expected.Outputs == nil {
			expected.Outputs = &v1alpha1.Outputs{}
		}
		expected.Outputs.Parameters = withValue(expected.Outputs.Parameters, name, found.Outputs[name])
	}
	if !equal(expected, next) {
		return found, nil, errNoAction
	}
	switch {
	case len(found.Nodes) == 0 && len(found.Outputs) > 0:
		return found, nil, errNoAction
	case !lifted && len(found.Nodes) == 0:
		return stellarflow.Intent{}, restore, nil
	}
	if !lifted && ends(found.Nodes, v1alpha1.NodeSucceeded) {
		found.Kind = stellarflow.IntentResume
	}
	if onlyOutputs(found) && placement.WECUID != "" {
		restore = nil // the next action of the UI and the CLI asks whether the outputs are set
	}
	return found, restore, nil
}

// changedNodes returns what of suspended nodes is changed. It fails if another node is.
func changedNodes(old, next status) (map[string]stellarflow.NodeChange, error) {
	var changes map[string]stellarflow.NodeChange
	for _, id := range slices.Sorted(maps.Keys(next.Nodes)) {
		before, known := old.Nodes[id]
		after := next.Nodes[id]
		if known && equal(before, after) {
			continue
		}
		if !before.IsActiveSuspendNode() {
			return nil, fmt.Errorf("node %q is not suspended; %w", id, errNoAction)
		}
		if changes == nil {
			changes = map[string]stellarflow.NodeChange{}
		}
		changes[id] = changeOf(before, after)
	}
	return changes, nil
}

// onlyOutputs reports whether an intent sets output parameters and nothing else.
func onlyOutputs(intent stellarflow.Intent) bool {
	for _, change := range intent.Nodes {
		if change.Phase != "" || change.Message != "" {
			return false
		}
	}
	return !intent.Whole
}

func ends(nodes map[string]stellarflow.NodeChange, phase v1alpha1.NodePhase) bool {
	for _, change := range nodes {
		if change.Phase != string(phase) {
			return false
		}
	}
	return true
}

// changeOf returns what of a suspended node is changed.
func changeOf(before, after v1alpha1.NodeStatus) stellarflow.NodeChange {
	var change stellarflow.NodeChange
	if after.Phase != before.Phase {
		change.Phase = string(after.Phase)
	}
	if !after.FinishedAt.Equal(&before.FinishedAt) {
		change.FinishedAt = &after.FinishedAt
	}
	if after.Message != before.Message {
		change.Message = after.Message
	}
	change.Outputs = changedOutputs(before.Outputs, after.Outputs)
	return change
}

// changedOutputs returns the output parameters that have another value.
func changedOutputs(before, after *v1alpha1.Outputs) map[string]string {
	if after == nil {
		return nil
	}
	var values map[string]string
	for _, parameter := range after.Parameters {
		i := indexOf(before, parameter.Name)
		if parameter.Value == nil || i >= 0 && equal(before.Parameters[i], parameter) {
			continue
		}
		if values == nil {
			values = map[string]string{}
		}
		values[parameter.Name] = parameter.Value.String()
	}
	return values
}

// indexOf is where an output parameter stands, -1 if there is none of this name.
func indexOf(outputs *v1alpha1.Outputs, name string) int {
	if outputs == nil {
		return -1
	}
	return slices.IndexFunc(outputs.Parameters, func(parameter v1alpha1.Parameter) bool { return parameter.Name == name })
}

// changed returns the node that a change makes of one.
func changed(before v1alpha1.NodeStatus, change stellarflow.NodeChange) v1alpha1.NodeStatus {
	after := *before.DeepCopy()
	if change.Phase != "" {
		after.Phase = v1alpha1.NodePhase(change.Phase)
	}
	if change.FinishedAt != nil {
		after.FinishedAt = *change.FinishedAt
	}
	if change.Message != "" {
		after.Message = change.Message
	}
	for name, value := range change.Outputs {
		if indexOf(after.Outputs, name) >= 0 { // else it will not equal what was written
			after.Outputs.Parameters = withValue(after.Outputs.Parameters, name, value)
		}
	}
	return after
}

// withValue returns parameters of which one has a value and nowhere else to get it from.
func withValue(parameters []v1alpha1.Parameter, name, value string) []v1alpha1.Parameter {
	for i := range parameters {
		if parameters[i].Name == name {
			parameters[i].Value, parameters[i].ValueFrom = v1alpha1.AnyStringPtr(value), nil
			return parameters
		}
	}
	return append(parameters, v1alpha1.Parameter{Name: name, Value: v1alpha1.AnyStringPtr(value)})
}

// retried finds out whether a write to a Workflow that has ended is a retry, and which nodes it takes away and resets.
func (w Write) retried(old, next status, restore []hubcopy.Operation) (stellarflow.Intent, []hubcopy.Operation, error) {
	if stellarflow.Completed(w.New) || next.Phase.Completed() {
		return stellarflow.Intent{}, nil, fmt.Errorf("it has ended; %w", errNoAction)
	}
	found := stellarflow.Intent{Kind: stellarflow.IntentRetry}
	observed, known := stellarflow.ParseObserved(w.Old.GetAnnotations()[stellarflow.AnnotationObserved])
	if !known || len(old.raw) == 0 {
		return found, nil, errors.New("its nodes are not on the hub, and only with them it can be retried: retry it on that cluster, or resubmit it here")
	}
	if !stellarflow.Suspended(w.Old) && !w.follows() { // somebody has lifted that after the end, or the hub was a dedicated one: it would run here too
		restore = append(restore, hubcopy.Add(true, "spec", "suspend"))
	}
	found.Base = observed.Hash
	change, err := retryOf(w.Old.GetName(), old, next)
	if err != nil {
		return found, nil, err
	}
	before, _, _ := unstructured.NestedFieldNoCopy(w.Old.Object, "spec", "arguments")
	if after, _, _ := unstructured.NestedFieldNoCopy(w.New.Object, "spec", "arguments"); !equal(arguments(before), arguments(after)) {
		if change.Arguments, err = json.Marshal(after); err != nil {
			return found, nil, fmt.Errorf("its arguments cannot be read: %w", err)
		}
		restore = append(restore, put(before, "spec", "arguments")...)
	}
	found.Retry = change
	for _, field := range []string{"shutdown", "activeDeadlineSeconds"} {
		if before, found, _ := unstructured.NestedFieldNoCopy(w.Old.Object, "spec", field); found {
			restore = append(restore, hubcopy.Add(before, "spec", field))
		}
	}
	labels := map[string]*string{}
	for _, key := range []string{stellarflow.ArgoLabelCompleted, stellarflow.ArgoLabelPhase, stellarflow.ArgoLabelArchivingStatus} {
		if value, found := w.Old.GetLabels()[key]; found {
			labels[key] = &value
		}
	}
	return found, append(restore, hubcopy.Set(w.New, "labels", labels)...), nil
}

// arguments are those of a spec as Argo's programs see them: they write empty ones where there were none.
func arguments(value any) v1alpha1.Arguments {
	var read v1alpha1.Arguments
	if raw, err := json.Marshal(value); err == nil {
		_ = json.Unmarshal(raw, &read) // what cannot be read equals nothing that was written
	}
	return read
}

// put returns the operation that puts a value back, or its absence.
func put(value any, path ...string) []hubcopy.Operation {
	if value == nil {
		return []hubcopy.Operation{hubcopy.Remove(path...)}
	}
	return []hubcopy.Operation{hubcopy.Add(value, path...)}
}

// retryOf returns what a retry has done to the nodes, and proves that it has done nothing else to them.
func retryOf(workflow string, old, next status) (*stellarflow.RetryChange, error) {
	change := &stellarflow.RetryChange{StartedAt: next.StartedAt}
	removed, reset := map[string]bool{}, map[string]bool{}
	add := func(list *[]string, set map[string]bool, id string) bool {
		suffix, found := strings.CutPrefix(id, workflow)
		*list, set[id] = append(*list, suffix), true
		return found
	}
	for _, id := range slices.Sorted(maps.Keys(old.raw)) {
		before, readable := old.Nodes[id]
		after, kept := next.Nodes[id]
		named := readable
		switch {
		case !kept:
			named = named && add(&change.Removed, removed, id)
		case !after.StartedAt.Equal(&before.StartedAt), after.Phase != before.Phase:
			named = named && add(&change.Reset, reset, id)
		}
		if !named {
			return nil, fmt.Errorf("node %q has no ID of Argo's: retry it on that cluster, or resubmit it here", id)
		}
	}
	expected := copied(old.raw)
	intent.Retried(expected, removed, reset, nil)
	raw, err := json.Marshal(expected)
	if err != nil {
		return nil, fmt.Errorf("its nodes cannot be read: %w", err)
	}
	var nodes v1alpha1.Nodes
	if err := json.Unmarshal(raw, &nodes); err != nil {
		return nil, fmt.Errorf("its nodes cannot be read: %w", err)
	}
	for id := range reset { // each is reset a moment after the one before
		node := nodes[id]
		node.StartedAt = next.Nodes[id].StartedAt
		nodes[id] = node
	}
	if len(nodes)+len(next.Nodes) > 0 && !equal(nodes, next.Nodes) { // Argo's programs write no nodes for none
		return nil, errNoAction
	}
	return change, nil
}

// copied is a deep copy of nodes.
func copied(nodes map[string]any) map[string]any {
	return (&unstructured.Unstructured{Object: nodes}).DeepCopy().Object
}
