package hubcopy

import (
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

const versionPath = "/metadata/resourceVersion"

// HasStatusSubresource asks the hub whether its Workflow CRD has a status subresource.
func HasStatusSubresource(client discovery.DiscoveryInterface) (bool, error) {
	resources, err := client.ServerResourcesForGroupVersion(stellarflow.Workflows.GroupVersion().String())
	if apierrors.IsNotFound(err) {
		return false, fmt.Errorf("the hub does not serve %s: install Argo Workflows' CRDs", stellarflow.Workflows.GroupVersion())
	}
	if err != nil {
		return false, fmt.Errorf("ask for the resources of %s: %w", stellarflow.Workflows.GroupVersion(), err)
	}
	return slices.ContainsFunc(resources.APIResources, func(r metav1.APIResource) bool { return r.Name == stellarflow.Workflows.Resource+"/status" }), nil
}

// split parts a patch into its tests, what changes the status, and the rest.
func split(operations []Operation) (tests, status, others []Operation) {
	for _, operation := range operations {
		switch {
		case operation.Op == "test":
			tests = append(tests, operation)
		case operation.Path == "/status" || strings.HasPrefix(operation.Path, "/status/"):
			status = append(status, operation)
		default:
			others = append(others, operation)
		}
	}
	return tests, status, others
}

// atVersion returns the tests with the resourceVersion, where they have one, that the object has now.
func atVersion(tests []Operation, version string) []Operation {
	moved := slices.Clone(tests)
	for i := range moved {
		if moved[i].Path == versionPath {
			moved[i].Value = version
		}
	}
	return moved
}
