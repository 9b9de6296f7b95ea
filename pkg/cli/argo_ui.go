package cli

import (
	"context"
	"encoding/json"
	"errors"
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

const (
	// columnsKey is the setting of Argo's server that has the columns of the UI's list (argo-workflows v3.7.18 config/config.go, since v3.5).
	columnsKey = "columns"
	// clusterColumn shows in that list which cluster a Workflow is placed on: one line in JSON, which is YAML too, by which it is found again.
	clusterColumn = `{"name":"Cluster","type":"label","key":"` + stellarflow.LabelCluster + `"}`
	// annotationRestarted on a Deployment's pods is what `kubectl rollout restart` changes.
	annotationRestarted = "kubectl.kubernetes.io/restartedAt"
)

// withColumn returns the data of the ConfigMap of Argo's server with our column behind those that are there; the data themselves if it is among
// them. What else is in them stays as somebody wrote it. The error says that this cannot be done, and what to do.
func withColumn(data map[string]string) (map[string]string, error) {
	if text, whole := data["config"]; whole { // as of older Helm charts: the text is somebody's, and others apply it as a whole
		if strings.Contains(text, stellarflow.LabelCluster) {
			return data, nil
		}
		return data, fmt.Errorf("all its settings are in one text: add %s to the list %s there", clusterColumn, columnsKey)
	}
	before, err := columnsIn(data)
	if err != nil {
		return data, err
	}
	var ours any
	if err := json.Unmarshal([]byte(clusterColumn), &ours); err != nil {
		return data, fmt.Errorf("read our column: %w", err)
	}
	if slices.ContainsFunc(before, func(column any) bool { return reflect.DeepEqual(column, ours) }) {
		return data, nil
	}
	text := data[columnsKey]
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	changed := map[string]string{}
	maps.Copy(changed, data)
	changed[columnsKey] = text + indentOf(text) + "- " + clusterColumn + "\n"
	if after, err := columnsIn(changed); err != nil || !reflect.DeepEqual(after, append(slices.Clone(before), ours)) {
		return data, fmt.Errorf("its list %s is written in a form that cannot be added to: add %s to it", columnsKey, clusterColumn)
	}
	return changed, nil
}

// withoutColumn returns the data without the line that withColumn has added; the data themselves if it is not there.
func withoutColumn(data map[string]string) map[string]string {
	lines := strings.SplitAfter(data[columnsKey], "\n")
	left := slices.DeleteFunc(slices.Clone(lines), func(line string) bool { return strings.TrimSpace(line) == "- "+clusterColumn })
	if len(left) == len(lines) {
		return data
	}
	changed := maps.Clone(data)
	if changed[columnsKey] = strings.Join(left, ""); strings.TrimSpace(changed[columnsKey]) == "" {
		delete(changed, columnsKey)
	}
	return changed
}

// columnsIn reads the columns.
func columnsIn(data map[string]string) (columns []any, err error) {
	if err := yaml.Unmarshal([]byte(data[columnsKey]), &columns); err != nil {
		return nil, fmt.Errorf("read its list %s: %w", columnsKey, err)
	}
	return columns, nil
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

// findServerUsers returns who the Argo servers of a cluster are to its API server.
func findServerUsers(ctx context.Context, cluster client.Client) ([]string, error) {
	servers, err := findServers(ctx, cluster)
	if err != nil {
		return nil, err
	}
	users := make([]string, 0, len(servers))
	for i := range servers {
		users = append(users, userOf(&servers[i]))
	}
	return users, nil
}

// runsServer reports whether a container runs Argo's server.
func runsServer(container corev1.Container) bool {
	words := slices.Concat(container.Command, container.Args)
	isArgo := slices.ContainsFunc(append(words, imageName(container.Image)), func(word string) bool {
		return baseName(word) == "argo" || baseName(word) == "argocli"
	})
	return isArgo && slices.Contains(words, "server")
}

// knowsColumns reports whether the Argo of a server's image knows columns: one that does not, or its controller, would not start with them.
func knowsColumns(deployment *appsv1.Deployment) bool {
	for _, container := range deployment.Spec.Template.Spec.Containers {
		var major, minor int
		if runsServer(container) {
			read, err := fmt.Sscanf(imageTag(container.Image), "v%d.%d", &major, &minor)
			return err == nil && read == 2 && (major > 3 || major == 3 && minor >= 5)
		}
	}
	return false
}

// showClusters has the UI of the hub's Argo servers show the cluster of a Workflow, or not any more, and starts those servers anew whose ConfigMap that
// changes: they read it only then. It returns the ConfigMaps and the Deployments. The hub does without: what fails is a warning.
func showClusters(ctx context.Context, env Env, hub client.Client, remove bool) (changed []string, restarted []client.ObjectKey) {
	changed = []string{}
	servers, err := findServers(ctx, hub)
	if err != nil {
		env.sayf("warning: %v: Argo's UI is left as it is", err)
	}
	for i := range servers {
		server, settings := client.ObjectKeyFromObject(&servers[i]), client.ObjectKey{Namespace: servers[i].Namespace, Name: configMapOf(&servers[i])}
		if !remove && !knowsColumns(&servers[i]) {
			env.sayf("warning: Argo's UI: the image of deployment %s does not say that it is Argo v3.5 or later, which knows %s: it is left as it is", server, columnsKey)
			continue
		}
		different, err := writeColumn(ctx, hub, settings, remove)
		if err != nil {
			env.sayf("warning: Argo's UI does not show clusters: ConfigMap %s: %v", settings, err)
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
		env.sayf("Argo's UI %s a column for the cluster (ConfigMap %s), and its server is started anew", verb, strings.Join(changed, ", "))
	}
	return changed, restarted
}

// restart starts the pods of a Deployment anew, as `kubectl rollout restart` does.
func restart(ctx context.Context, env Env, hub client.Client, deployment *appsv1.Deployment) error {
	patch := fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{%q:%q}}}}}`, annotationRestarted, env.Now().UTC().Format(time.RFC3339))
	return hub.Patch(ctx, deployment, client.RawPatch(types.MergePatchType, []byte(patch)))
}

// writeColumn adds our column to a ConfigMap or removes it, and reports whether that changed it. A ConfigMap that is missing is not made: without one
// Argo does not start.
func writeColumn(ctx context.Context, hub client.Client, key client.ObjectKey, remove bool) (changed bool, err error) {
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		var settings corev1.ConfigMap
		if err := hub.Get(ctx, key, &settings); err != nil {
			return err
		}
		data := withoutColumn(settings.Data)
		if !remove {
			if data, err = withColumn(settings.Data); err != nil {
				return err
			}
		}
		if maps.Equal(data, settings.Data) {
			return nil
		}
		settings.Data = data
		err := hub.Update(ctx, &settings)
		changed = err == nil
		return err
	})
	switch {
	case remove:
		return changed, client.IgnoreNotFound(err)
	case apierrors.IsNotFound(err):
		return false, errors.New("it does not exist: make it, or name the right one with --configmap of Argo's server, and run install again")
	}
	return changed, err
}
