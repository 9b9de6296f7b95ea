// Package travel brings to WECs what Workflows need there, keeps it up to date, and removes it after the last.
//
// Carrier is a downsync.Needs: before a create it looks for what the Workflow refers to, refuses what is nowhere, and copies what the
// hub has. Keeper looks again every while. What is decided for each object is in pkg/hub/dependencies. Both touch only copies of this
// hub, by their labels, and the words of a WEC decide nothing but what stays there.
package travel
