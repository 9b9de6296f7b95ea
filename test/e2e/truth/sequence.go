package truth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/google/go-cmp/cmp"
)

// State is one revision of a Workflow: on the hub as it is stored, of a WEC as the hub may show it.
type State struct {
	// Version is its resourceVersion. Claims is, on the hub, the resourceVersion on the WEC that it says it is.
	Version, Claims string
	// Status is canonical JSON, so that equal ones have equal bytes; nil for none.
	Status json.RawMessage
	// Marks are the labels and annotations that travel with the status.
	Marks map[string]string
}

func (s State) same(other State) bool {
	return bytes.Equal(s.Status, other.Status) && maps.Equal(s.Marks, other.Marks)
}

// Follow checks that what a hub has shown is a subsequence of what a WEC has said: states may be left out or shown twice, but none is
// invented, and none comes after a later one. It returns what is wrong.
func Follow(hub, wec []State) []string {
	var findings []string
	at := 0 // every state before this one is in the past
	for _, shown := range hub {
		next := at
		for next < len(wec) && !wec[next].same(shown) {
			next++
		}
		if next < len(wec) {
			at = next
			continue
		}
		findings = append(findings, fmt.Sprintf("resourceVersion %s of the hub copy %s", shown.Version, unlike(shown, wec, at)))
	}
	return findings
}

// unlike says what is wrong with a state that is none of those from at on.
func unlike(shown State, wec []State, at int) string {
	for _, said := range wec[:at] {
		if said.same(shown) {
			return fmt.Sprintf("is resourceVersion %s of the WEC copy, which comes before %s, shown already", said.Version, wec[at].Version)
		}
	}
	for _, said := range wec {
		if said.Version == shown.Claims {
			return fmt.Sprintf("is not resourceVersion %s of the WEC copy, which it says it is (-WEC +hub):\n%s", said.Version, diff(said, shown))
		}
	}
	return fmt.Sprintf("is no state of the WEC copy, and there was none of resourceVersion %q, which it says it is", shown.Claims)
}

// diff shows how two states differ.
func diff(a, b State) string {
	return cmp.Diff(a.Marks, b.Marks) + cmp.Diff(decoded(a.Status), decoded(b.Status))
}

func decoded(status json.RawMessage) any {
	var value any
	if err := json.Unmarshal(status, &value); err != nil {
		return string(status)
	}
	return value
}

// End checks that both end alike.
func End(hub, wec []State) []string {
	if len(hub) == 0 || len(wec) == 0 {
		return []string{fmt.Sprintf("there are %d states of the hub copy and %d of the WEC copy", len(hub), len(wec))}
	}
	last, said := hub[len(hub)-1], wec[len(wec)-1]
	if last.same(said) {
		return nil
	}
	return []string{"the hub copy ended unlike the WEC copy (-WEC +hub):\n" + diff(said, last)}
}

// Step is a step back of a node.
type Step struct {
	Node, From, To string
	// Version is the state in which the node is back.
	Version string
}

// gone is the phase of a node that is not there any more.
const gone = "gone"

// Backwards returns the steps back in a sequence: a node that had ended and is something else, one that had begun and has not, and one
// that is gone.
func Backwards(states []State) []Step {
	var steps []Step
	before := map[string]string{}
	for _, state := range states {
		now := phases(state.Status)
		for _, id := range slices.Sorted(maps.Keys(before)) {
			phase := before[id]
			to, there := now[id]
			if !there {
				to = gone
			}
			if to != phase && order(to) <= order(phase) {
				steps = append(steps, Step{Node: id, From: phase, To: to, Version: state.Version})
			}
		}
		before = now
	}
	return steps
}

// OnlyBackwards returns the steps back of the hub that the WEC has not taken with the same node.
func OnlyBackwards(hub, wec []State) []Step {
	taken := map[string]bool{}
	for _, step := range Backwards(wec) {
		taken[step.Node] = true
	}
	var steps []Step
	for _, step := range Backwards(hub) {
		if !taken[step.Node] {
			steps = append(steps, step)
		}
	}
	return steps
}

func phases(status json.RawMessage) map[string]string {
	var known struct {
		Nodes map[string]struct{ Phase string }
	}
	_ = json.Unmarshal(status, &known) // no status has no nodes
	found := map[string]string{}
	for id, node := range known.Nodes {
		found[id] = node.Phase
	}
	return found
}

// order orders the phases of a node by time; two that are different and at the same place exclude each other.
func order(phase string) int {
	switch phase {
	case gone:
		return -1
	case "":
		return 0
	case "Pending":
		return 1
	case "Running":
		return 2
	default:
		return 3
	}
}
