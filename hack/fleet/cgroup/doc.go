// Package cgroup makes and removes a fleet's directories in the cgroup
// hierarchies, of version 1, 2 or both (hybrid).
//
// The kubelet of a cluster needs its cgroupRoot to exist in every hierarchy,
// with a filled cpuset (version 1) or its controllers enabled (version 2).
// Everything works on a Tree, a list of mounted hierarchies, so that the code
// for version 2 is tested on a fake tree.
package cgroup
