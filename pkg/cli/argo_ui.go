package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// annotationRestarted on a Deployment's pods is what `kubectl rollout restart` changes.
const annotationRestarted = "kubectl.kubernetes.io/restartedAt"

// uiEntry is an entry of ours in a list of the settings that Argo's server reads from its ConfigMap.
type uiEntry struct {
	// list is the setting, as in argo-workflows v3.7.18 config/config.go.
	list string
	// line is the entry in JSON, which is YAML too: one line, by which it is found again.
	line string
}

// uiEntries show in Argo's UI where a Workflow runs: a column of the list, in which a label is a filter too, and in the menu of a Workflow a link to
// all Workflows of its namespace that are placed on the same cluster.
var uiEntries = []uiEntry{
	{"columns", `{"name":"Cluster","type":"label","key":"` + stellarflow.LabelCluster + `"}`},
	{
		"links", `{"name":"Workflows on this cluster","scope":"workflow","url":"workflows/${metadata.namespace}?label=` + stellarflow.LabelCluster +
			`%3D${workflow.metadata.labels.` + stellarflow.LabelCluster + `}"}`,
	},
}

// listIn reads a list of settings; whole says that all settings are under the one key config (argo-workflows v3.7.18 config/controller.go).
func (e uiEntry) listIn(data map[string]string) (list []any, whole bool, err error) {
	settings := map[string]any{}
	text, whole := data["config"]
	if whole {
		err = yaml.UnmarshalStrict([]byte(text), &settings)
		list, _ = settings[e.list].([]any)
	} else {
		err = yaml.Unmarshal([]byte(data[e.list]), &list)
	}
	if err != nil {
		err = fmt.Errorf("read %s in it: %w", e.list, err)
	}
	return list, whole, err
}

// value is the entry as it is read.
func (e uiEntry) value() any {
	var value any
	_ = json.Unmarshal([]byte(e.line), &value) // TestUIEntries reads each
	return value
}

// has reports whether a list has the entry.
func (e uiEntry) has(list []any) bool {
	return slices.ContainsFunc(list, func(one any) bool { return reflect.DeepEqual(one, e.value()) })
}

// add returns the data of a ConfigMap with the entry at the end of its list; the data themselves if it is there. What else is in them stays as
// somebody wrote it. The error says that this cannot be done.
func (e uiEntry) add(data map[string]string) (map[string]string, error) {
	list, whole, err := e.listIn(data)
	if err != nil || e.has(list) {
		return data, err
	}
	added := maps.Clone(data)
	if added == nil {
		added = map[string]string{}
	}
	switch {
	case whole && len(list) == 0:
		added["config"] = ended(data["config"]) + e.list + ":\n- " + e.line + "\n"
	case whole: // where in the text the list ends is not known
	default:
		added[e.list] = ended(data[e.list]) + indentOf(data[e.list]) + "- " + e.line + "\n"
	}
	if now, _, err := e.listIn(added); err != nil || !reflect.DeepEqual(now, append(slices.Clone(list), e.value())) {
		return data, fmt.Errorf("%s has entries of somebody in a form that cannot be added to: add %s to them", e.list, e.line)
	}
	return added, nil
}

// remove returns the data of a ConfigMap without the line that add has put there; the data themselves if it is not there.
func (e uiEntry) remove(data map[string]string) map[string]string {
	removed := maps.Clone(data)
	for _, key := range []string{"config", e.list} {
		text, found := data[key]
		if !found {
			continue
		}
		lines := strings.SplitAfter(text, "\n")
		at := slices.IndexFunc(lines, func(line string) bool { return strings.TrimSpace(line) == "- "+e.line })
		if at < 0 {
			continue
		}
		lines = slices.Delete(lines, at, at+1)
		if list, whole, _ := e.listIn(data); whole && len(list) == 1 && at > 0 {
			lines = slices.Delete(lines, at-1, at)
		}
		if removed[key] = strings.Join(lines, ""); strings.TrimSpace(removed[key]) == "" {
			delete(removed, key)
		}
	}
	return removed
}

// ended is a text whose last line has an end.
func ended(text string) string {
	if text == "" || strings.HasSuffix(text, "\n") {
		return text
	}
	return text + "\n"
}

