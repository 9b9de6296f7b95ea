// Command fleet runs a local fleet of real Kubernetes clusters without Docker:
// one hub and some WECs, each with etcd, an API server, a kubelet, containerd
// and stock Argo Workflows, and an image registry and MinIO beside them.
//
//	go run ./hack/fleet up              bring everything up, or back up
//	go run ./hack/fleet status          what is there and how it is
//	go run ./hack/fleet down            remove every trace
//	go run ./hack/fleet stop cluster1   stop a cluster (start brings it back)
//	go run ./hack/fleet cut cluster1    drop its network to other clusters (heal)
//	go run ./hack/fleet load-image REF  make an image anew and push it
//	go run ./hack/fleet kill            kill -9 every process of the fleet
//	go run ./hack/fleet build           only build what a fleet needs
//
// FLEET_NAME names a fleet beside the default one, CLUSTERS is the number of
// WECs (2), FLEET=kind uses kind instead. People, make and test/e2e call it;
// nothing of the product may depend on it.
package main
