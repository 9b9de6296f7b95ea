// Package policy keeps the status of BindingPolicies and CustomTransforms: what they select, and what about them is wrong or
// not acted on. It places nothing; placement reads the policies itself.
package policy
