package dependencies

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

func parse(t testing.TB, text string) map[string]any {
	t.Helper()
	var content map[string]any
	if err := yaml.Unmarshal([]byte(text), &content); err != nil {
		t.Fatalf("test data %s: %v", text, err)
	}
	return content
}

// resolve answers a closure from what the hub has, by Kind/name, and returns what was found as lines.
func resolve(t testing.TB, spec string, hub map[string]string) (*Closure, []string) {
	t.Helper()
	c := Begin(parse(t, spec), "argo")
	return c, answer(t, c, hub)
}

func answer(t testing.TB, c *Closure, hub map[string]string) []string {
	t.Helper()
	for asked := c.Next(); len(asked) > 0; asked = c.Next() {
		for _, need := range asked {
			content, found := hub[need.String()]
			if !found {
				c.Add(need.Reference, nil)
				continue
			}
			object := map[string]any{"spec": parse(t, content)}
			if need.Kind == stellarflow.KindConfigMap {
				object = parse(t, content)
			}
			c.Add(need.Reference, Content(need.Kind, &unstructured.Unstructured{Object: object}))
		}
	}
	var lines []string
	for _, need := range c.Needs() {
		line := need.String() + " at " + need.Where
		if !need.Required {
			line += ", optional"
		}
		switch {
		case need.Implied:
			line += ", implied"
		case need.Optional:
			line += " by its own word"
		case need.OfRepository:
			line += ", of a repository"
		}
		lines = append(lines, line)
	}
	return lines
}

