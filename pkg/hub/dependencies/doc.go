// Package dependencies says what a Workflow needs on a cluster beside itself, and what is to be done for each such object.
//
// It is pure. Closure walks from a Workflow through its templates, asking for one set of objects after the other; Copy makes what is
// sent; Decide compares what the hub and the WEC have. pkg/hub/travel reads, writes and removes. What no static name refers to
// (a name with {{ }} in it) is not found. Whether a Secret or a claim may travel is the policy's word, and asked for there.
package dependencies
