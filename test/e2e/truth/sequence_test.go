package truth

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// story is a sequence of states, each written as the phases of the nodes a and b: "Running/Pending"; a node whose phase is - is not there.
func story(first int, states ...string) []State {
	var all []State
	for i, phases := range states {
		var nodes []string
		for id, phase := range map[string]string{"a": strings.Split(phases, "/")[0], "b": strings.Split(phases, "/")[1]} {
			if phase != "-" {
				nodes = append(nodes, fmt.Sprintf("%q: {\"phase\": %q}", id, phase))
			}
		}
		if len(nodes) == 2 && nodes[0] > nodes[1] {
			nodes[0], nodes[1] = nodes[1], nodes[0]
		}
		all = append(all, State{Version: fmt.Sprint(first + i), Status: []byte(`{"nodes": {` + strings.Join(nodes, ", ") + `}}`)})
	}
	return all
}

func claiming(states []State, versions ...string) []State {
	for i := range versions {
		states[i].Claims = versions[i]
	}
	return states
}

var wec = []string{"Pending/-", "Running/-", "Succeeded/-", "Succeeded/Running", "Succeeded/Failed"}

func TestFollow(t *testing.T) {
	marked := story(10, wec...)
	marked[4].Marks = map[string]string{"completed": "true"}
	for name, tc := range map[string]struct {
		hub, wec []State
		want     []string // parts of each finding
	}{
		"nothing":              {nil, story(10, wec...), nil},
		"all":                  {story(50, wec...), story(10, wec...), nil},
		"some, and one again":  {story(50, wec[1], wec[1], wec[4]), story(10, wec...), nil},
		"the last alone":       {story(50, wec[4]), story(10, wec...), nil},
		"a step back":          {story(50, wec[3], wec[1]), story(10, wec...), []string{"51", "is resourceVersion 11", "before 13"}},
		"one that never was":   {claiming(story(50, "Error/-", wec[4]), "12"), story(10, wec...), []string{"resourceVersion 50", "is not resourceVersion 12", "Error"}},
		"from a strange claim": {claiming(story(50, "Error/-"), "99"), story(10, wec...), []string{"no state", `"99"`}},
		"without the labels":   {claiming(story(50, wec[4]), "14"), marked, []string{"is not resourceVersion 14", "completed"}},
		"a WEC that is silent": {story(50, wec[0]), nil, []string{"no state of the WEC copy"}},
		"an older one that is said again is followed": {story(50, wec[0], wec[1], wec[0]), story(10, wec[0], wec[1], wec[0]), nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := Follow(tc.hub, tc.wec)
			if len(tc.want) == 0 && len(got) > 0 || len(tc.want) > 0 && len(got) != 1 {
				t.Fatalf("findings %q, want one: %v", got, len(tc.want) > 0)
			}
			for _, part := range tc.want {
				if !strings.Contains(got[0], part) {
					t.Errorf("%q does not say %q", got[0], part)
				}
			}
		})
	}
}

func TestEnd(t *testing.T) {
	for name, tc := range map[string]struct {
		hub, wec []State
		wrong    bool
	}{
		"alike":        {story(50, wec[4]), story(10, wec...), false},
		"before":       {story(50, wec[3]), story(10, wec...), true},
		"never shown":  {nil, story(10, wec...), true},
		"never begun":  {story(50, wec[4]), nil, true},
		"nothing said": {nil, nil, true},
	} {
		if got := End(tc.hub, tc.wec); (len(got) > 0) != tc.wrong {
			t.Errorf("%s: findings %q, want any: %v", name, got, tc.wrong)
		}
	}
}

func TestBackwards(t *testing.T) {
	for name, tc := range map[string]struct {
		states []string
		want   []Step
	}{
		"forwards":             {wec, nil},
		"begun, then not":      {[]string{"Running/-", "Pending/-"}, []Step{{"a", "Running", "Pending", "11"}}},
		"ended, then runs":     {[]string{"Pending/-", "Failed/-", "Running/-"}, []Step{{"a", "Failed", "Running", "12"}}},
		"ended twice":          {[]string{"Succeeded/-", "Error/-"}, []Step{{"a", "Succeeded", "Error", "11"}}},
		"gone":                 {[]string{"Succeeded/Running", "Succeeded/-"}, []Step{{"b", "Running", "gone", "11"}}},
		"gone before it began": {[]string{"Running/", "Running/-"}, []Step{{"b", "", "gone", "11"}}},
		"both at once":         {[]string{"Failed/Running", "Running/Pending"}, []Step{{"a", "Failed", "Running", "11"}, {"b", "Running", "Pending", "11"}}},
		"one state":            {[]string{"Running/-"}, nil},
	} {
		if diff := cmp.Diff(tc.want, Backwards(story(10, tc.states...))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestOnlyBackwards(t *testing.T) {
	retried := []string{"Failed/Running", "Running/Running", "Succeeded/Running"}
	if got := OnlyBackwards(story(50, "Failed/Running", "Running/Running"), story(10, retried...)); len(got) > 0 {
		t.Errorf("the WEC took the same step back, and %v was found", got)
	}
	got := OnlyBackwards(story(50, "Failed/Running", "Running/Pending"), story(10, retried...))
	if diff := cmp.Diff([]Step{{"b", "Running", "Pending", "51"}}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
