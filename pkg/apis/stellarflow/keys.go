package stellarflow

import "strings"

// Prefix begins every label, annotation and finalizer of ours.
const Prefix = "stellarflow.io/"

// Keys on a hub copy.
const (
	// LabelCluster names the WEC that a hub copy is placed on. It counts only together with AnnotationPlacement.
	LabelCluster = Prefix + "cluster"
	// AnnotationPlacement holds the Placement record as JSON.
	AnnotationPlacement = Prefix + "placement"
	// AnnotationObserved holds an Observed: what the last mirror write was made from. Empty from the placement on until then.
	AnnotationObserved = Prefix + "observed"
	// AnnotationSync says, in a sentence, that the WEC cannot be reached and since when; removed by the next mirror write.
	AnnotationSync = Prefix + "sync"
	// AnnotationWaiting marks a Workflow that is not placed and whose phase and message say why: they are ours, and go when no
	// policy selects it any more.
	AnnotationWaiting = Prefix + "waiting"
	// AnnotationRequest asks the hub manager for something that only a person may decide: RequestAbandon or RequestMove. It is the
	// one key under Prefix that people write on a placed Workflow (`stellarflow abandon`, `move` do); the manager removes it with
	// its answer.
	AnnotationRequest = Prefix + "request"
	// AnnotationAbandoned says since when (RFC 3339) a hub copy is given up: its WEC copy may still run and is removed when seen.
	AnnotationAbandoned = Prefix + "abandoned"
	// AnnotationAdopts, on a Workflow that is not placed, names the WEC copy (CLUSTER/UID) that it takes over from a hub copy that
	// is no more. Such a Workflow is never created anywhere.
	AnnotationAdopts = Prefix + "adopts"
	// FinalizerCleanup keeps a hub copy until its WEC copy is gone.
	FinalizerCleanup = Prefix + "cleanup"
)

// Keys on a WEC copy.
const (
	// LabelOrigin holds the hub id, which is the UID of the hub's kube-system Namespace.
	LabelOrigin = Prefix + "origin"
	// AnnotationHubUID holds the UID of the hub copy.
	AnnotationHubUID = Prefix + "hub-uid"
	// AnnotationAttempt holds the attempt number of the placement, in decimal.
	AnnotationAttempt = Prefix + "attempt"
	// AnnotationShutdown holds the hub copy's spec.shutdown that the WEC copy was last given: each is passed on once.
	AnnotationShutdown = Prefix + "shutdown"
	// FinalizerHarvest keeps a WEC copy until the hub holds its terminal status.
	FinalizerHarvest = Prefix + "harvest"
)

// Keys on the Lease of a hub on a WEC.
const (
	// AnnotationHubVersion is the hub's resourceVersion as last seen. A hub whose current one is lower was restored from a backup.
	AnnotationHubVersion = Prefix + "hub-resource-version"
	// AnnotationHubRestored says when (RFC 3339) the hub was last found to have been restored from a backup.
	AnnotationHubRestored = Prefix + "hub-restored-at"
)

// Values of AnnotationRequest.
const (
	// RequestAbandon ends the hub copy as Error although its WEC copy may still run.
	RequestAbandon = "abandon"
	// RequestMove places a Workflow that certainly runs nowhere on another cluster.
	RequestMove = "move"
)

// Keys on other objects.
const (
	// LabelTombstone, on a ConfigMap in the hub's system namespace, names the cluster of a WEC copy that was given up and is to be
	// removed when it is seen.
	LabelTombstone = Prefix + "tombstone"
	// AnnotationClusterID, on a ManagedCluster, is the UID of the WEC's kube-system Namespace that the join found.
	AnnotationClusterID = Prefix + "cluster-id"
	// LabelManagedCluster marks a Secret in the hub's system namespace as the credential of the ManagedCluster it names.
	LabelManagedCluster = Prefix + "managed-cluster"
	// AnnotationNamespaces, on a ManagedCluster, lists the WEC namespaces (comma separated) that the join accepted.
	AnnotationNamespaces = Prefix + "namespaces"
	// LabelAccept, with the value "true" on a Namespace of a WEC, accepts Workflows there.
	LabelAccept = Prefix + "accept"
	// AnnotationArgoVersion, on a ManagedCluster, is the Argo Workflows version that the join found.
	AnnotationArgoVersion = Prefix + "argo-version"
)

// SystemNamespace is where the hub manager and the credentials of the WECs live, on the hub; on a WEC it holds the
// ServiceAccount that the hub uses.
const SystemNamespace = "stellarflow-system"

// SecretKeyKubeconfig is the key of a credential Secret (LabelManagedCluster) that holds the kubeconfig.
const SecretKeyKubeconfig = "kubeconfig"

// SecretKeyStoreSum is its key that holds the sum of the store's credentials that the last join brought to the WEC (artifact.Store).
const SecretKeyStoreSum = "store-credentials-sha256" //nolint:gosec // the name of a key

// ConditionConnected is the condition that the hub keeps on each ManagedCluster that has a credential.
const ConditionConnected = "StellarflowConnected"

// IsOurs reports whether a label, annotation or finalizer key is under Prefix.
func IsOurs(key string) bool { return strings.HasPrefix(key, Prefix) }

// CredentialName returns the name of the Secret in SystemNamespace that holds the credential of a cluster.
func CredentialName(cluster ClusterName) string { return "cluster-" + string(cluster) }
