// Package hub wires the hub manager: caches, clients, the connections to the WECs and one controller for each job below this
// folder. cmd/hub and test/integration call Setup; nothing is decided here.
package hub
