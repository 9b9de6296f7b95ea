// Package podmirror shows the pods that run on WECs on the hub: each WEC is a virtual Node, and each live pod of a placed Workflow a Pod
// that is bound to it, with the real one's status. Argo's server, its UI and kubectl look for pods on their own cluster; what they ask of
// these reaches the real ones through the endpoint of package kubelet. Nothing runs on the hub for them.
//
// For each pod: what may have changed brings a pass over it (queue.go; watch.go for what changes on the hub), which looks at what is known
// (view.go; name.go for which names are shown), chooses a step (next.go), and takes it (write.go, with what pod.go renders; say.go for what people
// are told of it; bounds.go for what a WEC could have too much of). find.go is for package kubelet, handler.go and ask.go for who deletes a
// mirrored pod, node.go, nodes.go and leases.go for the virtual Nodes.
package podmirror
