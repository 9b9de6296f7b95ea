// Package intent does on a WEC copy what a person did to the hub copy: it turns a stellarflow.Intent into a JSON patch of the WEC copy.
//
// It is pure. Admission (pkg/hub/guard) uses it to prove that an intent says all that a write changed, the hub manager (pkg/hub/lifecycle)
// to apply it. What each action does is Argo's: argo-workflows v3.7.18 workflow/util/util.go, ResumeWorkflow, updateSuspendedNode,
// FormulateRetryWorkflow.
package intent
