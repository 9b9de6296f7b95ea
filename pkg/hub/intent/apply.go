package intent

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
	"stellarflow.io/stellarflow/pkg/hub/upsync"
)

// Refusal says why an intent is not done: what it was meant for is not as the person saw it any more.
type Refusal struct{ Message string }

// Error returns the message.
func (r *Refusal) Error() string { return r.Message }

func refuse(format string, args ...any) error { return &Refusal{fmt.Sprintf(format, args...)} }

// Effect is what an intent does on a WEC.
type Effect struct {
	// Operations change the WEC copy. They hold only for the version that they were made from.
	Operations []hubcopy.Operation
	// Removed are the IDs of the nodes that a retry takes away: their pods go first.
	Removed map[string]bool
}

// Apply returns what an intent does to a WEC copy; mirrored is the hash of what the hub shows, or would show, of the copy as it is now. A
// *Refusal says that the intent's base does not hold; other errors are those of a status that cannot be read.
func Apply(intent stellarflow.Intent, wecCopy upsync.WECCopy, mirrored string) (Effect, error) {
	if intent.WECUID != "" && intent.WECUID != wecCopy.Metadata.UID {
		return Effect{}, refuse("it was asked of an earlier run")
	}
	if wecCopy.Metadata.DeletionTimestamp != nil {
		return Effect{}, refuse("its copy there is being deleted")
	}
	ended := stellarflow.Completed(&wecCopy.Metadata)
	if intent.Kind != stellarflow.IntentRetry && ended {
		return Effect{}, refuse("it has ended meanwhile")
	}
	effect := Effect{Operations: hubcopy.Unchanged(&wecCopy.Metadata)}
	var err error
	switch intent.Kind {
	case stellarflow.IntentSuspend:
		effect.Operations = append(effect.Operations, hubcopy.Add(true, "spec", "suspend"))
	case stellarflow.IntentRetry:
		switch {
		case !ended:
			return Effect{}, refuse("it runs again already")
		case intent.Base != mirrored:
			return Effect{}, refuse("its copy has changed since; look at it and retry again")
		}
		err = effect.retry(intent.Retry, wecCopy)
	case stellarflow.IntentResume, stellarflow.IntentSet:
		err = effect.set(intent, wecCopy)
	}
	effect.Operations = append(effect.Operations, hubcopy.Add(string(intent.ID), "metadata", "annotations", stellarflow.AnnotationApplied))
	return effect, err
}

// set changes suspended nodes.
func (e *Effect) set(intent stellarflow.Intent, wecCopy upsync.WECCopy) error {
	if intent.Whole && wecCopy.Spec.Suspend {
		e.Operations = append(e.Operations, hubcopy.Remove("spec", "suspend"))
	}
	if !wecCopy.HasStatus() {
		return nil
	}
	status, packed, err := upsync.Unpacked(wecCopy.Status)
	if err != nil {
		return err
	}
	if version, _ := status["offloadNodeStatusVersion"].(string); version != "" {
		return refuse("its nodes are kept in a database there: act on that cluster")
	}
	if len(intent.Nodes) == 0 && len(intent.Outputs) == 0 {
		return nil
	}
	nodes, _ := status["nodes"].(map[string]any)
	changed, err := setNodes(nodes, intent.Nodes)
	if err != nil {
		return err
	}
	if changed == 0 && !intent.Whole {
		return refuse("no node of those that were meant is suspended there any more")
	}
	if changed > 0 {
		if err := e.store(nodes, packed); err != nil {
			return err
		}
	}
	if len(intent.Outputs) > 0 {
		e.Operations = append(e.Operations, hubcopy.Add(withOutputs(status["outputs"], intent.Outputs), "status", "outputs"))
	}
	return nil
}

// store writes the nodes as they were stored before.
func (e *Effect) store(nodes map[string]any, packed bool) error {
	if !packed {
		e.Operations = append(e.Operations, hubcopy.Add(nodes, "status", "nodes"))
		return nil
	}
	text, err := upsync.Pack(nodes)
	e.Operations = append(e.Operations, hubcopy.Add(text, "status", "compressedNodes"))
	return err
}

