// Package transforms makes the WEC copy of a Workflow out of the hub copy: Strip takes out what never travels, Apply what
// CustomTransforms remove.
//
// The hub's downsync calls it, and the transform controller calls Check and StatusOf. It is pure: no I/O, no clock; its input is
// never changed, its output the same for the same input. It imports API types and apimachinery only. It does not add anything to
// an object: labels, annotations and finalizers of the WEC copy are the caller's.
package transforms
