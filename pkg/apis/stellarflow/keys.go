package stellarflow

import (
	"strings"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

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
	// policy selects it any more. Its value is "true", or WaitsUnsuspended.
	AnnotationWaiting = Prefix + "waiting"
	// AnnotationRequest asks for something that Argo has no write for: RequestAbandon, RequestMove or RequestSuspend. It is the one key
	// under Prefix that people write on a placed Workflow (`stellarflow abandon`, `move` and `suspend` do). The manager removes the first
	// two with its answer; admission makes an Intent of the third.
	AnnotationRequest = Prefix + "request"
	// AnnotationIntents holds the Intents that wait, as a JSON list: admission writes it into the request of the person who acts, and the
	// hub manager takes out what is done or refused. A person may remove it, which takes back what was not done yet.
	AnnotationIntents = Prefix + "intents"
	// AnnotationRefused says, in a sentence, why the last intent that was not done was not. Admission takes it away with the next that is asked.
	AnnotationRefused = Prefix + "refused"
	// AnnotationActions counts what became of intents, as JSON: ActionCounts.
	AnnotationActions = Prefix + "actions"
	// AnnotationSuspended is "true" while the WEC copy is suspended: the hub copy always is, unless it has AnnotationFollows.
	AnnotationSuspended = Prefix + "suspended"
	// AnnotationLocks is status.synchronization, as JSON, of a hub copy for which the hub's own Argo controller may hold locks: it gives back
	// what stands there when that ends.
	AnnotationLocks = Prefix + "locks"
	// AnnotationFollows, with the value FollowsSuspend, says that spec.suspend of the hub copy is as its WEC copy's, or as a person asks
	// for it, and not always true: so it is on a dedicated hub. A hub that becomes a shared one makes it true, and takes this away.
	AnnotationFollows = Prefix + "follows"
	// AnnotationAbandoned says since when (RFC 3339) a hub copy is given up: its WEC copy may still run and is removed when seen.
	AnnotationAbandoned = Prefix + "abandoned"
	// AnnotationAdopts, on a Workflow that is not placed, names the WEC copy (CLUSTER/UID) that it takes over from a hub copy that
	// is no more. Such a Workflow is never created anywhere.
	AnnotationAdopts = Prefix + "adopts"
	// AnnotationDependencies, on both copies, holds the Dependencies: what the Workflow needs and where that came from.
	AnnotationDependencies = Prefix + "dependencies"
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
	// AnnotationApplied holds the ID of the Intent that was done last.
	AnnotationApplied = Prefix + "applied"
	// AnnotationPassedOn holds hashes of the hub copy's labels and annotations that the WEC copy was last given: each change is passed on once.
	AnnotationPassedOn = Prefix + "passed-on"
	// FinalizerHarvest keeps a WEC copy until the hub holds its terminal status.
	FinalizerHarvest = Prefix + "harvest"
)

// Keys on what a Workflow needs and the hub has copied to a WEC, beside LabelOrigin.
const (
	// LabelDependency, with the value "true", tells such a copy from everything else that has our origin label.
	LabelDependency = Prefix + "dependency"
	// AnnotationSource says what it is a copy of, as KIND/NAMESPACE/NAME: an object of another name that says the same is not ours.
	AnnotationSource = Prefix + "source"
	// AnnotationSourceHash holds a hash of what was copied: a copy with another one is behind.
	AnnotationSourceHash = Prefix + "source-sha256"
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
	// RequestSuspend suspends the WEC copy: the hub copy is suspended already.
	RequestSuspend = "suspend"
)

// FollowsSuspend is the value of AnnotationFollows.
const FollowsSuspend = "suspend"

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
	// LabelHold, on a Namespace of the hub, has Workflows suspended at their creation: HoldAll or HoldByPolicy. No other value counts.
	LabelHold = Prefix + "hold"
	// AnnotationHold, with the value "true" on a BindingPolicy, does so for what it selects where LabelHold is HoldByPolicy.
	AnnotationHold = Prefix + "hold"
)

// Keys of mirrored pods.
const (
	// LabelMirrorOf, on a Pod of the hub, is the UID of the pod on a WEC that it mirrors; LabelCluster says on which.
	LabelMirrorOf = Prefix + "mirror-of"
	// AnnotationMirrored, on such a Pod, is the resourceVersion of the real pod that it shows.
	AnnotationMirrored = Prefix + "mirrored"
	// AnnotationDeletion, on such a Pod, says that admission saw a person, or the Argo server, delete it: podmirror.Ask as JSON.
	AnnotationDeletion = Prefix + "deletion"
	// AnnotationMirrorPods, with the value "false" on a BindingPolicy, has the pods of what it places not mirrored.
	AnnotationMirrorPods = Prefix + "mirror-pods"
	// TaintVirtualNode is the key of the taints of the Nodes that stand for WECs.
	TaintVirtualNode = Prefix + "virtual-node"
)

// Values of LabelHold.
const (
	// HoldAll holds what any BindingPolicy selects.
	HoldAll = "true"
	// HoldByPolicy holds what those select that have AnnotationHold.
	HoldByPolicy = "policy"
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

// Labelled selects what has a label of ours.
func Labelled(label string) labels.Selector {
	requirement, err := labels.NewRequirement(label, selection.Exists, nil)
	if err != nil { // a key of ours is a label key
		return labels.Nothing()
	}
	return labels.NewSelector().Add(*requirement)
}

// IsOurs reports whether a label, annotation or finalizer key is under Prefix.
func IsOurs(key string) bool { return strings.HasPrefix(key, Prefix) }

// CredentialName returns the name of the Secret in SystemNamespace that holds the credential of a cluster.
func CredentialName(cluster ClusterName) string { return "cluster-" + string(cluster) }
