package stellarflow

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
)

// TestQueue adds one action to those that wait: of two that contradict each other the last one wins.
func TestQueue(t *testing.T) {
	suspend, retry, whole := Intent{ID: "s", Kind: IntentSuspend}, Intent{ID: "r", Kind: IntentRetry}, Intent{ID: "w", Kind: IntentResume, Whole: true}
	on := func(id string, kind IntentKind, nodes map[string]NodeChange) Intent {
		return Intent{ID: "n" + types.UID(id), Kind: kind, Nodes: nodes}
	}
	ends := func(phase string) map[string]NodeChange { return map[string]NodeChange{"a": {Phase: phase}} }
	yes := map[string]NodeChange{"a": {Outputs: map[string]string{"approve": "yes", "by": "x"}}}
	no := map[string]NodeChange{"a": {Outputs: map[string]string{"approve": "no"}}}
	answered := map[string]NodeChange{"a": {Phase: "Succeeded", Outputs: map[string]string{"approve": "yes"}}}
	byDefault := map[string]NodeChange{"a": {Phase: "Succeeded", Outputs: map[string]string{"approve": "no"}}}
	wholeOf := func(nodes map[string]NodeChange) Intent {
		intent := whole
		intent.Nodes = nodes
		return intent
	}
	cases := map[string]struct {
		reason  string
		waiting []Intent
		next    Intent
		want    []Intent
	}{
		"First":          {"nothing waits", nil, suspend, []Intent{suspend}},
		"SuspendAgain":   {"once is enough", []Intent{suspend}, Intent{ID: "2", Kind: IntentSuspend}, []Intent{{ID: "2", Kind: IntentSuspend}}},
		"ResumeSuspend":  {"it shall wait", []Intent{whole}, suspend, []Intent{suspend}},
		"SuspendResume":  {"it shall go on", []Intent{suspend}, whole, []Intent{whole}},
		"ResumedNodes":   {"a step that was let go on goes on, and the next does not begin", []Intent{wholeOf(ends("Succeeded"))}, suspend, []Intent{{ID: "w", Kind: IntentResume, Nodes: ends("Succeeded")}, suspend}},
		"OfANode":        {"a node is no Workflow", []Intent{suspend}, on("1", IntentResume, ends("Succeeded")), []Intent{suspend, on("1", IntentResume, ends("Succeeded"))}},
		"RetryAgain":     {"the last one knows more", []Intent{retry}, Intent{ID: "2", Kind: IntentRetry}, []Intent{{ID: "2", Kind: IntentRetry}}},
		"ResumeStop":     {"the step is declined", []Intent{on("1", IntentResume, ends("Succeeded"))}, on("2", IntentSet, ends("Failed")), []Intent{on("2", IntentSet, ends("Failed"))}},
		"DeclineResume":  {"where it is done at once the resume would find it ended", []Intent{on("1", IntentSet, ends("Failed"))}, wholeOf(ends("Succeeded")), []Intent{on("1", IntentSet, ends("Failed")), whole}},
		"AnswerResume":   {"the answer that somebody gave, not the default", []Intent{on("1", IntentSet, answered)}, wholeOf(byDefault), []Intent{on("1", IntentSet, answered), whole}},
		"SetResume":      {"likewise, where the answer came first", []Intent{on("1", IntentSet, yes)}, wholeOf(byDefault), []Intent{on("1", IntentSet, yes), wholeOf(ends("Succeeded"))}},
		"ResumeTwice":    {"once is enough", []Intent{wholeOf(ends("Succeeded"))}, Intent{ID: "2", Kind: IntentResume, Whole: true}, []Intent{wholeOf(ends("Succeeded")), {ID: "2", Kind: IntentResume, Whole: true}}},
		"ResumeAgain":    {"the same", []Intent{wholeOf(ends("Succeeded"))}, wholeOf(ends("Succeeded")), []Intent{wholeOf(ends("Succeeded"))}},
		"AnswerSelected": {"the answer goes with the end", []Intent{on("1", IntentSet, answered)}, on("2", IntentResume, ends("Succeeded")), []Intent{on("2", IntentResume, answered)}},
		"StopThenResume": {"of two about this step the last counts", []Intent{on("1", IntentSet, ends("Failed"))}, on("2", IntentResume, ends("Succeeded")), []Intent{on("2", IntentResume, ends("Succeeded"))}},
		"WholeThenStop":  {"the rest is resumed", []Intent{wholeOf(map[string]NodeChange{"a": {Phase: "Succeeded"}, "b": {Phase: "Succeeded"}})}, on("2", IntentSet, ends("Failed")), []Intent{wholeOf(map[string]NodeChange{"b": {Phase: "Succeeded"}}), on("2", IntentSet, ends("Failed"))}},
		"OtherNode":      {"they have nothing to do with each other", []Intent{on("1", IntentResume, ends("Succeeded"))}, on("2", IntentSet, map[string]NodeChange{"b": {Phase: "Failed"}}), []Intent{on("1", IntentResume, ends("Succeeded")), on("2", IntentSet, map[string]NodeChange{"b": {Phase: "Failed"}})}},
		"SetThenResume":  {"as the UI does it", []Intent{on("1", IntentSet, yes)}, on("2", IntentResume, ends("Succeeded")), []Intent{on("1", IntentSet, yes), on("2", IntentResume, ends("Succeeded"))}},
		"SetAgain":       {"another answer to the same question", []Intent{on("1", IntentSet, yes)}, on("2", IntentSet, no), []Intent{on("1", IntentSet, map[string]NodeChange{"a": {Outputs: map[string]string{"by": "x"}}}), on("2", IntentSet, no)}},
		"SetAgainWholly": {"nothing is left of the first", []Intent{on("1", IntentSet, no)}, on("2", IntentSet, yes), []Intent{on("2", IntentSet, yes)}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			before, err := MarshalIntents(tc.waiting)
			if err != nil {
				t.Fatal(err)
			}
			text := func(intents []Intent) string {
				got, err := MarshalIntents(intents)
				if err != nil {
					t.Fatal(err)
				}
				return got
			}
			if diff := cmp.Diff(text(tc.want), text(Queue(tc.waiting, tc.next))); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(before, text(tc.waiting)); diff != "" {
				t.Errorf("what waited was changed:\n%s", diff)
			}
		})
	}
}

