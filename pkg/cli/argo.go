package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// controllerName is the name of Argo's controller binary, container and, in its manifests, Deployment.
const controllerName = "workflow-controller"

// argoController is an Argo Workflows controller that runs on a cluster.
type argoController struct {
	// User is who it is to the API server.
	User string
	// Version is its image's tag, without a digest; empty if the image has no tag.
	Version string
	// ConfigMaps are those of its Deployments that are not scaled to 0.
	ConfigMaps []client.ObjectKey
	// Running are its Deployments, NAMESPACE/NAME, that act on Workflows: they are not scaled to 0 and have workers for them.
	Running []string
}

// findControllers finds the Argo controllers of a cluster by their Deployments: those of Argo's manifests, of its Helm
// chart, and any other that runs the binary.
func findControllers(ctx context.Context, cluster client.Client) ([]argoController, error) {
	var deployments appsv1.DeploymentList
	if err := cluster.List(ctx, &deployments); err != nil {
		return nil, fmt.Errorf("look for Argo's controller: list deployments: %w", err)
	}
	var found []argoController
	for i := range deployments.Items {
		deployment := &deployments.Items[i]
		image, runs := controllerImage(deployment)
		if !runs {
			continue
		}
		user := userOf(deployment)
		i := slices.IndexFunc(found, func(c argoController) bool { return c.User == user })
		if i < 0 {
			i, found = len(found), append(found, argoController{User: user, Version: imageTag(image)})
		}
		if scaledToZero(deployment) {
			continue
		}
		found[i].ConfigMaps = append(found[i].ConfigMaps, client.ObjectKey{Namespace: deployment.Namespace, Name: configMapOf(deployment)})
		if actsOnWorkflows(deployment) {
			found[i].Running = append(found[i].Running, deployment.Namespace+"/"+deployment.Name)
		}
	}
	slices.SortFunc(found, func(a, b argoController) int { return strings.Compare(a.User, b.User) })
	return found, nil
}

// userOf returns who the pods of a Deployment are to the API server.
func userOf(deployment *appsv1.Deployment) string {
	return "system:serviceaccount:" + deployment.Namespace + ":" + cmp.Or(deployment.Spec.Template.Spec.ServiceAccountName, "default")
}

// scaledToZero reports whether a Deployment has no pods.
func scaledToZero(deployment *appsv1.Deployment) bool {
	replicas := deployment.Spec.Replicas
	return replicas != nil && *replicas == 0 && deployment.Status.Replicas == 0
}

// actsOnWorkflows reports whether a Deployment of a controller does, or did so until its rollout has ended. One with --workflow-workers=0 takes
// nothing from the queue of Workflows, and does the rest: CronWorkflows, ttlStrategy, retention, archive (Argo's controller.go, Run).
func actsOnWorkflows(deployment *appsv1.Deployment) bool {
	status := deployment.Status
	rolledOut := status.ObservedGeneration == deployment.Generation && status.UpdatedReplicas == status.Replicas
	return !scaledToZero(deployment) && (!rolledOut || flagOf(deployment.Spec.Template.Spec.Containers, "workflow-workers") != "0")
}

// flagOf is what a controller's containers are started with for a flag, empty for its default: the last in the command, else the environment, as
// Argo reads it (cmd/workflow-controller/main.go).
func flagOf(containers []corev1.Container, name string) (value string) {
	flag, variable := "--"+name, "ARGO_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
	environment := ""
	for _, container := range containers {
		words := slices.Concat(container.Command, container.Args)
		for i, word := range words {
			if given, found := strings.CutPrefix(word, flag+"="); found {
				value = given
			} else if word == flag && i+1 < len(words) {
				value = words[i+1]
			}
		}
		for _, set := range container.Env {
			if set.Name == variable {
				environment = set.Value
			}
		}
	}
	return cmp.Or(value, environment)
}

// runningOf are the Deployments of controllers that act on Workflows.
func runningOf(controllers []argoController) []string {
	var running []string
	for _, controller := range controllers {
		running = append(running, controller.Running...)
	}
	return running
}

// controllerImage reports whether a Deployment runs Argo's controller, and the image of that container.
func controllerImage(deployment *appsv1.Deployment) (string, bool) {
	containers := deployment.Spec.Template.Spec.Containers
	for _, container := range containers {
		words := slices.Concat(container.Command, container.Args, []string{imageName(container.Image)})
		if slices.ContainsFunc(words, func(word string) bool { return baseName(word) == controllerName }) {
			return container.Image, true
		}
	}
	labels := deployment.Labels
	if len(containers) > 0 && (labels["app"] == controllerName || labels["app.kubernetes.io/component"] == controllerName) {
		return containers[0].Image, true
	}
	return "", false
}

// configMapOf is the name of the ConfigMap that a Deployment of Argo's controller is started with.
func configMapOf(deployment *appsv1.Deployment) string {
	return cmp.Or(flagOf(deployment.Spec.Template.Spec.Containers, "configmap"), controllerName+"-configmap")
}

// imageTag is the tag of an image reference.
func imageTag(image string) string {
	image, _, _ = strings.Cut(image, "@")
	name := baseName(image)
	_, tag, _ := strings.Cut(name, ":")
	return tag
}

// imageName is the last part of an image's name, without tag and digest.
func imageName(image string) string {
	image, _, _ = strings.Cut(image, "@")
	name, _, _ := strings.Cut(baseName(image), ":")
	return name
}

func baseName(path string) string { return path[strings.LastIndex(path, "/")+1:] }

// servesWorkflows reports whether a cluster has Argo's Workflow CRD.
func servesWorkflows(cluster discovery.DiscoveryInterface) (bool, error) {
	resources, err := cluster.ServerResourcesForGroupVersion("argoproj.io/v1alpha1")
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for Argo's Workflow CRD: %w", err)
	}
	for i := range resources.APIResources {
		if resources.APIResources[i].Name == "workflows" {
			return true, nil
		}
	}
	return false, nil
}

// isNoMatch reports whether an error says that a cluster does not serve a kind.
func isNoMatch(err error) bool {
	var discovery *discovery.ErrGroupDiscoveryFailed
	return meta.IsNoMatchError(err) || errors.As(err, &discovery)
}
