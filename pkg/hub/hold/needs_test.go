package hold

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

func TestExamine(t *testing.T) {
	hub := map[string]string{
		"WorkflowTemplate/there":       `{templates: [{name: a, steps: [[{name: s, templateRef: {name: deeper, template: b}}]]}]}`,
		"WorkflowTemplate/deeper":      `{templates: [{name: b, container: {envFrom: [{configMapRef: {name: env}}]}}]}`,
		"WorkflowTemplate/fine":        `{templates: [{name: b, container: {envFrom: [{configMapRef: {name: there}}]}}]}`,
		"ConfigMap/there":              `{}`,
		"ClusterWorkflowTemplate/wide": `{templates: []}`,
	}
	var many, accounts []string
	for i := range 120 {
		many = append(many, fmt.Sprintf("{configMapRef: {name: c%d}}", i))
		accounts = append(accounts, fmt.Sprintf("{name: t%d, serviceAccountName: a%d}", i, i))
	}
	lacks := func(what, where string) string {
		return what + " (" + where + `) is not on the hub: create it in namespace "ns", or it needs a cluster that has one of its own`
	}
	const env = "spec.templates[0].container.envFrom[0].configMapRef"
	cases := map[string]struct {
		reason, spec string
		refusal      string
		warnings     []string
	}{
		"Nothing":  {"it needs nothing", `{templates: [{name: main}]}`, "", nil},
		"There":    {"the hub has all", `{workflowTemplateRef: {name: fine}}`, "", nil},
		"Template": {"a template is missing, which its cluster may have", `{workflowTemplateRef: {name: none}}`, "", []string{lacks(`WorkflowTemplate "none"`, "spec.workflowTemplateRef")}},
		"Cluster": {
			"one without a namespace", `{workflowTemplateRef: {name: none, clusterScope: true}}`, "",
			[]string{`ClusterWorkflowTemplate "none" (spec.workflowTemplateRef) is not on the hub: create it, or it needs a cluster that has one of its own`},
		},
		"Wide":     {"one that is there", `{workflowTemplateRef: {name: wide, clusterScope: true}}`, "", nil},
		"Deep":     {"what a template's template needs", `{templates: [{name: m, steps: [[{name: s, templateRef: {name: there, template: a}}]]}]}`, "", []string{lacks(`ConfigMap "env"`, said(env+" of WorkflowTemplate/deeper", maxWhere))}},
		"Optional": {"it may be missing", `{templates: [{name: m, container: {envFrom: [{configMapRef: {name: none, optional: true}}]}}]}`, "", nil},
		"Dynamic":  {"its name is known when it runs", `{templates: [{name: m, container: {envFrom: [{configMapRef: {name: "{{inputs.parameters.x}}"}}]}}]}`, "", nil},
		"Argo's":   {"Argo's configuration and the artifact repository are the cluster's own", `{templates: [{name: m, container: {envFrom: [{configMapRef: {name: workflow-controller-configmap}}, {configMapRef: {name: artifact-repositories}}]}}]}`, "", nil},
		"BadName": {
			"no object can have that name", `{workflowTemplateRef: {name: No Name}}`,
			"it refers to what cannot exist: spec.workflowTemplateRef: No Name is no name of a WorkflowTemplate: a lowercase RFC 1123 subdomain must", nil,
		},
		"BadNameOfPod": {"a pod waits for it in vain, and the rest runs", `{templates: [{name: m, container: {envFrom: [{configMapRef: {name: No}}]}}]}`, "", nil},
		"TooMany":      {"no cluster is sent that many", `{templates: [{name: m, container: {envFrom: [` + strings.Join(many, ",") + `]}}]}`, "the Workflow needs more than 100 templates and ConfigMaps: let it refer to fewer", nil},
		"TooManyAccounts": {
			"no cluster takes that many", `{templates: [` + strings.Join(accounts, ",") + `]}`,
			"the Workflow's pods run as more than 20 ServiceAccounts: let its templates name fewer", nil,
		},
		"ManyMissing": {
			"of many some are named", `{templates: [{name: m, container: {envFrom: [` + strings.Join(many[:7], ",") + `]}}]}`, "",
			[]string{
				lacks(`ConfigMap "c0"`, env), lacks(`ConfigMap "c1"`, strings.Replace(env, "From[0]", "From[1]", 1)), lacks(`ConfigMap "c2"`, strings.Replace(env, "From[0]", "From[2]", 1)),
				lacks(`ConfigMap "c3"`, strings.Replace(env, "From[0]", "From[3]", 1)), lacks(`ConfigMap "c4"`, strings.Replace(env, "From[0]", "From[4]", 1)),
				"2 more objects that it needs are not on the hub",
			},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			refusal, warnings, err := examine(t.Context(), parse(t, tc.spec).Object, "ns", func(_ context.Context, reference stellarflow.Reference) (map[string]any, bool, error) {
				text, found := hub[reference.String()]
				return parse(t, text).Object, found, nil
			})
			if err != nil || !strings.HasPrefix(refusal, tc.refusal) || (refusal == "") != (tc.refusal == "") {
				t.Errorf("\n%s\nexamine(...): refusal %q, error %v: want %q", tc.reason, refusal, err, tc.refusal)
			}
			if diff := cmp.Diff(tc.warnings, warnings); diff != "" {
				t.Errorf("\n%s\nexamine(...): warnings, -want, +got:\n%s", tc.reason, diff)
			}
			for _, warning := range warnings {
				if len(warning) > 256 {
					t.Errorf("an API server cuts %q", warning)
				}
			}
		})
	}
	broken := errors.New("broken")
	if _, _, err := examine(t.Context(), parse(t, `{workflowTemplateRef: {name: a}}`).Object, "ns", func(context.Context, stellarflow.Reference) (map[string]any, bool, error) {
		return nil, false, broken
	}); !errors.Is(err, broken) {
		t.Errorf("what could not be read: %v", err)
	}
}
