package diagnosis

import (
	"cmp"
	"slices"
)

// Severity is how bad a finding is.
type Severity string

const (
	// Problem is something that keeps Workflows from running or being shown as they are.
	Problem Severity = "problem"
	// Warning is something that a person should know, and that nothing fails by now.
	Warning Severity = "warning"
)

// ID names a kind of finding. It never changes its meaning.
type ID string

// The findings; docs/cli.md says what each means.
const (
	HubNotInstalled       ID = "hub-not-installed"
	HubObjectMissing      ID = "hub-object-missing"
	HubObjectDiffers      ID = "hub-object-differs"
	HubCRDNotServed       ID = "hub-crd-not-served"
	HubArgoMissing        ID = "hub-argo-missing"
	HubRightMissing       ID = "hub-right-missing"
	ManagerScaledToZero   ID = "manager-scaled-to-zero"
	ManagerUnavailable    ID = "manager-unavailable"
	ManagerNoLeader       ID = "manager-no-leader"
	GuardMissing          ID = "guard-missing"
	GuardDiffers          ID = "guard-differs"
	ControllerNotGuarded  ID = "argo-controller-not-guarded"
	ControllerNotFound    ID = "argo-controller-not-found"
	ControllerRuns        ID = "argo-controller-on-dedicated-hub"
	ControllerNone        ID = "argo-controller-none-runs"
	ArchiveDiffers        ID = "argo-archive-differs"
	StoreMissing          ID = "store-missing"
	StoreInvalid          ID = "store-invalid"
	StoreUnreachable      ID = "store-unreachable"
	StoreRefuses          ID = "store-refuses"
	StoreSecretDiffers    ID = "store-secret-differs"
	StoreSecretMissing    ID = "store-secret-missing"
	ClusterNoCredential   ID = "cluster-no-credential" //nolint:gosec // the name of a finding, not a credential
	ClusterLeftover       ID = "cluster-leftover"
	ClusterBadCredential  ID = "cluster-credential-invalid" //nolint:gosec // the name of a finding, not a credential
	ClusterUnreachable    ID = "cluster-unreachable"
	ClusterRejects        ID = "cluster-credential-rejected"
	ClusterRightMissing   ID = "cluster-right-missing"
	ClusterArgoMissing    ID = "cluster-argo-missing"
	ClusterArgoDiffers    ID = "cluster-argo-differs"
	ClusterClock          ID = "cluster-clock"
	ClusterChanged        ID = "cluster-changed"
	ClusterLease          ID = "cluster-lease"
	ClusterNotConnected   ID = "cluster-not-connected"
	ClusterOldStoreKeys   ID = "cluster-old-store-keys"
	NamespaceMissing      ID = "namespace-missing"
	AccountMissing        ID = "service-account-missing"
	BindingMissing        ID = "executor-binding-missing"
	RepositoryMissing     ID = "repository-missing"
	RepositoryOtherBucket ID = "repository-other-bucket"
	SecretMissing         ID = "artifact-secret-missing"
	OrphanFound           ID = "orphan"
	WorkflowsNotSynced    ID = "workflows-not-synced"
	WorkflowNotDeleted    ID = "workflow-not-deleted"
	RequestUnanswered     ID = "request-unanswered"
	TombstoneWaits        ID = "tombstone-waits"
)

// IDs returns every finding there is, in the order in which docs/cli.md lists them.
func IDs() []ID {
	return []ID{
		HubNotInstalled, HubObjectMissing, HubObjectDiffers, HubCRDNotServed, HubArgoMissing, HubRightMissing,
		ManagerScaledToZero, ManagerUnavailable, ManagerNoLeader,
		GuardMissing, GuardDiffers, ControllerNotGuarded, ControllerNotFound, ControllerRuns, ControllerNone, ArchiveDiffers,
		StoreMissing, StoreInvalid, StoreUnreachable, StoreRefuses, StoreSecretDiffers, StoreSecretMissing,
		ClusterNoCredential, ClusterLeftover, ClusterBadCredential, ClusterUnreachable, ClusterRejects, ClusterRightMissing,
		ClusterArgoMissing, ClusterArgoDiffers, ClusterClock, ClusterChanged, ClusterLease, ClusterNotConnected, ClusterOldStoreKeys,
		NamespaceMissing, AccountMissing, BindingMissing, RepositoryMissing, RepositoryOtherBucket, SecretMissing,
		OrphanFound, WorkflowsNotSynced, WorkflowNotDeleted, RequestUnanswered, TombstoneWaits,
	}
}

// Groups of findings beside the clusters, whose groups are their names.
const (
	GroupHub       = "hub"
	GroupManager   = "manager"
	GroupGuard     = "guard"
	GroupStore     = "store"
	GroupWorkflows = "workflows"
	// GroupCluster begins the group of a cluster.
	GroupCluster = "cluster "
)

// Finding is one thing that is wrong.
type Finding struct {
	ID       ID       `json:"id"`
	Severity Severity `json:"severity"`
	// Group is what was checked.
	Group string `json:"group"`
	// Which is the object.
	Which string `json:"which"`
	// What is what is wrong with it, as a sentence without a full stop.
	What string `json:"what"`
	// Remedy is the command that mends it. In capitals stands what only the person knows: FILE is a kubeconfig of the cluster, or for
	// --artifact-store the settings of the store.
	Remedy string `json:"remedy"`
}

// Diagnose returns what is wrong, group by group and the problems of each first. The order of the facts does not matter.
func Diagnose(facts Facts) []Finding {
	findings := slices.Concat(facts.hub(), facts.manager(), facts.guard(), facts.store())
	clusters := slices.SortedFunc(slices.Values(facts.Clusters), func(a, b Cluster) int { return cmp.Compare(a.Name, b.Name) })
	for i := range clusters {
		findings = append(findings, facts.cluster(&clusters[i])...)
	}
	return append(findings, facts.workflows()...)
}

// Problems counts the findings that are problems.
func Problems(findings []Finding) int {
	count := 0
	for _, finding := range findings {
		if finding.Severity == Problem {
			count++
		}
	}
	return count
}