func TestClosure(t *testing.T) {
	cases := map[string]struct {
		reason string
		spec   string
		hub    map[string]string
		want   []string
	}{
		"Nothing": {reason: "most Workflows need nothing, and cost nothing", spec: `{entrypoint: main, templates: [{name: main, container: {image: busybox}}]}`},
		"Empty":   {reason: "a Workflow without a spec needs nothing", spec: `{}`},
		"Steps": {
			reason: "steps are lists in a list",
			spec:   `{templates: [{name: main, steps: [[{name: a, templateRef: {name: lib, template: x}}, {name: b, templateRef: {name: shared, template: z, clusterScope: true}}]]}]}`,
			want: []string{
				"ClusterWorkflowTemplate/shared at spec.templates[0].steps[0][1].templateRef",
				"WorkflowTemplate/lib at spec.templates[0].steps[0][0].templateRef",
			},
		},
		"DAG": {
			reason: "tasks of a DAG, inline templates too",
			spec:   `{templates: [{name: main, dag: {tasks: [{name: a, templateRef: {name: lib, template: x}}, {name: b, inline: {steps: [[{name: c, templateRef: {name: nested, template: z}}]]}}]}}]}`,
			want: []string{
				"WorkflowTemplate/lib at spec.templates[0].dag.tasks[0].templateRef",
				"WorkflowTemplate/nested at spec.templates[0].dag.tasks[1].inline.steps[0][0].templateRef",
			},
		},
		"Hooks": {
			reason: "hooks of the Workflow, of steps and of tasks; exit handlers are templates like others",
			spec: `{onExit: leave, hooks: {running: {templateRef: {name: on-running, template: x}}},
				templates: [{name: main, steps: [[{name: a, template: b, hooks: {exit: {templateRef: {name: on-exit, template: x}}}}]]},
				{name: leave, steps: [[{name: a, templateRef: {name: leaving, template: x}}]]}]}`,
			want: []string{
				"WorkflowTemplate/leaving at spec.templates[1].steps[0][0].templateRef",
				"WorkflowTemplate/on-exit at spec.templates[0].steps[0][0].hooks.exit.templateRef",
				"WorkflowTemplate/on-running at spec.hooks.running.templateRef",
			},
		},
		"Chain": {
			reason: "what a template calls is needed too, and only what is called of it",
			spec:   `{templates: [{name: main, steps: [[{name: a, templateRef: {name: one, template: x}}]]}]}`,
			hub: map[string]string{
				"WorkflowTemplate/one": `{templates: [{name: x, steps: [[{name: a, template: local}]]}, {name: local, steps: [[{name: b, templateRef: {name: two, template: z, clusterScope: true}}]]},
					{name: other, steps: [[{name: a, templateRef: {name: not-called, template: x}}]]}]}`,
				"ClusterWorkflowTemplate/two": `{templates: [{name: z, synchronization: {semaphores: [{configMapKeyRef: {name: locks, key: k}}]}}]}`,
			},
			want: []string{
				"WorkflowTemplate/one at spec.templates[0].steps[0][0].templateRef",
				"ClusterWorkflowTemplate/two at spec.templates[1].steps[0][0].templateRef of WorkflowTemplate/one",
				"ConfigMap/locks at spec.templates[0].synchronization.semaphores[0].configMapKeyRef of ClusterWorkflowTemplate/two",
			},
		},
		"Root": {
			reason: "a template as a whole: its own fields, and the templates that it and the Workflow call",
			spec:   `{entrypoint: main, workflowTemplateRef: {name: root}, onExit: leave}`,
			hub: map[string]string{"WorkflowTemplate/root": `{entrypoint: unused, synchronization: {semaphore: {configMapKeyRef: {name: locks, key: k}}},
				templates: [{name: main, steps: [[{name: a, templateRef: {name: called, template: x}}]]},
				{name: leave, steps: [[{name: a, templateRef: {name: leaving, template: x}}]]},
				{name: library, steps: [[{name: a, templateRef: {name: not-called, template: x}}]]}]}`},
			want: []string{
				"WorkflowTemplate/root at spec.workflowTemplateRef",
				"ConfigMap/locks at spec.synchronization.semaphore.configMapKeyRef of WorkflowTemplate/root",
				"WorkflowTemplate/leaving at spec.templates[1].steps[0][0].templateRef of WorkflowTemplate/root",
				"WorkflowTemplate/called at spec.templates[0].steps[0][0].templateRef of WorkflowTemplate/root",
			},
		},
		"ClusterRoot": {
			reason: "it may be a ClusterWorkflowTemplate",
			spec:   `{workflowTemplateRef: {name: root, clusterScope: true}}`,
			want:   []string{"ClusterWorkflowTemplate/root at spec.workflowTemplateRef"},
		},
		"Secrets": {
			reason: "of pods, of their images and volumes, and of what artifacts are reached with",
			spec: `{imagePullSecrets: [{name: registry}], volumes: [{name: a, secret: {secretName: keys, optional: true}}, {name: b, projected: {sources: [{secret: {name: parts}}]}}],
				templates: [{name: main, inputs: {artifacts: [{name: c, git: {repo: x, sshPrivateKeySecret: {name: ssh, key: k}}}]},
				container: {image: busybox, env: [{name: A, valueFrom: {secretKeyRef: {name: env, key: k}}}], envFrom: [{secretRef: {name: all}}]}},
				{name: odd, container: {image: busybox, env: [{name: B, valueFrom: {secretKeyRef: {name: "{{inputs.parameters.x}}", key: k}}}]}}]}`,
			want: []string{
				"Secret/all at spec.templates[0].container.envFrom[0].secretRef, optional",
				"Secret/env at spec.templates[0].container.env[0].valueFrom.secretKeyRef, optional",
				"Secret/keys at spec.volumes[0].secret, optional by its own word",
				"Secret/parts at spec.volumes[1].projected.sources[0].secret, optional",
				"Secret/registry at spec.imagePullSecrets[0].name, optional",
				"Secret/ssh at spec.templates[0].inputs.artifacts[0].git.sshPrivateKeySecret, optional",
			},
		},
		"Claims": {
			reason: "volumes that are there, not those that Argo makes",
			spec:   `{volumes: [{name: a, persistentVolumeClaim: {claimName: data}}], volumeClaimTemplates: [{metadata: {name: made}}]}`,
			want:   []string{"PersistentVolumeClaim/data at spec.volumes[0].persistentVolumeClaim.claimName, optional"},
		},
		"Arguments": {
			reason: "arguments are needed at the start, unless they may be missing",
			spec: `{arguments: {parameters: [{name: a, valueFrom: {configMapKeyRef: {name: needed, key: k}}}, {name: b, valueFrom: {default: x, configMapKeyRef: {name: defaulted, key: k}}},
				{name: c, valueFrom: {configMapKeyRef: {name: optional, key: k, optional: true}}}]}}`,
			want: []string{
				"ConfigMap/defaulted at spec.arguments.parameters[1].valueFrom.configMapKeyRef, optional",
				"ConfigMap/needed at spec.arguments.parameters[0].valueFrom.configMapKeyRef",
				"ConfigMap/optional at spec.arguments.parameters[2].valueFrom.configMapKeyRef, optional by its own word",
			},
		},
		"Given": {
			reason: "an argument that the Workflow gives itself is not taken from the template's ConfigMap",
			spec:   `{workflowTemplateRef: {name: root}, arguments: {parameters: [{name: a, value: x}]}}`,
			hub: map[string]string{"WorkflowTemplate/root": `{arguments: {parameters: [{name: a, valueFrom: {configMapKeyRef: {name: one, key: k}}},
				{name: b, valueFrom: {configMapKeyRef: {name: two, key: k}}}]}}`},
			want: []string{
				"WorkflowTemplate/root at spec.workflowTemplateRef",
				"ConfigMap/one at spec.arguments.parameters[0].valueFrom.configMapKeyRef of WorkflowTemplate/root, optional",
				"ConfigMap/two at spec.arguments.parameters[1].valueFrom.configMapKeyRef of WorkflowTemplate/root",
			},
		},
		"Inputs": {
			reason: "an input may be passed, and a pod waits: a step may make these",
			spec: `{volumes: [{name: v, configMap: {name: volume}}, {name: p, projected: {sources: [{configMap: {name: projected}}]}}],
				templates: [{name: main, inputs: {parameters: [{name: a, valueFrom: {configMapKeyRef: {name: input, key: k}}}]},
				container: {env: [{name: e, valueFrom: {configMapKeyRef: {name: env, key: k}}}], envFrom: [{configMapRef: {name: env-from}}]}}]}`,
			want: []string{
				"ConfigMap/env at spec.templates[0].container.env[0].valueFrom.configMapKeyRef, optional",
				"ConfigMap/env-from at spec.templates[0].container.envFrom[0].configMapRef, optional",
				"ConfigMap/input at spec.templates[0].inputs.parameters[0].valueFrom.configMapKeyRef, optional",
				"ConfigMap/projected at spec.volumes[1].projected.sources[0].configMap, optional",
				"ConfigMap/volume at spec.volumes[0].configMap, optional",
			},
		},
		"Optional": {
			reason: "nobody waits for what may be missing, unless it is needed elsewhere too",
			spec: `{volumes: [{name: v, configMap: {name: volume, optional: true}}, {name: p, projected: {sources: [{configMap: {name: twice, optional: true}}]}}],
				templates: [{name: main, container: {env: [{name: e, valueFrom: {configMapKeyRef: {name: env, key: k, optional: true}}}],
				envFrom: [{configMapRef: {name: env-from, optional: true}}, {configMapRef: {name: twice}}]}}]}`,
			want: []string{
				"ConfigMap/env at spec.templates[0].container.env[0].valueFrom.configMapKeyRef, optional by its own word",
				"ConfigMap/env-from at spec.templates[0].container.envFrom[0].configMapRef, optional by its own word",
				"ConfigMap/twice at spec.templates[0].container.envFrom[1].configMapRef, optional",
				"ConfigMap/volume at spec.volumes[0].configMap, optional by its own word",
			},
		},
		"Semaphores": {
			reason: "a lock in another namespace is not the Workflow's to bring; a parameter that is called namespace changes nothing",
			spec: `{synchronization: {semaphore: {namespace: other, configMapKeyRef: {name: a, key: k}}, semaphores: [{namespace: other, configMapKeyRef: {name: b, key: k}},
				{namespace: argo, configMapKeyRef: {name: here, key: k}}, {namespace: "{{workflow.namespace}}", configMapKeyRef: {name: c, key: k}}, {configMapKeyRef: {name: unsaid, key: k}}]},
				templates: [{name: main, synchronization: {semaphore: {namespace: other, configMapKeyRef: {name: d, key: k}}}, inputs: {parameters: [{namespace: other, valueFrom: {configMapKeyRef: {name: input, key: k}}}]}}]}`,
			want: []string{
				"ConfigMap/here at spec.synchronization.semaphores[1].configMapKeyRef",
				"ConfigMap/input at spec.templates[0].inputs.parameters[0].valueFrom.configMapKeyRef, optional",
				"ConfigMap/unsaid at spec.synchronization.semaphores[3].configMapKeyRef",
			},
		},
		"Repository": {
			reason: "it may be in the namespace of the WEC's controller instead",
			spec:   `{artifactRepositoryRef: {configMap: repos, key: k}}`,
			want:   []string{"ConfigMap/repos at spec.artifactRepositoryRef, optional"},
		},
		"RepositoryKey": {
			reason: "without a name it is Argo's own, and what the key says is needed too, not what others say",
			spec:   `{artifactRepositoryRef: {key: mine}}`,
			hub: map[string]string{"ConfigMap/artifact-repositories": `{data: {
				mine: "s3: {bucket: b, accessKeySecret: {name: access, key: k}, secretKeySecret: {name: secret, key: k}}",
				other: "s3: {accessKeySecret: {name: not-named, key: k}}"}}`},
			want: []string{
				"ConfigMap/artifact-repositories at spec.artifactRepositoryRef, optional",
				"Secret/access at data[mine].s3.accessKeySecret of ConfigMap/artifact-repositories, optional, of a repository",
				"Secret/secret at data[mine].s3.secretKeySecret of ConfigMap/artifact-repositories, optional, of a repository",
			},
		},
		"RepositoryDefault": {
			reason: "without a key it is the one that the ConfigMap says",
			spec:   `{artifactRepositoryRef: {configMap: repos}, templates: [{container: {envFrom: [{configMapRef: {name: repos}}]}}]}`,
			hub: map[string]string{"ConfigMap/repos": `{metadata: {annotations: {workflows.argoproj.io/default-artifact-repository: b}}, data: {
				a: "gcs: {serviceAccountKeySecret: {name: a, key: k}}", b: "gcs: {serviceAccountKeySecret: {name: b, key: k}}", odd: "Secret: [", text: "accessKeySecret"}}`},
			want: []string{
				"ConfigMap/repos at spec.templates[0].container.envFrom[0].configMapRef, optional",
				"Secret/b at data[b].gcs.serviceAccountKeySecret of ConfigMap/repos, optional, of a repository",
			},
		},
		"RepositoryDynamic": {
			reason: "any of its keys may be meant",
			spec:   `{artifactRepositoryRef: {configMap: repos, key: "{{workflow.parameters.x}}"}}`,
			hub:    map[string]string{"ConfigMap/repos": `{data: {a: "oss: {accessKeySecret: {name: a, key: k}}", b: "oss: {accessKeySecret: {name: b, key: k}}"}}`},
			want: []string{
				"ConfigMap/repos at spec.artifactRepositoryRef, optional",
				"Secret/a at data[a].oss.accessKeySecret of ConfigMap/repos, optional, of a repository",
				"Secret/b at data[b].oss.accessKeySecret of ConfigMap/repos, optional, of a repository",
			},
		},
		"RepositoryOfRoot": {
			reason: "a template says what the Workflow does not",
			spec:   `{workflowTemplateRef: {name: root}, artifactRepositoryRef: {key: own}}`,
			hub:    map[string]string{"WorkflowTemplate/root": `{artifactRepositoryRef: {configMap: repos, key: theirs}, templates: [{container: {envFrom: [{configMapRef: {name: repos}}]}}]}`, "ConfigMap/repos": `{data: {own: "s3: {caSecret: {name: ca, key: k}}"}}`},
			want: []string{
				"WorkflowTemplate/root at spec.workflowTemplateRef",
				"ConfigMap/repos at spec.artifactRepositoryRef, optional",
				"Secret/ca at data[own].s3.caSecret of ConfigMap/repos, optional, of a repository",
			},
		},
		"RepositoryOfMissingRoot": {
			reason: "what the Workflow says itself is known",
			spec:   `{workflowTemplateRef: {name: root}, artifactRepositoryRef: {configMap: repos}}`,
			want:   []string{"WorkflowTemplate/root at spec.workflowTemplateRef", "ConfigMap/repos at spec.artifactRepositoryRef, optional"},
		},
		"Memoize": {reason: "caches belong to a cluster", spec: `{templates: [{name: main, memoize: {key: k, cache: {configMap: {name: cache}}}}]}`},
		"Plugin":  {reason: "a plugin's words are its own", spec: `{templates: [{name: main, plugin: {x: {templateRef: {name: a, template: b}}}}]}`},
		"Text":    {reason: "text is not looked into", spec: `{templates: [{name: main, resource: {manifest: "templateRef: {name: a}"}}], arguments: {parameters: [{name: templateRef, value: a}]}}`},
		"Dynamic": {
			reason: "a name that is filled in later is not known; with a name and an unknown template all of its templates count",
			spec: `{templates: [{name: main, steps: [[{name: a, templateRef: {name: "{{inputs.parameters.x}}", template: x}}, {name: b, templateRef: {name: lib, template: "{{item}}"}}]],
				synchronization: {semaphore: {configMapKeyRef: {name: "{{workflow.parameters.l}}", key: k}}}}]}`,
			hub: map[string]string{"WorkflowTemplate/lib": `{templates: [{name: a, steps: [[{name: a, templateRef: {name: one, template: x}}]]}, {name: b, steps: [[{name: a, templateRef: {name: two, template: x}}]]}]}`},
			want: []string{
				"WorkflowTemplate/lib at spec.templates[0].steps[0][1].templateRef",
				"WorkflowTemplate/one at spec.templates[0].steps[0][0].templateRef of WorkflowTemplate/lib",
				"WorkflowTemplate/two at spec.templates[1].steps[0][0].templateRef of WorkflowTemplate/lib",
			},
		},
		"Loop": {
			reason: "templates that call each other end",
			spec:   `{templates: [{name: main, steps: [[{name: a, templateRef: {name: a, template: x}}]]}]}`,
			hub: map[string]string{
				"WorkflowTemplate/a": `{templates: [{name: x, steps: [[{name: b, templateRef: {name: b, template: x}}, {name: c, template: x}]]}]}`,
				"WorkflowTemplate/b": `{templates: [{name: x, steps: [[{name: a, templateRef: {name: a, template: x}}]]}]}`,
			},
			want: []string{
				"WorkflowTemplate/a at spec.templates[0].steps[0][0].templateRef",
				"WorkflowTemplate/b at spec.templates[0].steps[0][0].templateRef of WorkflowTemplate/a",
			},
		},
		"Again": {
			reason: "once is enough, and required if it is anywhere",
			spec: `{volumes: [{name: v, configMap: {name: a}}], arguments: {parameters: [{name: a, valueFrom: {configMapKeyRef: {name: a, key: k}}}]},
				templates: [{name: main, container: {env: [{name: e, valueFrom: {configMapKeyRef: {name: a, key: k}}}]}}]}`,
			want: []string{"ConfigMap/a at spec.arguments.parameters[0].valueFrom.configMapKeyRef"},
		},
		"Odd": {
			reason: "what has another type than Argo's is left to Argo",
			spec: `{templates: {a: {templateRef: 7}}, arguments: [x], hooks: [7], onExit: 7, entrypoint: {a: b}, serviceAccountName: [x], executor: 7, workflowTemplateRef: root,
				volumes: [[{configMap: 7}]], synchronization: {semaphores: {configMapKeyRef: {name: {a: b}}}}}`,
		},
		"NoName": {reason: "a reference without a name is refused by Argo", spec: `{workflowTemplateRef: {}, templates: [{name: m, steps: [[{templateRef: {template: x}}]]}]}`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			for range 3 { // the order of a map's keys does not matter
				c, got := resolve(t, tc.spec, tc.hub)
				if diff := cmp.Diff(tc.want, got); diff != "" || c.TooMany() {
					t.Fatalf("%s: too many: %v; -want +got:\n%s", tc.reason, c.TooMany(), diff)
				}
			}
		})
	}
}

