package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// annotationRestarted on a Deployment's pods is what `kubectl rollout restart` changes.
const annotationRestarted = "kubectl.kubernetes.io/restartedAt"

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
// changes: they read it only then. Address is where people find the UI, empty if that is not known. It returns the ConfigMaps and the Deployments.
// The hub does without: what fails is a warning.
func showClusters(ctx context.Context, env Env, hub client.Client, address string, remove bool) (changed []string, restarted []client.ObjectKey) {
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
		different, err := writeEntries(ctx, hub, settings, uiEntries(address), remove)
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
		verb, what := "gets", "a column for the cluster"
		if remove {
			verb = "loses"
		} else if address != "" && address != noURL {
			what += " and links to the Workflows of one"
		}
		env.sayf("Argo's UI %s %s (ConfigMap %s), and its server is started anew", verb, what, strings.Join(changed, ", "))
	}
	return changed, restarted
}

// restart starts the pods of a Deployment anew, as `kubectl rollout restart` does.
func restart(ctx context.Context, env Env, hub client.Client, deployment *appsv1.Deployment) error {
	patch := fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{%q:%q}}}}}`, annotationRestarted, env.Now().UTC().Format(time.RFC3339))
	return hub.Patch(ctx, deployment, client.RawPatch(types.MergePatchType, []byte(patch)))
}

// writeEntries adds our entries to a ConfigMap or removes them, and reports whether that changed it. A ConfigMap that is missing is not made: without
// one Argo does not start.
func writeEntries(ctx context.Context, hub client.Client, key client.ObjectKey, entries []uiEntry, remove bool) (changed bool, err error) {
	var cannot error
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		var settings corev1.ConfigMap
		if err := hub.Get(ctx, key, &settings); err != nil {
			return err
		}
		data := settings.Data
		cannot = nil
		for _, entry := range entries {
			var failed error
			if remove || entry.remove {
				data = withoutEntry(data, entry)
			} else if data, failed = withEntry(data, entry); failed != nil {
				cannot = errors.Join(cannot, failed)
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
	return changed, errors.Join(err, cannot)
}
