package dependencies

import (
	"cmp"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/artifact"
)

// Repository is the artifact repository that a Workflow names: a key of a ConfigMap of its namespace, or else of that of the controller of
// its cluster. Source: argo-workflows v3.7.18 workflow/artifactrepositories/artifactrepositories.go, Resolve and get.
type Repository struct {
	// ConfigMap is its name, never empty.
	ConfigMap string
	// Key is empty for the ConfigMap's default.
	Key string
	// Where it is named, empty if nobody names one and it is the namespace's default.
	Where string
}

// repositoryOf returns what a spec says of its repository, nil for nothing.
func repositoryOf(spec map[string]any) *Repository {
	said, isMap := spec["artifactRepositoryRef"].(map[string]any)
	if !isMap {
		return nil
	}
	r := &Repository{Where: at([]string{"spec"}, "artifactRepositoryRef")}
	r.ConfigMap, _ = said["configMap"].(string)
	r.Key, _ = said["key"].(string)
	return r
}

// over returns what a Workflow says of its repository over what its template says.
func (r *Repository) over(template *Repository, in string) *Repository {
	switch {
	case template == nil:
		return r
	case r == nil:
		return &Repository{template.ConfigMap, template.Key, place(in, template.Where)}
	}
	return &Repository{cmp.Or(r.ConfigMap, template.ConfigMap), cmp.Or(r.Key, template.Key), r.Where}
}

// Repository returns the artifact repository that the Workflow is known to use by now.
func (c *Closure) Repository() Repository {
	if c.repository == nil {
		return Repository{ConfigMap: artifact.ConfigMapName}
	}
	return Repository{cmp.Or(c.repository.ConfigMap, artifact.ConfigMapName), c.repository.Key, c.repository.Where}
}

// UseDefaultRepository has the namespace's default artifact repository count as needed by a Workflow that names none: where no shared store
// is configured. It is to be called before the first Next.
func (c *Closure) UseDefaultRepository() {
	c.useDefault = true
}

// askRepository asks for the ConfigMap of the repository that is named, when all is known that may name one.
func (c *Closure) askRepository() {
	if r := c.Repository(); r.Where != "" {
		c.askConfigMap(r, Need{Where: r.Where})
	}
}

// askDefault asks for the namespace's default repository, when all else is known: it is implied only if nothing names its ConfigMap.
func (c *Closure) askDefault() {
	if r := c.Repository(); r.Where == "" && c.useDefault {
		c.askConfigMap(r, Need{Optional: true, Implied: true, Where: "the default artifact repository"})
		c.enterAll()
	}
}

func (c *Closure) askConfigMap(r Repository, need Need) {
	if static(r.ConfigMap, "") == "" {
		return
	}
	need.Reference = stellarflow.Reference{Kind: stellarflow.KindConfigMap, Name: r.ConfigMap}
	c.ask(need)
	c.walk(step{need.Reference, part{repository: true, key: static(r.Key, all)}})
}

// Content returns what counts of an object of the hub that a Workflow will use, for Closure.Add; nil if it brings no other object along. Of
// a ConfigMap these are the texts that may be artifact repositories with Secrets.
func Content(kind stellarflow.Kind, onHub *unstructured.Unstructured) map[string]any {
	switch kind {
	case stellarflow.KindWorkflowTemplate, stellarflow.KindClusterWorkflowTemplate:
		spec, _ := onHub.Object["spec"].(map[string]any)
		return spec
	case stellarflow.KindConfigMap:
		data, _, _ := unstructured.NestedStringMap(onHub.Object, "data")
		content := map[string]any{}
		for key, text := range data {
			if strings.Contains(text, "Secret") {
				content[key] = text
			}
		}
		if len(content) > 0 {
			return map[string]any{"data": content, "default": onHub.GetAnnotations()[artifact.AnnotationDefault]}
		}
	}
	return nil
}

// repositories returns what the artifact repositories under a key of a ConfigMap refer to: all for each, none for the default.
func (c content) repositories(key string) found {
	if key == "" {
		key, _ = c.spec["default"].(string)
	}
	w := &walker{namespace: c.namespace}
	data, _ := c.spec["data"].(map[string]any)
	for name, value := range data {
		text, _ := value.(string)
		var repository map[string]any
		if (key == all || key == name) && yaml.Unmarshal([]byte(text), &repository) == nil {
			w.object([]string{"data[" + name + "]"}, repository)
		}
	}
	needs := w.sorted().needs
	for i := range needs {
		needs[i].ofRepository = true
	}
	return found{needs: needs}
}
