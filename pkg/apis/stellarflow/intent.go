package stellarflow

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// IntentKind is what a person wants done.
type IntentKind string

// The kinds of intents. Stop and terminate are none: spec.shutdown is passed on as it stands (docs/adr/0006).
const (
	// IntentSuspend holds the Workflow: steps that run go on, no other begins.
	IntentSuspend IntentKind = "suspend"
	// IntentResume lifts the suspension and ends suspended nodes.
	IntentResume IntentKind = "resume"
	// IntentSet changes suspended nodes: phase, message, output parameters.
	IntentSet IntentKind = "set"
	// IntentRetry runs the failed steps of an ended Workflow again.
	IntentRetry IntentKind = "retry"
)

// IntentKinds are all of them.
var IntentKinds = []IntentKind{IntentSuspend, IntentResume, IntentSet, IntentRetry}

// Bounds of AnnotationIntents: what waits for one Workflow, and its size in bytes. All annotations of an object together may have 256 KiB.
const (
	MaxIntents      = 16
	MaxIntentsBytes = 64 << 10
)

// maxCaller bounds a user's name in an intent, in bytes.
const maxCaller = 253

// ErrTooManyIntents is the sentinel of an intent that finds no room.
var ErrTooManyIntents = errors.New("too much is asked of this Workflow at once")

// Intent is an action that admission found in a person's write to a hub copy, and that the hub manager has still to do on the WEC copy.
type Intent struct {
	// ID is the UID of the admission request.
	ID   types.UID  `json:"id"`
	Kind IntentKind `json:"kind"`
	// Caller is the user's name.
	Caller string    `json:"caller"`
	Time   time.Time `json:"time"`
	// WECUID is the WEC copy that it was asked of, empty if none was known yet.
	WECUID types.UID `json:"wecUID,omitempty"`
	// Base, of a retry, is the hash of the mirrored state that it was made from (Observed.Hash).
	Base string `json:"base,omitempty"`
	// Whole, of a resume, lifts the suspension too.
	Whole bool `json:"whole,omitempty"`
	// Nodes, of resume and set, are the suspended nodes that change, by their IDs.
	Nodes map[string]NodeChange `json:"nodes,omitempty"`
	// Outputs, of resume and set, are the Workflow's own output parameters that change.
	Outputs map[string]string `json:"outputs,omitempty"`
	// Retry is what a retry does.
	Retry *RetryChange `json:"retry,omitempty"`
}

// NodeChange is what becomes of a suspended node.
type NodeChange struct {
	// Phase is empty if it stays; a node that ends gets FinishedAt with it.
	Phase      string       `json:"phase,omitempty"`
	FinishedAt *metav1.Time `json:"finishedAt,omitempty"`
	Message    string       `json:"message,omitempty"`
	// Outputs are the values of its output parameters.
	Outputs map[string]string `json:"outputs,omitempty"`
}

// RetryChange is what Argo's retry makes of the nodes: it takes the failed ones away and lets the groups that hold them run again.
type RetryChange struct {
	// Removed and Reset are IDs of nodes, without the Workflow's name that each begins with.
	Removed []string `json:"removed,omitempty"`
	Reset   []string `json:"reset,omitempty"`
	// Arguments is the new spec.arguments, nil if that stays.
	Arguments json.RawMessage `json:"arguments,omitempty"`
	// StartedAt is when the Workflow counts as started again.
	StartedAt metav1.Time `json:"startedAt"`
}

// ActionCounts count the intents of a hub copy by their kind.
type ActionCounts map[IntentKind]ActionCount

// ActionCount says how many intents of a kind were done and refused on a WEC.
type ActionCount struct {
	Done    int `json:"done,omitempty"`
	Refused int `json:"refused,omitempty"`
}

// ActionsOf reads AnnotationActions; what cannot be read counts as nothing.
func ActionsOf(hubCopy metav1.Object) ActionCounts {
	counts := ActionCounts{}
	if err := json.Unmarshal([]byte(hubCopy.GetAnnotations()[AnnotationActions]), &counts); err != nil || counts == nil {
		return ActionCounts{}
	}
	return counts
}

// Add counts intents that were done and that were refused.
func (c ActionCounts) Add(done, refused []Intent) ActionCounts {
	for _, intent := range done {
		count := c[intent.Kind]
		count.Done++
		c[intent.Kind] = count
	}
	for _, intent := range refused {
		count := c[intent.Kind]
		count.Refused++
		c[intent.Kind] = count
	}
	return c
}

// String returns the value of AnnotationActions.
func (c ActionCounts) String() string {
	raw, err := json.Marshal(c)
	if err != nil { // numbers always marshal
		return ""
	}
	return string(raw)
}

// IntentsOf reads what waits to be done for a hub copy, in its order. It fails if AnnotationIntents is not what MarshalIntents wrote: then
// nothing of it counts.
func IntentsOf(hubCopy metav1.Object) ([]Intent, error) {
	raw := hubCopy.GetAnnotations()[AnnotationIntents]
	if raw == "" {
		return nil, nil
	}
	if len(raw) > MaxIntentsBytes {
		return nil, fmt.Errorf("annotation %s has %d bytes, more than %d", AnnotationIntents, len(raw), MaxIntentsBytes)
	}
	var intents []Intent
	if err := json.Unmarshal([]byte(raw), &intents); err != nil {
		return nil, fmt.Errorf("annotation %s is not what admission writes: %w", AnnotationIntents, err)
	}
	for i, intent := range intents {
		intents[i].Caller = OneLine(intent.Caller, maxCaller)
		if intent.ID == "" || !slices.Contains(IntentKinds, intent.Kind) || intent.Kind == IntentRetry && intent.Retry == nil {
			return nil, fmt.Errorf("annotation %s is not what admission writes: intent %q of kind %q", AnnotationIntents, intent.ID, intent.Kind)
		}
	}
	if len(intents) > MaxIntents {
		return nil, fmt.Errorf("annotation %s has %d intents, more than %d", AnnotationIntents, len(intents), MaxIntents)
	}
	return intents, nil
}

