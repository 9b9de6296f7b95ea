// Package placement decides where a Workflow runs and records it on the hub copy, in one write that fails unless the object is
// as it was when the decision was made (DESIGN.md §4, Placement). It also restores a record that was lost, removes one that was
// copied from another Workflow, and says on a Workflow why it waits.
//
// It talks to the hub only. What follows from a placement is pkg/hub/lifecycle's.
package placement
