// Package bindingpolicy decides where a Workflow runs: given the BindingPolicies, one Workflow and the inventory of clusters it
// says which cluster, by which policy, and for everything that was not chosen why.
//
// The hub's controllers and `stellarflow explain` call it, so that people are told what was decided and not a retelling. It is
// pure: no I/O, no clock, no randomness; its input is never changed, its output is sorted and the same for the same input in any
// order. It imports API types and apimachinery only.
package bindingpolicy
