package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BindingPolicy says which Workflows are sent to which clusters. A Workflow that at least one policy selects is placed on one of
// the clusters that those policies select.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName={bp}
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=='Ready')].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=='Ready')].reason`
// +kubebuilder:printcolumn:name="Clusters",type=string,JSONPath=`.status.clusters`
// +kubebuilder:printcolumn:name="Workflows",type=integer,JSONPath=`.status.workflows`
// +kubebuilder:printcolumn:name="Supported",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=='FullySupported')].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type BindingPolicy struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	Spec BindingPolicySpec `json:"spec,omitempty"`
	// +optional
	Status BindingPolicyStatus `json:"status,omitempty"`
}

// BindingPolicySpec says what goes where.
type BindingPolicySpec struct {
	// clusterSelectors selects clusters by the labels of their ManagedCluster: a cluster is selected if it matches any of them.
	// An empty list selects no cluster; an empty selector, `{}`, every cluster.
	// +optional
	// +listType=atomic
	ClusterSelectors []metav1.LabelSelector `json:"clusterSelectors,omitempty"`

	// downsync selects Workflows: one is selected if it matches any of these clauses.
	// +optional
	// +listType=atomic
	Downsync []DownsyncPolicyClause `json:"downsync,omitempty"`

	// wantSingletonReportedState asks that the Workflow runs on one of the selected clusters and its status comes back, for every
	// clause. KubeStellar before 0.26 had the field here, later releases have it in each clause; both count. Without it a policy that
	// selects several clusters asks for a run on each, and places nothing.
	// +optional
	WantSingletonReportedState bool `json:"wantSingletonReportedState,omitempty"`
}

// DownsyncPolicyClause selects objects and says how they are sent.
//
// +kubebuilder:validation:XValidation:rule="has(self.apiGroup) || has(self.resources) || has(self.namespaces) || has(self.namespaceSelectors) || has(self.objectSelectors) || has(self.objectNames)",message="a downsync clause needs at least one of apiGroup, resources, namespaces, namespaceSelectors, objectSelectors and objectNames: without any it would select every object"
type DownsyncPolicyClause struct {
	DownsyncObjectTest `json:",inline"`

	// createOnly asks that an object which exists in the cluster is not updated. Workflows are always created once and not updated.
	// +optional
	CreateOnly bool `json:"createOnly,omitempty"`

	// statusCollectors names StatusCollectors (KubeStellar 0.26 and later). Accepted; not acted on.
	// +optional
	// +listType=atomic
	StatusCollectors []string `json:"statusCollectors,omitempty"`

	// statusCollection names StatusCollectors (KubeStellar 0.24 and 0.25). Accepted; not acted on.
	// +optional
	StatusCollection *StatusCollection `json:"statusCollection,omitempty"`

	// wantSingletonReportedState asks that a Workflow which matches this clause runs on one of the selected clusters and its status
	// comes back. See also spec.wantSingletonReportedState.
	// +optional
	WantSingletonReportedState bool `json:"wantSingletonReportedState,omitempty"`

	// wantMultiWECReportedState asks for one status combined from several clusters. Accepted; not acted on, since a Workflow
	// runs on one cluster.
	// +optional
	WantMultiWECReportedState bool `json:"wantMultiWECReportedState,omitempty"`
}

// StatusCollection names the StatusCollectors of a clause.
type StatusCollection struct {
	// statusCollectors names StatusCollectors. Accepted; not acted on.
	// +optional
	// +listType=atomic
	StatusCollectors []string `json:"statusCollectors,omitempty"`
}

// DownsyncObjectTest is matched by an object that passes every test that is given.
type DownsyncObjectTest struct {
	// apiGroup is the API group of the object: absent for any, `""` for the core group. Workflows are in `argoproj.io`.
	// +optional
	// +nullable
	APIGroup *string `json:"apiGroup,omitempty"`

	// resources holds resource names, lowercase and plural, such as `workflows`. `*` or an empty list matches all.
	// +optional
	// +listType=atomic
	Resources []string `json:"resources,omitempty"`

	// namespaces holds names of namespaces. `*` or an empty list matches all.
	// +optional
	// +listType=atomic
	Namespaces []string `json:"namespaces,omitempty"`

	// namespaceSelectors is matched if any of them matches the labels of the object's Namespace. An empty list matches all.
	// +optional
	// +listType=atomic
	NamespaceSelectors []metav1.LabelSelector `json:"namespaceSelectors,omitempty"`

	// objectSelectors is matched if any of them matches the labels of the object. An empty list matches all.
	// +optional
	// +listType=atomic
	ObjectSelectors []metav1.LabelSelector `json:"objectSelectors,omitempty"`

	// objectNames holds names of objects. `*` or an empty list matches all.
	// +optional
	// +listType=atomic
	ObjectNames []string `json:"objectNames,omitempty"`
}

// BindingPolicyStatus is what Stellarflow made of a BindingPolicy.
type BindingPolicyStatus struct {
	// conditions are Ready and FullySupported.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the generation that this status was made from.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// errors holds a sentence for each thing in the spec that keeps the policy from doing all it says.
	// +optional
	// +listType=atomic
	Errors []string `json:"errors,omitempty"`

	// clusters are the names of the selected clusters, sorted.
	// +optional
	// +listType=atomic
	Clusters []string `json:"clusters,omitempty"`

	// workflows is how many Workflows on the hub are placed by this policy, finished ones included.
	// +optional
	Workflows int32 `json:"workflows"`
}

// BindingPolicyList is a list of BindingPolicies.
//
// +kubebuilder:object:root=true
type BindingPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []BindingPolicy `json:"items"`
}
