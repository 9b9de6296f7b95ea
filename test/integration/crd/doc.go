// Package crd holds tests of the CRDs in config/crd against a real API server: what KubeStellar's users have is accepted as it
// stands, and what the schema refuses is refused with a message that says what to do.
package crd
