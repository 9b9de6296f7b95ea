// Package lifecycle decides what comes next for one Workflow on one WEC, and calls the package that does it: downsync creates
// the WEC copy, upsync mirrors it, cleanup ends it.
//
// Next is pure: it sees the metadata of both copies and returns one step. Syncer reads both caches, asks Next and acts; the
// per-WEC queues of pkg/hub/cluster call it, one key at a time, so that nothing here races with itself.
package lifecycle
