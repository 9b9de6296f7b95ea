// Package podmirror shows the pods that run on WECs on the hub: each WEC is a virtual Node, and each live pod of a placed Workflow a Pod
// that is bound to it, with the real one's status. Argo's server, its UI and kubectl look for pods on their own cluster; what they ask of
// these reaches the real ones through the endpoint of package kubelet. Nothing runs on the hub for them.
package podmirror
