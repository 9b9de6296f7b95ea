package upsync

import (
	"encoding/json"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

const (
	// maxDepth is how deep a status may be nested. Argo's own stay below 40; whatever walks a deeper one recurses as deep.
	maxDepth = 256
	// maxValues is how many values a status may hold. A value costs up to 100 bytes in memory however short it is: without this
	// bound 64 MiB of {} would cost gigabytes. 30,000 nodes have some 1,000,000.
	maxValues = 1 << 20
	// maxQuoted bounds, in bytes, what an error quotes of a WEC's words.
	maxQuoted = 64
	// maxNodeID is longer than Argo's longest, a Workflow's name and a number.
	maxNodeID = 512
)

// sound reports whether JSON is neither nested too deeply nor has too many values, before anything is made from it. It need not be
// valid: the decoder says that.
func sound(raw json.RawMessage) error {
	depth, values, inText := 0, 1, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case inText && c == '\\':
			i++
		case c == '"':
			inText = !inText
		case inText:
		case c == '{' || c == '[':
			depth, values = depth+1, values+1
		case c == '}' || c == ']':
			depth--
		case c == ',':
			values++
		}
		if depth > maxDepth {
			return fmt.Errorf("%w: it is nested more than %d deep", ErrNotMirrorable, maxDepth)
		}
		if values > maxValues {
			return fmt.Errorf("%w: it has more than %d values", ErrNotMirrorable, maxValues)
		}
	}
	return nil
}

// identified reports whether what a WEC says of the identity of a copy can be kept in the hub's record.
func (w *WECCopy) identified() error {
	uid, version := string(w.Metadata.UID), w.Metadata.ResourceVersion
	if len(uid) > maxQuoted || strings.ContainsFunc(uid, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' || r == '"' }) {
		return fmt.Errorf("%w: its uid %q is none", ErrNotMirrorable, quoted(uid))
	}
	if len(version) > maxQuoted || strings.ContainsFunc(version, func(r rune) bool { return r < '0' || r > '9' }) {
		return fmt.Errorf("%w: its resourceVersion %q is none", ErrNotMirrorable, quoted(version))
	}
	return nil
}

// carriable reports whether the hub's API server would store the labels and annotations that travel.
func (r *Rendered) carriable() error {
	for key, value := range r.Labels {
		if len(validation.IsValidLabelValue(value)) > 0 {
			return fmt.Errorf("%w: label %s has the value %q, which no label can have", ErrNotMirrorable, key, quoted(value))
		}
	}
	for key, value := range r.Annotations {
		if len(value) > maxQuoted || strings.ContainsFunc(value, stellarflow.IsControl) {
			return fmt.Errorf("%w: annotation %s has the value %q", ErrNotMirrorable, key, quoted(value))
		}
	}
	return nil
}

// quoted is a WEC's text as an error may show it.
func quoted(value any) string { return stellarflow.OneLine(fmt.Sprint(value), maxQuoted) }

// disarm takes control characters out of the texts that people's tools print as they are: those of the status itself, of its
// conditions and of its nodes. Parameters and results are data, in which they may be meant. Line breaks and tabs stay.
func disarm(value any) {
	object, ok := value.(map[string]any)
	if !ok {
		return
	}
	for key, member := range object {
		if text, isText := member.(string); isText && strings.ContainsFunc(text, armed) {
			object[key] = strings.Map(func(r rune) rune {
				if armed(r) {
					return '\ufffd'
				}
				return r
			}, text)
		}
	}
}

func armed(r rune) bool { return r != '\n' && r != '\t' && stellarflow.IsControl(r) }

// disarmAll disarms a status and its conditions and nodes, and drops nodes under keys that no node has.
func disarmAll(status map[string]any, nodes any) {
	disarm(status)
	if conditions, ok := status["conditions"].([]any); ok {
		for _, condition := range conditions {
			disarm(condition)
		}
	}
	byID, _ := nodes.(map[string]any)
	for id, node := range byID {
		if len(id) > maxNodeID || strings.ContainsFunc(id, stellarflow.IsControl) {
			delete(byID, id)
			continue
		}
		disarm(node)
	}
}