// TestDefaultRepository: what a Workflow uses that names none.
func TestDefaultRepository(t *testing.T) {
	hub := map[string]string{
		"ConfigMap/artifact-repositories": `{metadata: {annotations: {workflows.argoproj.io/default-artifact-repository: d}}, data: {d: "s3: {accessKeySecret: {name: s, key: k}}"}}`,
		"WorkflowTemplate/plain":          `{templates: [{name: main}]}`, "WorkflowTemplate/naming": `{artifactRepositoryRef: {configMap: repos}}`,
	}
	standard := []string{
		"ConfigMap/artifact-repositories at the default artifact repository, optional, implied",
		"Secret/s at data[d].s3.accessKeySecret of ConfigMap/artifact-repositories, optional, of a repository",
	}
	cases := map[string]struct {
		reason, spec string
		want         []string
	}{
		"None":  {"it is the namespace's", `{templates: [{name: main}]}`, standard},
		"Named": {"it is the one that it names", `{artifactRepositoryRef: {configMap: repos}}`, []string{"ConfigMap/repos at spec.artifactRepositoryRef, optional"}},
		"Root":  {"its template names none", `{workflowTemplateRef: {name: plain}}`, append([]string{"WorkflowTemplate/plain at spec.workflowTemplateRef"}, standard...)},
		"Mounted": {
			"it is named, if for another reason", `{templates: [{container: {envFrom: [{configMapRef: {name: artifact-repositories}}]}}]}`,
			[]string{"ConfigMap/artifact-repositories at spec.templates[0].container.envFrom[0].configMapRef, optional", standard[1]},
		},
		"OfRoot": {"its template names one", `{workflowTemplateRef: {name: naming}}`, []string{"WorkflowTemplate/naming at spec.workflowTemplateRef", "ConfigMap/repos at spec.artifactRepositoryRef of WorkflowTemplate/naming, optional"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := Begin(parse(t, tc.spec), "argo")
			c.UseDefaultRepository()
			if diff := cmp.Diff(tc.want, answer(t, c, hub)); diff != "" {
				t.Errorf("%s: -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestAccounts(t *testing.T) {
	root := map[string]string{"WorkflowTemplate/root": `{serviceAccountName: of-root, executor: {serviceAccountName: executor-of-root}, templates: [{name: main, serviceAccountName: of-template}]}`}
	cases := map[string]struct {
		reason string
		spec   string
		want   []string
	}{
		"None":         {"pods run as default", "{}", []string{"default"}},
		"Named":        {"and otherwise as named", "{serviceAccountName: runner}", []string{"runner"}},
		"Executor":     {"the executor may have its own", "{serviceAccountName: runner, executor: {serviceAccountName: executor}}", []string{"runner", "executor"}},
		"ExecutorOnly": {"beside default", "{executor: {serviceAccountName: executor}}", []string{"default", "executor"}},
		"Same":         {"once is enough", "{serviceAccountName: a, executor: {serviceAccountName: a}}", []string{"a"}},
		"Odd":          {"the WEC refuses it later", "{serviceAccountName: 7, executor: x}", []string{"default"}},
		"Templates": {
			"templates may have their own, and their executors",
			"{serviceAccountName: a, templates: [{serviceAccountName: c}, {serviceAccountName: a}, {executor: {serviceAccountName: b}}]}",
			[]string{"a", "b", "c"},
		},
		"Dynamic":    {"a name that is filled in later is not known", `{templates: [{serviceAccountName: "{{inputs.parameters.a}}"}]}`, []string{"default"}},
		"ArtifactGC": {"what removes artifacts needs another role", "{artifactGC: {serviceAccountName: gc}}", []string{"default"}},
		"Root":       {"a template gives what the Workflow does not say", "{entrypoint: main, workflowTemplateRef: {name: root}}", []string{"of-root", "executor-of-root", "of-template"}},
		"Over":       {"what the Workflow says comes first", "{entrypoint: x, serviceAccountName: own, workflowTemplateRef: {name: root}}", []string{"own", "executor-of-root"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c, _ := resolve(t, tc.spec, root)
			if diff := cmp.Diff(tc.want, c.Accounts()); diff != "" {
				t.Errorf("%s: -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}

// TestBounds: neither a chain without end nor a spec of enormous depth or width harms anybody.
func TestBounds(t *testing.T) {
	t.Run("a chain without end", func(t *testing.T) {
		c := Begin(parse(t, `{workflowTemplateRef: {name: a0}}`), "argo")
		for i := 1; len(c.Next()) > 0; i++ {
			if i > 2*stellarflow.MaxDependencies {
				t.Fatal("it is followed for ever")
			}
			c.Add(stellarflow.Reference{Kind: stellarflow.KindWorkflowTemplate, Name: fmt.Sprintf("a%d", i-1)},
				parse(t, fmt.Sprintf(`{hooks: {exit: {templateRef: {name: a%d, template: x}}}, templates: [{name: x, steps: [[{templateRef: {name: a%d, template: x}}]]}]}`, i, i)))
		}
		if !c.TooMany() || len(c.Needs()) != stellarflow.MaxDependencies {
			t.Errorf("%d objects, too many: %v", len(c.Needs()), c.TooMany())
		}
	})
	t.Run("accounts", func(t *testing.T) {
		var templates []any
		for i := range MaxAccounts {
			c := Begin(map[string]any{"templates": slices.Clone(templates)}, "argo")
			if c.TooManyAccounts() {
				t.Errorf("%d accounts and default are too many", i)
			}
			templates = append(templates, map[string]any{"serviceAccountName": fmt.Sprintf("a%d", i)})
		}
		if !Begin(map[string]any{"templates": templates}, "argo").TooManyAccounts() {
			t.Errorf("%d accounts and default are taken", MaxAccounts)
		}
	})
	t.Run("depth", func(t *testing.T) {
		const deep = 5000
		_, got := resolve(t, strings.Repeat(`{"inline":`, deep)+`{"templateRef":{"name":"a","template":"b"}}`+strings.Repeat("}", deep), nil)
		if len(got) > 0 {
			t.Errorf("found %v", got)
		}
	})
	t.Run("width", func(t *testing.T) {
		var templates []any
		for i := range 3 * maxSteps {
			templates = append(templates, map[string]any{"name": fmt.Sprintf("t%d", i), "steps": []any{[]any{map[string]any{"template": fmt.Sprintf("t%d", i+1)}}}})
		}
		c := Begin(parse(t, `{entrypoint: t0, workflowTemplateRef: {name: wide}}`), "argo")
		c.Add(c.Next()[0].Reference, map[string]any{"templates": templates})
		if !c.TooMany() {
			t.Error("a row of 30000 templates is walked to its end")
		}
	})
}

func FuzzClosure(f *testing.F) {
	f.Add(`{"workflowTemplateRef":{"name":"a"},"templates":[{"name":"a","steps":[[{"templateRef":{"name":"b","template":"c"}}]]}]}`)
	f.Add(`{"arguments":{"parameters":[{"name":"a","valueFrom":{"configMapKeyRef":{"name":"x"}}}]},"synchronization":{"semaphore":{"configMapKeyRef":{"name":"{{"}}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		var spec map[string]any
		if yaml.Unmarshal([]byte(text), &spec) != nil {
			return
		}
		c := Begin(spec, "argo")
		for asked := c.Next(); len(asked) > 0; asked = c.Next() {
			for _, need := range asked {
				c.Add(need.Reference, spec) // it calls itself
			}
		}
		if len(c.Needs()) > stellarflow.MaxDependencies || len(c.Accounts()) == 0 {
			t.Errorf("%d objects, accounts %v", len(c.Needs()), c.Accounts())
		}
	})
}
