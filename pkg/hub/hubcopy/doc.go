// Package hubcopy reads and writes hub copies: cached metadata, live objects, and JSON patches that fail when the object is
// not the one, or not in the state, that a decision was made from. Every write of the hub manager to a Workflow on the hub
// goes through it.
package hubcopy
