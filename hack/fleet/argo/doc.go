// Package argo renders stock Argo Workflows for the clusters of a fleet.
//
// The manifests are those of Argo's own module (cluster-install). Everything
// that differs from them is in the directory patch beside this file, a
// kustomization: image tags, the Argo server's auth mode, the artifact
// repository, the commands of stand-in images, and what a namespace needs to
// run Workflows in. Nothing tames the hub's controller.
package argo