// TestCountingOn finds what was asked for on the strength of something that is not done.
func TestCountingOn(t *testing.T) {
	of := func(id types.UID, nodes ...string) Intent {
		intent := Intent{ID: id, Nodes: map[string]NodeChange{}}
		for _, node := range nodes {
			intent.Nodes[node] = NodeChange{Phase: "Succeeded"}
		}
		return intent
	}
	ids := func(intents []Intent) (ids []types.UID) {
		for _, intent := range intents {
			ids = append(ids, intent.ID)
		}
		return ids
	}
	whole := of("6", "a", "c")
	whole.Whole = true
	counting, rest, spared := CountingOn(of("1", "a"), []Intent{of("2", "a", "b"), of("3", "b"), {ID: "4", Kind: IntentSuspend}, of("5", "c"), whole})
	if diff := cmp.Diff([][]types.UID{{"2", "3"}, {"4", "5", "6"}}, [][]types.UID{ids(counting), ids(rest)}); diff != "" || !spared {
		t.Errorf("counting and rest, spared %t (-want +got):\n%s", spared, diff)
	}
	if left := rest[len(rest)-1]; !left.Whole || len(left.Nodes) != 1 || left.Nodes["c"].Phase == "" || len(whole.Nodes) != 2 {
		t.Errorf("the resume of the whole: %+v, which was %+v", left, whole)
	}
	if counting, rest, spared := CountingOn(Intent{Kind: IntentSuspend}, []Intent{of("2", "a")}); len(counting) != 0 || len(rest) != 1 || spared {
		t.Errorf("a refused suspension: %v, %v", counting, rest)
	}
}
