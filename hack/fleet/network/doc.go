// Package network lays the cables of a fleet with the ip command: a bridge on
// the machine, and per cluster a network namespace with a cable to it.
//
// Everything it makes bears the fleet's ID in its name, so Remove finds it
// without any record. A cluster has routes to the bridge and to its own
// Services and no other: there is no way to the Internet.
package network
