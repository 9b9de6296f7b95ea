// Package downsync creates WEC copies: once, from a live read of the hub copy, after the placement is stored.
//
// Object is pure: it turns a hub copy into the WEC copy. Creator prepares the namespace and creates. A *Refusal says that the
// WEC definitely did not take it and why. pkg/hub/lifecycle calls it; it never updates and never deletes.
package downsync
