// Package process starts the long-lived processes of a fleet, remembers them,
// finds them again and ends them.
//
// A process is remembered by its number and the time of its start, since
// numbers come back. Every process carries the fleet's ID in its environment
// (Marker), so that those whose record was lost are found by looking through
// /proc. It never ends a process of another fleet.
package process
