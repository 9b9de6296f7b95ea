package stellarflow

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDependencies(t *testing.T) {
	full := Dependencies{
		Copied: []Reference{{KindClusterWorkflowTemplate, "c"}, {KindConfigMap, "a.b"}, {KindWorkflowTemplate, "w"}}, There: []Reference{{KindConfigMap, "there"}},
	}
	const stored = `{"copied":["ClusterWorkflowTemplate/c","ConfigMap/a.b","WorkflowTemplate/w"],"there":["ConfigMap/there"]}`
	if got := full.String(); got != stored {
		t.Errorf("stored as %s", got)
	}
	var many []string
	for i := range 1000 {
		many = append(many, fmt.Sprintf(`"ConfigMap/a%03d"`, i))
	}
	cases := map[string]struct {
		reason string
		value  string
		want   Dependencies
	}{
		"Stored":  {"what String writes", stored, full},
		"Empty":   {"most Workflows need nothing", "", Dependencies{}},
		"NoJSON":  {"a stranger's word", "x", Dependencies{}},
		"Kinds":   {"only kinds that travel count", `{"copied":["Pod/a","/b","c","ConfigMap/","ConfigMap/d"]}`, Dependencies{Copied: []Reference{{KindConfigMap, "d"}}}},
		"Names":   {"and names that an object can have", `{"copied":["ConfigMap/../x","ConfigMap/A","ConfigMap/a/b"]}`, Dependencies{}},
		"Twice":   {"once is enough", `{"there":["ConfigMap/a","ConfigMap/a"]}`, Dependencies{There: []Reference{{KindConfigMap, "a"}}}},
		"TooLong": {"nobody writes more than the bound", `{"copied":["ConfigMap/a"],"there":["` + strings.Repeat("a", MaxDependenciesSize) + `"]}`, Dependencies{}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, ParseDependencies(tc.value)); diff != "" {
				t.Errorf("%s: -want +got:\n%s", tc.reason, diff)
			}
		})
	}
	if n := len(ParseDependencies(`{"copied":[` + strings.Join(many[:500], ",") + `]}`).Copied); n != 2*MaxDependencies {
		t.Errorf("%d of 500 are read", n)
	}
	if got := (Dependencies{}).String(); got != "" {
		t.Errorf("nothing is stored as %q", got)
	}
}

func TestKinds(t *testing.T) {
	for _, kind := range Kinds() {
		if kind.Resource().Empty() {
			t.Errorf("%s has no resource", kind)
		}
	}
	if len(Kinds()) != len(resources) {
		t.Errorf("Kinds() has %d of %d", len(Kinds()), len(resources))
	}
	if KindClusterWorkflowTemplate.Namespaced() || !KindConfigMap.Namespaced() {
		t.Error("only ClusterWorkflowTemplates are in no namespace")
	}
}