// active reports whether a node is a suspended one that waits (NodeStatus.IsActiveSuspendNode).
func active(node map[string]any) bool {
	return node["type"] == "Suspend" && node["phase"] == stellarflow.PhaseRunning
}

// setNodes changes the nodes that are still suspended, and returns how many are.
func setNodes(nodes map[string]any, changes map[string]stellarflow.NodeChange) (changed int, err error) {
	for _, id := range slices.Sorted(maps.Keys(changes)) {
		node, _ := nodes[id].(map[string]any)
		if !active(node) {
			continue // it has ended by itself, which is what was wanted of it, or was never to be
		}
		if err := setNode(node, changes[id]); err != nil {
			return changed, err
		}
		changed++
	}
	return changed, nil
}

func setNode(node map[string]any, change stellarflow.NodeChange) error {
	if change.Phase != "" {
		node["phase"] = change.Phase
	}
	if change.FinishedAt != nil {
		node["finishedAt"] = change.FinishedAt
	}
	if change.Message != "" {
		node["message"] = change.Message
	}
	outputs, _ := node["outputs"].(map[string]any)
	parameters, _ := outputs["parameters"].([]any)
	for _, name := range slices.Sorted(maps.Keys(change.Outputs)) {
		i := slices.IndexFunc(parameters, named(name))
		if i < 0 {
			return refuse("suspended node %q has no output parameter %q there", node["displayName"], name)
		}
		parameter, _ := parameters[i].(map[string]any)
		if parameter["value"] != nil && parameter["value"] != change.Outputs[name] {
			return refuse("output parameter %q of suspended node %q has got a value there meanwhile", name, node["displayName"])
		}
		parameter["value"] = change.Outputs[name]
		delete(parameter, "valueFrom")
	}
	return nil
}

func named(name string) func(any) bool {
	return func(parameter any) bool {
		object, _ := parameter.(map[string]any)
		return object["name"] == name
	}
}

// withOutputs returns a Workflow's own outputs with parameters set.
func withOutputs(before any, values map[string]string) map[string]any {
	outputs, _ := before.(map[string]any)
	if outputs == nil {
		outputs = map[string]any{}
	}
	parameters, _ := outputs["parameters"].([]any)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if i := slices.IndexFunc(parameters, named(name)); i >= 0 {
			parameters[i].(map[string]any)["value"] = values[name] //nolint:forcetypeassert // named has seen it
			continue
		}
		parameters = append(parameters, map[string]any{"name": name, "value": values[name]})
	}
	outputs["parameters"] = parameters
	return outputs
}

// retry makes an ended WEC copy run again.
func (e *Effect) retry(change *stellarflow.RetryChange, wecCopy upsync.WECCopy) error {
	status, packed, err := upsync.Unpacked(wecCopy.Status)
	if err != nil {
		return err
	}
	nodes, _ := status["nodes"].(map[string]any)
	if len(nodes) == 0 {
		return refuse("its nodes are not in its status there: retry it on that cluster")
	}
	prefix := wecCopy.Metadata.Name
	e.Removed = ids(prefix, change.Removed)
	Retried(nodes, e.Removed, ids(prefix, change.Reset), change.StartedAt)
	if err := e.store(nodes, packed); err != nil {
		return err
	}
	e.Operations = append(e.Operations, hubcopy.Add(stellarflow.PhaseRunning, "status", "phase"), hubcopy.Add(change.StartedAt, "status", "startedAt"),
		hubcopy.Add(nil, "status", "finishedAt"), hubcopy.Add("", "status", "message"),
		hubcopy.Add(incomplete(status["conditions"]), "status", "conditions"))
	if status["persistentVolumeClaims"] != nil {
		e.Operations = append(e.Operations, hubcopy.Remove("status", "persistentVolumeClaims"))
	}
	if stored, _ := status["storedWorkflowTemplateSpec"].(map[string]any); stored["shutdown"] != nil {
		e.Operations = append(e.Operations, hubcopy.Remove("status", "storedWorkflowTemplateSpec", "shutdown"))
	}
	if wecCopy.Spec.Shutdown != "" {
		e.Operations = append(e.Operations, hubcopy.Add("", "spec", "shutdown"))
	}
	if wecCopy.Spec.ActiveDeadlineSeconds == float64(0) { // as an earlier Argo's terminate left it
		e.Operations = append(e.Operations, hubcopy.Remove("spec", "activeDeadlineSeconds"))
	}
	if change.Arguments != nil {
		e.Operations = append(e.Operations, hubcopy.Add(change.Arguments, "spec", "arguments"))
	}
	running := stellarflow.PhaseRunning
	e.Operations = append(e.Operations, hubcopy.Set(&wecCopy.Metadata, "labels", map[string]*string{
		stellarflow.ArgoLabelCompleted: nil, stellarflow.ArgoLabelArchivingStatus: nil, stellarflow.ArgoLabelPhase: &running,
	})...)
	e.Operations = append(e.Operations, hubcopy.AddFinalizer(&wecCopy.Metadata, stellarflow.FinalizerHarvest)...)
	return nil
}

