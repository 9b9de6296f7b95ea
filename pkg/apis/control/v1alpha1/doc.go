// Package v1alpha1 holds the API of control.kubestellar.io/v1alpha1 that Stellarflow serves: BindingPolicy says which Workflows
// go to which clusters, CustomTransform what is taken out of them on the way.
//
// The schemas are those of KubeStellar, whose users can bring their YAML: every field that KubeStellar accepts is accepted. What
// Stellarflow does not act on is said in the condition FullySupported of the object. The package holds types, schema markers and
// the constants of conditions and reasons only; decisions are in the packages bindingpolicy and transforms.
//
// +kubebuilder:object:generate=true
// +groupName=control.kubestellar.io
package v1alpha1
