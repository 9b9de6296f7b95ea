// Package history is what a fault run of test/chaos recorded, and the checker of it: Check takes the records and returns what breaks
// a law of DESIGN.md §3. It is pure: the same records give the same findings, in the same order.
//
// The records come from the etcds of the hub and the WECs, one for each revision of each Workflow, so nothing that was ever stored
// is missed and nothing is seen twice; and from the simulated people, who say what they did.
package history
