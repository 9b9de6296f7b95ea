// Package render writes, on paper, the configuration of one local cluster:
// the command line of every component, and the files that these read.
//
// It is pure: the same plan gives the same bytes, which golden files hold.
// hack/fleet writes the files and hands the command lines to the cluster's
// first process. Paths below /var and /run are as the cluster's processes see
// them: each cluster has its own /var (kept) and /run (empty at each start).
package render
