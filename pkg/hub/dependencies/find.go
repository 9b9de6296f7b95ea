package dependencies

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// maxDepth bounds how deep a spec is walked: inline templates can be nested.
const maxDepth = 100

// all stands for every template of an object: one of them is called by a name that is only known when the Workflow runs.
const all = "*"

// need is one object that a spec refers to.
type need struct {
	stellarflow.Reference
	// required: without it the Workflow cannot begin, or would stop half-way, whatever its steps do.
	required bool
	// optional: the spec says that it may be missing.
	optional bool
	// ofRepository: an artifact repository names it.
	ofRepository bool
	// parameter is the argument that takes its value from a ConfigMap, empty for others.
	parameter string
	// where in the spec it stands.
	where string
}

// use is a template of another object that a spec calls; the template is all if its name is not static.
type use struct {
	stellarflow.Reference
	template string
	where    string
}

// found is what a spec, or a part of it, refers to.
type found struct {
	needs []need
	uses  []use
	// root is the workflowTemplateRef.
	root *use
	// calls are the templates of the same object that are called by name.
	calls []string
	// account and executor are the spec's own ServiceAccounts, accounts those of its templates.
	account, executor string
	accounts          []string
	// repository is the artifactRepositoryRef.
	repository *Repository
}

// part is what of a spec counts.
type part struct {
	// spec: everything but the templates.
	spec bool
	// template is the name of one, all for all, empty for none.
	template string
	// repository: of a ConfigMap the artifact repository under a key, all for every one, empty for its default.
	repository bool
	key        string
}

// content is a Workflow's or a template's spec, with its templates by name: there may be thousands. Or Content of a ConfigMap.
type content struct {
	spec      map[string]any
	namespace string           // the Workflow's
	byName    map[string][]int // where in spec.templates
}

func newContent(spec map[string]any, namespace string) content {
	c := content{spec, namespace, map[string][]int{}}
	for i, template := range c.templates() {
		one, isMap := template.(map[string]any)
		if name, _ := one["name"].(string); isMap {
			c.byName[name] = append(c.byName[name], i)
			c.byName[all] = append(c.byName[all], i)
		}
	}
	return c
}

func (c content) templates() []any {
	templates, _ := c.spec["templates"].([]any)
	return templates
}

// find returns what a part of a spec refers to. Source of the fields: argo-workflows v3.7.18
// pkg/apis/workflow/v1alpha1/workflow_types.go.
func (c content) find(p part) found {
	if p.repository {
		return c.repositories(p.key)
	}
	w := &walker{namespace: c.namespace}
	if p.spec {
		w.found.repository = repositoryOf(c.spec)
		w.arguments = argumentsOf(c.spec)
		w.found.account, _ = c.spec["serviceAccountName"].(string)
		if executor, isMap := c.spec["executor"].(map[string]any); isMap {
			w.found.executor, _ = executor["serviceAccountName"].(string)
		}
		for key, value := range c.spec {
			if key != "templates" && key != "serviceAccountName" && key != "executor" {
				w.field([]string{"spec"}, key, value)
			}
		}
	}
	for _, i := range c.byName[p.template] {
		if template, isMap := c.templates()[i].(map[string]any); isMap && p.template != "" {
			w.object([]string{"spec", fmt.Sprintf("templates[%d]", i)}, template)
		}
	}
	return w.sorted()
}

// sorted returns what was found in an order that does not depend on that of maps.
func (w *walker) sorted() found {
	f := w.found
	slices.SortStableFunc(f.needs, func(a, b need) int { return cmp.Or(a.Compare(b.Reference), cmp.Compare(a.where, b.where)) })
	slices.SortStableFunc(f.uses, func(a, b use) int {
		return cmp.Or(a.Compare(b.Reference), cmp.Compare(a.template, b.template), cmp.Compare(a.where, b.where))
	})
	slices.Sort(f.calls)
	f.calls = slices.Compact(f.calls)
	slices.Sort(f.accounts)
	f.accounts = slices.Compact(f.accounts)
	return f
}

// walker collects what it comes by.
type walker struct {
	found     found
	namespace string // the Workflow's
	// arguments are the spec's own parameters, by the path of their valueFrom.
	arguments map[string]argument
}

// argument is a parameter of a spec that takes its value from somewhere.
type argument struct {
	name       string
	hasDefault bool
}

// argumentsOf returns the parameters of a spec, by the path of their valueFrom.
func argumentsOf(spec map[string]any) map[string]argument {
	arguments := map[string]argument{}
	block, _ := spec["arguments"].(map[string]any)
	parameters, _ := block["parameters"].([]any)
	for i := range parameters {
		parameter, _ := parameters[i].(map[string]any)
		source, _ := parameter["valueFrom"].(map[string]any)
		name, _ := parameter["name"].(string)
		_, hasDefault := source["default"]
		arguments[fmt.Sprintf("spec.arguments.parameters[%d].valueFrom", i)] = argument{name, hasDefault}
	}
	return arguments
}

func (w *walker) object(path []string, content map[string]any) {
	if len(path) > maxDepth {
		return
	}
	for key, value := range content {
		w.field(path, key, value)
	}
}

func (w *walker) field(path []string, key string, value any) {
	switch value := value.(type) {
	case string:
		w.text(path, key, value)
	case map[string]any:
		if !w.reference(path, key, value) && !w.elsewhere(below(path, key), value) {
			w.object(below(path, key), value)
		}
	case []any:
		for i, element := range value {
			w.element(below(path, key), i, element)
		}
	}
}

