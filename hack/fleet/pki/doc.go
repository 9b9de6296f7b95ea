// Package pki makes the keys and certificates of one local cluster.
//
// Requests computes what a cluster needs, purely; Ensure makes what is not
// there yet and keeps what is, so that a cluster that comes back is the same
// cluster to everyone who holds a kubeconfig of it. The certificates are for
// local clusters only: ten years, keys unencrypted in the fleet's directory.
package pki
