package truth

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"
)

// Run is what belongs to one run of a Workflow only.
type Run struct{ Namespace, Name, UID string }

// The fields that are left out of a shape, and why.
var (
	leftOutOfStatus = map[string]string{
		"startedAt":         "when it began",
		"finishedAt":        "when it ended",
		"resourcesDuration": "how long its pods took",
		"estimatedDuration": "how long Argo thinks that it takes, from earlier runs",
	}
	leftOutOfNodes = map[string]string{
		"startedAt":         "when it began",
		"finishedAt":        "when it ended",
		"resourcesDuration": "how long its pod took",
		"estimatedDuration": "how long Argo thinks that it takes, from earlier runs",
		"podIP":             "the address that its pod got",
		"hostNodeName":      "where the cluster's scheduler has put it",
		"id":                "the key of the node, which is its name in a shape",
	}
	// the conditions of a status that say nothing of what came of it
	momentary = []string{
		"PodRunning", // whether a pod still ran in the moment in which Argo wrote the end
	}
	// what Argo says of a node whose pod a deadline has ended, and of a Workflow that is such a node: the one if the kubelet saw it first, the
	// other if Argo's controller did. Its outputs are then what its executor could still write before it was killed.
	deadlines = []string{"Pod was active on the node longer than the specified deadline", "Step exceeded its deadline"}
	// the lists of a node whose order is the one in which Argo's controller came by
	unordered = []string{"children", "outboundNodes"}
)

// Shape returns what two runs of one Workflow have in common: the whole status with nodes under their names, without what is left out
// and with the names of the run replaced wherever they stand, in IDs, messages, outputs and the keys of artifacts.
func Shape(status json.RawMessage, run Run) (map[string]any, error) {
	var shape map[string]any
	if err := json.Unmarshal(status, &shape); err != nil {
		return nil, fmt.Errorf("read the status of %s: %w", run.Name, err)
	}
	if _, packed := shape["compressedNodes"]; packed {
		return nil, fmt.Errorf("the nodes of %s are packed: make it smaller", run.Name)
	}
	nodes, _ := shape["nodes"].(map[string]any)
	names, err := namesOf(nodes, run)
	if err != nil {
		return nil, err
	}
	for field := range leftOutOfStatus {
		delete(shape, field)
	}
	if conditions, ok := shape["conditions"].([]any); ok {
		shape["conditions"] = slices.DeleteFunc(conditions, isMomentary)
	}
	for _, node := range nodes {
		node, _ := node.(map[string]any)
		for field := range leftOutOfNodes {
			delete(node, field)
		}
		if passedDeadline(node) {
			delete(node, "outputs")
		}
	}
	passedDeadline(shape)
	shape, _ = names.in(shape).(map[string]any)
	nodes, _ = shape["nodes"].(map[string]any)
	for _, node := range nodes {
		node, _ := node.(map[string]any)
		for _, field := range unordered {
			if list, ok := node[field].([]any); ok {
				slices.SortFunc(list, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
			}
		}
	}
	return shape, nil
}

func isMomentary(condition any) bool {
	object, _ := condition.(map[string]any)
	kind, _ := object["type"].(string)
	return slices.Contains(momentary, kind)
}

// names replaces what belongs to one run in texts.
type names struct {
	pods   *regexp.Regexp    // of the run, with the number of the node
	byHash map[string]string // number of a node, to its name
	rest   *strings.Replacer
}

func namesOf(nodes map[string]any, run Run) (*names, error) {
	n := &names{
		// Argo's pod is called like the Workflow, the template and the number of the node; the node's ID has no template.
		pods:   regexp.MustCompile(regexp.QuoteMeta(run.Name) + `(?:-[a-z0-9.-]+?)?-([0-9]{5,10})\b`),
		byHash: map[string]string{},
	}
	rest := [][2]string{{run.UID, "UID"}, {run.Namespace, "NAMESPACE"}, {run.Name, "WORKFLOW"}}
	seen := map[string]string{}
	for id, node := range nodes {
		node, _ := node.(map[string]any)
		name, _ := node["name"].(string)
		if name == "" {
			return nil, fmt.Errorf("node %s of %s has no name", id, run.Name)
		}
		if other, taken := seen[name]; taken {
			return nil, fmt.Errorf("nodes %s and %s of %s are both called %s", id, other, run.Name, name)
		}
		seen[name] = id
		if number, found := strings.CutPrefix(id, run.Name+"-"); found {
			n.byHash[number] = strings.Replace(name, run.Name, "WORKFLOW", 1)
		}
		if address, _ := node["podIP"].(string); address != "" {
			rest = append(rest, [2]string{address, "ADDRESS"})
		}
	}
	if run.Name == "" || run.UID == "" || run.Namespace == "" {
		return nil, errors.New("a run has a name, a namespace and a UID")
	}
	sort.SliceStable(rest, func(i, j int) bool { return len(rest[i][0]) > len(rest[j][0]) }) // a longer one may contain a shorter one
	var pairs []string
	for _, pair := range rest {
		pairs = append(pairs, pair[0], pair[1])
	}
	n.rest = strings.NewReplacer(pairs...)
	return n, nil
}

// in replaces the names in everything that a value holds, keys as well.
func (n *names) in(value any) any {
	switch value := value.(type) {
	case map[string]any:
		replaced := make(map[string]any, len(value))
		for key, member := range value {
			replaced[n.text(key)] = n.in(member)
		}
		return replaced
	case []any:
		for i := range value {
			value[i] = n.in(value[i])
		}
	case string:
		return n.text(value)
	}
	return value
}

func (n *names) text(text string) string {
	text = n.pods.ReplaceAllStringFunc(text, func(found string) string {
		number := found[strings.LastIndex(found, "-")+1:]
		if name, known := n.byHash[number]; known {
			return "<" + name + ">"
		}
		return found
	})
	return n.rest.Replace(text)
}

// passedDeadline reports whether the message of a node or a status is that of a deadline, and makes it the same one whoever saw it first.
func passedDeadline(of map[string]any) bool {
	message, _ := of["message"].(string)
	passed := slices.Contains(deadlines, message)
	if passed {
		of["message"] = deadlines[0]
	}
	return passed
}
