// Package cluster owns the connections to the WECs. Reconciler turns ManagedClusters and their credential Secrets into
// connections and reports on them; Fleet runs the connections; each has a probe loop, a watch and a queue with workers of its
// own, so that one bad cluster delays only its own Workflows (DESIGN.md law 7).
//
// What is done for a Workflow is the Handler's business (pkg/hub/lifecycle).
package cluster
