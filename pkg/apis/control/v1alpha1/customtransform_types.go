package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// CustomTransform says what is taken out of the objects of one resource before they are sent to a cluster, in addition to what
// is always taken out.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName={ct},categories={all}
// +kubebuilder:printcolumn:name="Group",type=string,JSONPath=`.spec.apiGroup`
// +kubebuilder:printcolumn:name="Resource",type=string,JSONPath=`.spec.resource`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=='Ready')].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=='Ready')].reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type CustomTransform struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	Spec CustomTransformSpec `json:"spec,omitempty"`
	// +optional
	Status CustomTransformStatus `json:"status,omitempty"`
}

// CustomTransformSpec selects the objects of one resource and says how they are transformed.
type CustomTransformSpec struct {
	// apiGroup is the API group of the objects, without a version: `argoproj.io` for Workflows.
	APIGroup string `json:"apiGroup"`

	// resource is the resource name of the objects, lowercase and plural: `workflows`.
	Resource string `json:"resource"`

	// remove holds paths of what is removed if present: `$` followed by one or more of `.name` and `["name"]`. A path that cannot be
	// read is reported in status.errors and skipped; the others are applied.
	// +optional
	// +listType=atomic
	Remove []string `json:"remove,omitempty"`
}

// CustomTransformStatus is what Stellarflow made of a CustomTransform.
type CustomTransformStatus struct {
	// conditions are Ready and FullySupported.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the generation that this status was made from.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// errors holds a sentence for each path that is skipped.
	// +optional
	// +listType=atomic
	Errors []string `json:"errors,omitempty"`

	// warnings holds sentences about what works, but perhaps not as meant.
	// +optional
	// +listType=atomic
	Warnings []string `json:"warnings,omitempty"`
}

// CustomTransformList is a list of CustomTransforms.
//
// +kubebuilder:object:root=true
type CustomTransformList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []CustomTransform `json:"items"`
}
