// Package kubelet answers the hub's API server in place of the kubelet that a mirrored pod has not: logs, exec, attach and port-forward
// are relayed to the API server of the cluster where the real pod runs.
//
// Package podmirror gives each WEC a Node on the hub that names this endpoint, and says with Pods where a pod really runs. A caller needs
// a client certificate of the hub and the rights that a kubelet asks for. Nothing here decides what is mirrored, and nothing of a caller but
// its request reaches a WEC: neither its credential nor a header that is not listed. Answers are a stranger's (DESIGN.md §3, law 6): only
// bytes of the stream and, of an error, its text are passed on.
package kubelet
