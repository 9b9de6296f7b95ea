// Package kind renders what the kind flavour of a fleet gives to kind, and
// runs the few kind and docker commands that take the place of our own
// clusters. Everything above the clusters is shared with the other flavour.
//
// It is for people who have Docker, kind and a registry to pull node images
// from. CI has none of them: only what is rendered is tested there.
package kind
