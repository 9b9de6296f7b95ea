package podmirror

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestNamed(t *testing.T) {
	long := strings.Repeat("l", maxPrefix+5)
	for name, tc := range map[string]struct {
		pod, workflow string
		want          bool
	}{
		"Single":         {"hello", "hello", true},
		"V1":             {"hello-1234567890", "hello", true},
		"V2":             {"hello-main-1234567890", "hello", true},
		"V2Dots":         {"hello.1-my.step-12345", "hello.1", true},
		"Agent":          {"hello-1340600742-agent", "hello", true},
		"ArtifactGC":     {"hello-artgc-wfcomp-1234567890", "hello", true},
		"Cut":            {long[:maxPrefix] + "-1234567890", long, true},
		"CutAfterName":   {long[:maxPrefix-1] + "--1234567890", long[:maxPrefix-1], true},
		"None":           {"", "", false},
		"NoWorkflow":     {"-1234567890", "", false},
		"StatefulSet":    {"hello-0", "hello", false},
		"FourDigits":     {"hello-main-9999", "hello", false},
		"LeadingZero":    {"hello-0123456789", "hello", false},
		"More":           {"hello-4294967296", "hello", false},
		"MoreDigits":     {"hello-12345678901", "hello", false},
		"Signed":         {"hello-+123456789", "hello", false},
		"Deployment":     {"hello-7c9d8f6b54-x2x4z", "hello", false},
		"OtherAgent":     {"hello-1340600743-agent", "hello", false},
		"NoHash":         {"hello-main", "hello", false},
		"Another":        {"other-1234567890", "hello", false},
		"Prefix":         {"hello2-1234567890", "hello", false},
		"Shorter":        {"hell", "hello", false},
		"NotCut":         {long + "-1234567890", long, false},
		"CutTooEarly":    {long[:maxPrefix-1] + "-1234567890", long, false},
		"LongerThanArgo": {"hello-" + long + "-1234567890", "hello", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Named(tc.pod, tc.workflow); got != tc.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

// argoName is GeneratePodName of argo-workflows v3.7.18 workflow/util/pod_name.go, version v2, line by line: that package needs modules that this
// one has not.
func argoName(workflow, node, template string) string {
	if workflow == node {
		return workflow
	}
	prefix := workflow
	if template != "" {
		prefix = fmt.Sprintf("%s-%s", prefix, template)
	}
	if len(prefix) > 253-10-1 {
		prefix = prefix[0 : 253-10-1]
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(node))
	return fmt.Sprintf("%s-%v", prefix, h.Sum32())
}

// argoNodeID is NodeID of pkg/apis/workflow/v1alpha1/workflow_types.go there, which is the name in version v1.
func argoNodeID(workflow, node string) string {
	w := v1alpha1.Workflow{ObjectMeta: metav1.ObjectMeta{Name: workflow}}
	return w.NodeID(node)
}

// TestNamedAsArgoDoes takes Argo's own names, of Workflows, templates and nodes of any length.
func TestNamedAsArgoDoes(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	word := func(longest int) string {
		const letters = "abcdefghijklmnopqrstuvwxyz0123456789-."
		text := make([]byte, random.IntN(longest))
		for i := range text {
			text[i] = letters[random.IntN(len(letters))]
		}
		return "w" + string(text) + "1"
	}
	short := 0
	for range 20_000 {
		workflow, template, node := word(260), word(260), word(40)
		if random.IntN(3) > 0 {
			workflow, template = word(60), word(60)
		}
		if random.IntN(10) == 0 {
			template = ""
		}
		node = workflow + "." + node
		if random.IntN(10) == 0 {
			node = workflow
		}
		pods := []string{argoName(workflow, node, template)}
		if len(workflow) <= maxPrefix { // else no API server takes its name
			pods = append(pods, argoNodeID(workflow, node))
		}
		for _, pod := range pods {
			if node != workflow && hash(node) < 10_000 {
				short++
			} else if !Named(pod, workflow) {
				t.Fatalf("pod %s is none of workflow %s, node %s", pod, workflow, node)
			}
			if other := workflow[:len(workflow)-1]; len(workflow) <= maxPrefix && Named(pod, other) {
				t.Fatalf("pod %s is one of workflow %s too", pod, other)
			}
		}
	}
	if short > 2 {
		t.Errorf("%d names have too short a hash", short)
	}
}

// onHub are the names of the hub's Workflows.
type onHub []string

// Cached is that of Copies.
func (n onHub) Cached(_ context.Context, key types.NamespacedName) (*metav1.PartialObjectMetadata, error) {
	for _, name := range n {
		if key.Namespace == "argo" && key.Name == name {
			return hubCopy(), nil
		}
	}
	return nil, nil //nolint:nilnil // as Copies says
}

func TestLonger(t *testing.T) {
	for name, tc := range map[string]struct {
		pod  string
		hub  onHub
		want bool
	}{
		"None":     {"hello-2-1234567890", onHub{"hello"}, false},
		"Template": {"hello-2-1234567890", onHub{"hello", "hello-2"}, true},
		"Whole":    {"hello-1234567890", onHub{"hello", "hello-1234567890"}, true},
		"Dashes":   {"hello-a--b-1234567890", onHub{"hello", "hello-a-"}, true},
		"Within":   {"hello-two-1234567890", onHub{"hello", "hello-t"}, false},
		"Single":   {"hello", onHub{"hello", "hello-2"}, false},
		"Shorter":  {"hello-2-1234567890", onHub{"hello", "hell"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := &pods{Mirrorer: &Mirrorer{Copies: tc.hub}}
			pod := &metav1.ObjectMeta{Namespace: "argo", Name: tc.pod}
			if got := p.longer(t.Context(), pod, types.NamespacedName{Namespace: "argo", Name: "hello"}); got != tc.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
