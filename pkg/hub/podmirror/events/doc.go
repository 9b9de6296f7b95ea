// Package events shows what is said on a WEC of a pod that is mirrored on the hub: `kubectl describe pod` there lists the events of the mirror.
//
// Render and Newer are pure. Mirror follows the Events of one WEC and writes those of mirrored pods to the hub; whoever mirrors the pods runs
// one for each connection, and tells it of each mirror that was made. It writes Events only, nothing on a WEC, and nothing waits for it.
package events
