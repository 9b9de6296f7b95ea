// Package stellarflow holds the words that hub and WECs exchange through Kubernetes objects: the labels, annotations and
// finalizers under stellarflow.io/, and the values that are kept in them (Placement, Observed).
//
// Everything that reads or writes such a key uses this package; it does no I/O and imports no API of ours.
package stellarflow
