// Package plan is the paper plan of a local fleet: its name, its identity on
// the machine, the addresses of its clusters and the paths of its files.
//
// Everything here is pure: no file is read, no interface is looked at. The
// commands of hack/fleet turn a plan into running clusters, and find the same
// clusters again by computing the same plan. It must not grow I/O, since two
// fleets keep apart only because both compute what they own the same way.
package plan
