// Package artifact knows the S3 store that all clusters share: it reads the store's settings, checks that the store can be
// used, and renders what Argo needs on a cluster to keep artifacts and logs there (a ConfigMap and a Secret).
//
// The hub manager renders with it into the namespaces of placed Workflows, on the hub and on the WECs; the CLI and the local
// fleet check and configure the store with it. It writes nothing to Kubernetes itself, and no error or rendered ConfigMap
// holds a credential.
package artifact
