// Package config holds the manifests of Stellarflow as kustomize bases, embedded so that the CLI installs the same bytes that
// `kubectl apply -k config` does.
//
// What is in it: crd (our kinds, and ManagedCluster, which is left alone where Open Cluster Management is installed), rbac and
// hub (the manager), webhook (the guard: admission policies that the API server evaluates itself) and wec (what a join creates
// on a workflow execution cluster). The package does nothing itself.
package config

import "embed"

// FS holds every base; its root is this directory.
//
//go:embed kustomization.yaml crd rbac hub webhook wec
var FS embed.FS