// indentOf is what precedes the first entry of a list in YAML.
func indentOf(list string) string {
	for line := range strings.Lines(list) {
		if trimmed := strings.TrimLeft(line, " "); strings.HasPrefix(trimmed, "- ") {
			return line[:len(line)-len(trimmed)]
		}
	}
	return ""
}

// findServers finds the Deployments of Argo's server: those of Argo's manifests, of its Helm chart, and any other that runs `argo server`.
func findServers(ctx context.Context, cluster client.Client) ([]appsv1.Deployment, error) {
	var deployments appsv1.DeploymentList
	if err := cluster.List(ctx, &deployments); err != nil {
		return nil, fmt.Errorf("look for Argo's server: list deployments: %w", err)
	}
	return slices.DeleteFunc(deployments.Items, func(deployment appsv1.Deployment) bool {
		return !slices.ContainsFunc(deployment.Spec.Template.Spec.Containers, runsServer)
	}), nil
}

// runsServer reports whether a container runs Argo's server.
func runsServer(container corev1.Container) bool {
	words := slices.Concat(container.Command, container.Args)
	isArgo := slices.ContainsFunc(append(words, imageName(container.Image)), func(word string) bool {
		return baseName(word) == "argo" || baseName(word) == "argocli"
	})
	return isArgo && slices.Contains(words, "server")
}

// showClusters adds our entries to the ConfigMaps of the Argo servers of the hub, or removes them, and starts the servers anew, which read them only then.
// It returns the ConfigMaps that it changed and the servers' Deployments. The hub does without: what fails is a warning.
func showClusters(ctx context.Context, env Env, hub client.Client, remove bool) (changed []string, restarted []client.ObjectKey) {
	changed = []string{}
	servers, err := findServers(ctx, hub)
	if err != nil {
		env.sayf("warning: %v: Argo's UI is left as it is", err)
	}
	for i := range servers {
		server, settings := client.ObjectKeyFromObject(&servers[i]), client.ObjectKey{Namespace: servers[i].Namespace, Name: configMapOf(&servers[i])}
		different, err := writeEntries(ctx, hub, settings, remove)
		if err != nil {
			env.sayf("warning: Argo's UI, ConfigMap %s: %v", settings, err)
		}
		if different {
			changed = append(changed, settings.String())
		}
		if !slices.Contains(changed, settings.String()) {
			continue
		}
		if err := restart(ctx, env, hub, &servers[i]); err != nil {
			env.sayf("warning: Argo's server reads ConfigMap %s only when it is started anew: %v: use `kubectl -n %s rollout restart deployment %s`", settings, err, server.Namespace, server.Name)
			continue
		}
		restarted = append(restarted, server)
	}
	if len(changed) > 0 {
		verb := "gets"
		if remove {
			verb = "loses"
		}
		env.sayf("Argo's UI %s a column for the cluster and a link (ConfigMap %s), and its server is started anew", verb, strings.Join(changed, ", "))
	}
	return changed, restarted
}

// restart starts the pods of a Deployment anew, as `kubectl rollout restart` does.
func restart(ctx context.Context, env Env, hub client.Client, deployment *appsv1.Deployment) error {
	patch := fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{%q:%q}}}}}`, annotationRestarted, env.Now().UTC().Format(time.RFC3339))
	return hub.Patch(ctx, deployment, client.RawPatch(types.MergePatchType, []byte(patch)))
}

// writeEntries adds our entries to a ConfigMap or removes them, and reports whether that changed it. A ConfigMap that is missing is not made: Argo
// has no settings then, and its controller does not start.
func writeEntries(ctx context.Context, hub client.Client, key client.ObjectKey, remove bool) (changed bool, err error) {
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		var settings corev1.ConfigMap
		if err := hub.Get(ctx, key, &settings); err != nil {
			return err
		}
		data, refused := settings.Data, error(nil)
		for _, entry := range uiEntries {
			if remove {
				data = entry.remove(data)
			} else if data, err = entry.add(data); err != nil && refused == nil {
				refused = err
			}
		}
		if changed = !maps.Equal(data, settings.Data); !changed {
			return refused
		}
		settings.Data = data
		if err := hub.Update(ctx, &settings); err != nil {
			changed = false
			return err
		}
		return refused
	})
	if remove {
		err = client.IgnoreNotFound(err)
	} else if apierrors.IsNotFound(err) {
		err = fmt.Errorf("it does not exist: make it, or name the right one with --configmap of Argo's server, and run install again")
	}
	return changed, err
}
