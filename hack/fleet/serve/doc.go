// Package serve holds the fleet's own small servers: the image registry and
// the forwarder from 127.0.0.1. Each is a process that fleet up starts from a
// copy of its own program, and fleet down ends.
package serve