// element is one of a list, or of a list in a list: steps are.
func (w *walker) element(path []string, i int, value any) {
	if len(path) > maxDepth {
		return
	}
	path = slices.Clone(path)
	path[len(path)-1] = fmt.Sprintf("%s[%d]", path[len(path)-1], i)
	switch value := value.(type) {
	case map[string]any:
		if !w.elsewhere(path, value) {
			w.object(path, value)
		}
	case []any:
		for j, element := range value {
			w.element(path, j, element)
		}
	}
}

// elsewhere reports whether an object is a semaphore whose ConfigMap is in another namespace than the Workflow, or in one that is not
// known before it runs: nothing of another namespace travels. Source: argo-workflows workflow_types.go, SemaphoreRef.Namespace.
func (w *walker) elsewhere(path []string, value map[string]any) bool {
	last := path[len(path)-1]
	namespace, _ := value["namespace"].(string)
	isLock := within(path, "synchronization") && (last == "semaphore" || strings.HasPrefix(last, "semaphores["))
	return isLock && namespace != "" && namespace != w.namespace
}

// text takes up a string that names a template, a ServiceAccount, a claim or a Secret.
func (w *walker) text(path []string, key, value string) {
	switch key {
	case "template", "onExit", "entrypoint":
		if value != "" {
			w.found.calls = append(w.found.calls, static(value, all))
		}
	case "serviceAccountName":
		if !within(path, "artifactGC") && static(value, "") != "" { // the garbage collection needs another role
			w.found.accounts = append(w.found.accounts, value)
		}
	case "claimName":
		w.need(path, key, need{Reference: stellarflow.Reference{Kind: stellarflow.KindPersistentVolumeClaim, Name: value}})
	case "name":
		if strings.HasPrefix(path[len(path)-1], "imagePullSecrets[") {
			w.need(path, key, need{Reference: stellarflow.Reference{Kind: stellarflow.KindSecret, Name: value}})
		}
	}
}

// reference takes up an object that refers to another one. It is false if there may be more in it.
func (w *walker) reference(path []string, key string, value map[string]any) bool {
	name, _ := value["name"].(string)
	switch key {
	case "plugin", "memoize": // a plugin's words are its own; caches belong to a cluster
		return true
	case "workflowTemplateRef":
		if use, ok := templateOf(path, key, value); ok && len(path) == 1 {
			w.found.root = &use
		}
	case "templateRef":
		if use, ok := templateOf(path, key, value); ok {
			w.found.uses = append(w.found.uses, use)
		}
	case "configMapKeyRef", "krbConfigConfigMap":
		w.key(path, key, name, value)
	case "configMapRef", "configMap": // of pods: the pod waits for one that a step makes
		optional, _ := value["optional"].(bool)
		w.need(path, key, need{Reference: stellarflow.Reference{Kind: stellarflow.KindConfigMap, Name: name}, optional: optional})
	default:
		return w.secret(path, key, name, value)
	}
	return true
}

// secret takes up a Secret of pods or of an artifact's location: those are called accessKeySecret, sshPrivateKeySecret and so on, and have a
// name and a key. It is false for what refers to none.
func (w *walker) secret(path []string, key, name string, value map[string]any) bool {
	if volume, isVolume := value["secretName"].(string); isVolume && key == "secret" {
		name = volume
	}
	_, hasKey := value["key"].(string)
	ofPods, ofLocation := key == "secret" || key == "secretRef" || key == "secretKeyRef", strings.HasSuffix(key, "Secret") && hasKey
	if !ofPods && !ofLocation || name == "" {
		return false
	}
	optional, _ := value["optional"].(bool)
	w.need(path, key, need{Reference: stellarflow.Reference{Kind: stellarflow.KindSecret, Name: name}, optional: optional})
	return true
}

// key takes up a key of a ConfigMap: what locks or gives the Workflow's own arguments must be there.
func (w *walker) key(path []string, key, name string, value map[string]any) {
	optional, _ := value["optional"].(bool)
	lock := within(path, "semaphore") || within(path, "semaphores")
	argument, isArgument := w.arguments[strings.Join(path, ".")]
	w.need(path, key, need{
		Reference: stellarflow.Reference{Kind: stellarflow.KindConfigMap, Name: name}, parameter: argument.name,
		optional: optional, required: !optional && (lock || isArgument && !argument.hasDefault),
	})
}

func (w *walker) need(path []string, key string, n need) {
	if static(n.Name, "") != "" {
		n.where = at(path, key)
		w.found.needs = append(w.found.needs, n)
	}
}

// templateOf reads a reference to a template. It is false for one whose name is not static.
func templateOf(path []string, key string, value map[string]any) (use, bool) {
	name, _ := value["name"].(string)
	template, _ := value["template"].(string)
	kind := stellarflow.KindWorkflowTemplate
	if cluster, _ := value["clusterScope"].(bool); cluster {
		kind = stellarflow.KindClusterWorkflowTemplate
	}
	return use{stellarflow.Reference{Kind: kind, Name: name}, static(template, all), at(path, key)}, static(name, "") != ""
}

// static returns a name, or the other if it has a part that is filled in when the Workflow runs.
func static(name, otherwise string) string {
	if strings.Contains(name, "{{") {
		return otherwise
	}
	return name
}

// within reports whether a path has a step with a name.
func within(path []string, name string) bool {
	return slices.ContainsFunc(path, func(step string) bool { return step == name || strings.HasPrefix(step, name+"[") })
}

func below(path []string, key string) []string {
	return append(slices.Clone(path), key)
}

func at(path []string, key string) string {
	const limit = 200
	return stellarflow.OneLine(strings.Join(append(slices.Clone(path), key), "."), limit)
}
