// Package fault breaks the traffic of a hub manager process from within: answers that a proxy in between would give, answers and
// requests that are lost, requests that arrive late, clocks that are wrong, and a death at a certain write. test/chaos/manager uses
// it; test/chaos writes the file that it obeys.
package fault
