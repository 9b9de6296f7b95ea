package downsync

import (
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

func metadataOf(object *unstructured.Unstructured) *metav1.PartialObjectMetadata {
	metadata := stellarflow.NewWorkflowMetadata()
	metadata.Namespace, metadata.Name = object.GetNamespace(), object.GetName()
	metadata.UID, metadata.ResourceVersion, metadata.Generation = object.GetUID(), object.GetResourceVersion(), object.GetGeneration()
	metadata.Labels, metadata.Annotations, metadata.Finalizers = object.GetLabels(), object.GetAnnotations(), object.GetFinalizers()
	metadata.CreationTimestamp, metadata.DeletionTimestamp = object.GetCreationTimestamp(), object.GetDeletionTimestamp()
	return metadata
}

func asStatus(err error, status *apierrors.APIStatus) bool { return errors.As(err, status) }
