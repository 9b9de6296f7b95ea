// Package node is the first process of a local cluster: process 1 of the
// cluster's own process, mount, host name and network namespaces.
//
// It gives the cluster's processes a /var, a /run and a /proc of their own,
// starts the components, starts again what ends, reaps what is orphaned and,
// told to TERM, stops everything. When it dies, however it dies, the kernel
// kills every process of the cluster, pods included, and drops every mount:
// that is what makes a fleet easy to clean up. It knows no Kubernetes.
package node