// Again returns the status that a Workflow is created with whose retry is asked for and whose WEC copy is gone: what the hub has shown of
// it (raw), as a retry leaves it, and without a phase.
func Again(workflow string, raw json.RawMessage, change *stellarflow.RetryChange) (map[string]any, error) {
	status, packed, err := upsync.Unpacked(raw)
	if err != nil {
		return nil, err
	}
	nodes, _ := status["nodes"].(map[string]any)
	if len(nodes) == 0 {
		return nil, refuse("its copy there is gone, and its nodes are not on the hub: resubmit it")
	}
	Retried(nodes, ids(workflow, change.Removed), ids(workflow, change.Reset), change.StartedAt)
	again := map[string]any{"nodes": nodes}
	if packed {
		delete(again, "nodes")
		if again["compressedNodes"], err = upsync.Pack(nodes); err != nil {
			return nil, err
		}
	}
	if status["outputs"] != nil {
		again["outputs"] = status["outputs"]
	}
	return again, nil
}

// incomplete returns conditions with Completed False.
func incomplete(before any) []any {
	conditions, _ := before.([]any)
	conditions = slices.DeleteFunc(conditions, func(condition any) bool {
		object, _ := condition.(map[string]any)
		return object["type"] == "Completed"
	})
	return append(conditions, map[string]any{"type": "Completed", "status": "False"})
}

// Retried makes of nodes what a retry does (FormulateRetryWorkflow): it takes the removed ones away, also from the lists of their parents,
// and lets the reset ones run again.
func Retried(nodes map[string]any, removed, reset map[string]bool, startedAt any) {
	for id := range removed {
		delete(nodes, id)
	}
	for id, value := range nodes {
		node, isObject := value.(map[string]any)
		if !isObject {
			continue
		}
		for _, list := range []string{"children", "outboundNodes"} {
			if kept := without(node[list], removed); len(kept) > 0 {
				node[list] = kept
			} else {
				delete(node, list)
			}
		}
		if reset[id] {
			resetNode(node, startedAt)
		}
	}
}

func without(list any, removed map[string]bool) []any {
	ids, _ := list.([]any)
	return slices.DeleteFunc(slices.Clone(ids), func(id any) bool {
		text, _ := id.(string)
		return removed[text]
	})
}

// resetNode is Argo's function of that name.
func resetNode(node map[string]any, startedAt any) {
	if outputs, _ := node["outputs"].(map[string]any); node["type"] == "Suspend" && outputs != nil {
		parameters, _ := outputs["parameters"].([]any)
		for i, parameter := range parameters {
			object, _ := parameter.(map[string]any)
			parameters[i] = map[string]any{"name": object["name"], "valueFrom": map[string]any{"supplied": map[string]any{}}}
		}
	}
	if node["phase"] != stellarflow.PhaseSkipped {
		node["phase"] = stellarflow.PhaseRunning
	}
	delete(node, "message")
	node["startedAt"], node["finishedAt"] = startedAt, nil
}

// ids are whole IDs of nodes.
func ids(workflow string, suffixes []string) map[string]bool {
	whole := make(map[string]bool, len(suffixes))
	for _, suffix := range suffixes {
		whole[workflow+suffix] = true
	}
	return whole
}
