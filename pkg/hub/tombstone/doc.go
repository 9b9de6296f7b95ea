// Package tombstone keeps what is left of a Workflow that was given up while its copy on a WEC could not be seen: which object is
// to be removed there if that cluster comes back. Each is a ConfigMap in the hub's system namespace, so that it outlives the hub
// copy, the ManagedCluster and the process. pkg/hub/placement puts them, pkg/hub/lifecycle honours and removes them.
//
// It talks to the hub only and decides nothing but which object a tombstone means.
package tombstone