// MarshalIntents returns the value of AnnotationIntents, empty for none. It fails with ErrTooManyIntents.
func MarshalIntents(intents []Intent) (string, error) {
	if len(intents) == 0 {
		return "", nil
	}
	raw, err := json.Marshal(intents)
	if err != nil {
		return "", fmt.Errorf("write the intents: %w", err)
	}
	if len(intents) > MaxIntents || len(raw) > MaxIntentsBytes {
		return "", fmt.Errorf("%w: %d actions in %d bytes wait for its cluster, %d in %d are the most", ErrTooManyIntents, len(intents), len(raw), MaxIntents, MaxIntentsBytes)
	}
	return string(raw), nil
}

// AskSuspension reports whether one of the intents that wait, in a value of AnnotationIntents, is to suspend a Workflow or to lift that. One
// that cannot be read asks nothing.
func AskSuspension(text string) bool {
	var intents []Intent
	return json.Unmarshal([]byte(text), &intents) == nil && slices.ContainsFunc(intents, func(i Intent) bool { return i.Whole || i.Kind == IntentSuspend })
}

// Queue adds an intent to those that wait. What it contradicts is dropped: of two the last one wins, but a resume of the whole Workflow leaves a
// step as it was asked for by itself, as it would where that is done at once. The intents given are not changed.
func Queue(waiting []Intent, next Intent) []Intent {
	next.Caller = OneLine(next.Caller, maxCaller)
	next.Nodes = cloned(next.Nodes)
	var queued []Intent
	for _, earlier := range waiting {
		if left, asks := overruled(earlier, &next); asks {
			queued = append(queued, left)
		}
	}
	return append(queued, next)
}

// overruled is what is left of an intent when another is asked for after it; asks is false if that is nothing. It takes from next what the earlier one
// has said of a step.
func overruled(earlier Intent, next *Intent) (left Intent, asks bool) {
	switch {
	case earlier.Kind == IntentRetry:
		return earlier, next.Kind != IntentRetry
	case earlier.Kind == IntentSuspend:
		return earlier, next.Kind != IntentSuspend && !next.Whole
	case next.Kind == IntentSuspend:
		earlier.Whole = false
	}
	nodes := cloned(earlier.Nodes)
	for id := range earlier.Nodes {
		if _, both := next.Nodes[id]; both {
			overruledNode(id, nodes, earlier, next)
		}
	}
	earlier.Nodes = nodes
	return earlier, earlier.Whole && !next.Whole || len(nodes) > 0
}

// overruledNode changes what nodes, those of the earlier intent, and next say of a step that both are about.
func overruledNode(id string, nodes map[string]NodeChange, earlier Intent, next *Intent) {
	change, later := nodes[id], next.Nodes[id]
	switch {
	case next.Whole && !earlier.Whole: // it ends all steps that are left, with what they are given by default
		if later.Outputs = without(later.Outputs, change.Outputs); change.Phase != "" {
			delete(next.Nodes, id)
		} else {
			next.Nodes[id] = later
		}
	case change.Phase == "":
		if change.Outputs = without(change.Outputs, later.Outputs); change.Message == "" && len(change.Outputs) == 0 {
			delete(nodes, id)
		} else {
			nodes[id] = change
		}
	case later.Phase == change.Phase:
		later.Outputs = with(later.Outputs, change.Outputs)
		next.Nodes[id], next.Outputs = later, with(next.Outputs, earlier.Outputs)
		delete(nodes, id)
	case later.Phase != "":
		delete(nodes, id)
	}
}

// without returns the values whose names others do not have.
func without(values, others map[string]string) map[string]string {
	var left map[string]string
	for name, value := range values {
		if _, both := others[name]; !both {
			left = with(left, map[string]string{name: value})
		}
	}
	return left
}

// with returns values and those of others that they do not have.
func with(values, others map[string]string) map[string]string {
	if len(values)+len(others) == 0 {
		return values
	}
	all := map[string]string{}
	for name, value := range others {
		all[name] = value
	}
	for name, value := range values {
		all[name] = value
	}
	return all
}

// cloned is a copy of changes, nil for none.
func cloned(changes map[string]NodeChange) map[string]NodeChange {
	if len(changes) == 0 {
		return nil
	}
	all := map[string]NodeChange{}
	for id, change := range changes {
		all[id] = change
	}
	return all
}

// CountingOn splits intents that wait into those that count on a refused one, and the rest. They are for the same suspended node, and were asked by
// somebody who saw the other as done: a step would go on without the value that was set for it. A resume of the whole Workflow is among the
// rest, without those nodes; spared says that there is one.
func CountingOn(refused Intent, waiting []Intent) (counting, rest []Intent, spared bool) {
	doubtful := cloned(refused.Nodes)
	for _, later := range waiting {
		switch shares := sharesNode(doubtful, later.Nodes); {
		case shares && !later.Whole:
			counting = append(counting, later)
			for id, change := range later.Nodes {
				doubtful[id] = change
			}
			continue
		case shares:
			spared, later.Nodes = true, cloned(later.Nodes)
			for id := range doubtful {
				delete(later.Nodes, id)
			}
		}
		rest = append(rest, later)
	}
	return counting, rest, spared
}

func sharesNode(a, b map[string]NodeChange) bool {
	for id := range a {
		if _, both := b[id]; both {
			return true
		}
	}
	return false
}
