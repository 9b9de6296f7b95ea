// Command manager is the hub manager as test/chaos runs it: the same hub.Setup as cmd/hub with shorter times, in a process of its
// own that can be killed, stopped and built with mutations. It breaks its own traffic as it is told by a file.
package main
