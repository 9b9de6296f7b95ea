// Package cleanup ends what downsync began: it deletes WEC copies, puts on and takes off the two finalizers, and says when a
// WEC copy is gone. pkg/hub/lifecycle calls it; it touches only objects that the hub's record names.
package cleanup
