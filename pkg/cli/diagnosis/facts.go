package diagnosis

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/artifact"
	"stellarflow.io/stellarflow/pkg/wec"
)

// Facts is what was read. What could not be read is left out, and said by who reads.
type Facts struct {
	Now time.Time
	// HubFlags are the flags that name the hub for stellarflow and kubectl, such as "--kubeconfig hub.kubeconfig"; WECFlags are the
	// same for the commands that need --kubeconfig for a cluster, "--hub-kubeconfig hub.kubeconfig".
	HubFlags, WECFlags string

	// HubID is the UID of the hub's kube-system Namespace.
	HubID types.UID
	// Installed is false if our Namespace is missing: then nothing else of the hub was read.
	Installed bool
	// Objects are those that this binary would install.
	Objects []Object
	// Unserved are the CRDs that are there and not served.
	Unserved []string
	// NoArgo says that the hub does not serve Workflows.
	NoArgo bool
	// HubRights are those that the hub manager lacks, such as "patch workflows.argoproj.io".
	HubRights []string

	Manager Manager
	// Guarded are the users that the guard holds off; Controllers those that the Argo controllers of the hub are.
	Guarded, Controllers []string
	// Running are the Deployments of those controllers, NAMESPACE/NAME, that act on Workflows.
	Running []string
	// Profile is the hub's.
	Profile stellarflow.Profile
	// Archive is what the hub manager takes the Argo controllers to archive; Archived what they do, nil if that is not known.
	Archive  stellarflow.Archive
	Archived *stellarflow.Archive

	Store Store
	// StaleSecrets are the Secrets of the hub that hold other credentials than the store's.
	StaleSecrets []StaleSecret
	// NoSecrets are the namespaces of the hub in which Workflows have run on a cluster, and that have no such Secret.
	NoSecrets []string
	Clusters  []Cluster

	Workflows  []Workflow
	Tombstones []Tombstone
}

// Object is one that this binary would install.
type Object struct {
	// Name is Kind namespace/name.
	Name string
	// Guard says that it belongs to the guard.
	Guard bool
	// Missing says that it is not there.
	Missing bool
	// Differs is the path at which it is not what would be installed; empty if it is.
	Differs string
}

// Manager is the hub manager's Deployment.
type Manager struct {
	// Found is false if it is not there, which Objects says.
	Found bool
	// Replicas is how many it is scaled to, Installs to how many this binary would scale it.
	Replicas, Installs int32
	// Image is what runs.
	Image string
	// Waits says what is missing until it is available; empty if nothing is.
	Waits string
	// Leader is who holds the Lease of the leader; empty if nobody does or the Lease has run out.
	Leader string
}

// Store is the shared artifact store.
type Store struct {
	// Missing says that there is no Secret; Invalid why it cannot be read.
	Missing bool
	Invalid string
	// Check is the check that failed, empty if none; Trouble says why.
	Check   artifact.Check
	Trouble string
}

// StaleSecret is a Secret of the hub, of the name that mirrored Workflows refer to, with other credentials than the store's.
type StaleSecret struct {
	Namespace string
	// Ours is whether it is labelled as this hub's.
	Ours bool
}

// Cluster is what is known of a WEC.
type Cluster struct {
	Name stellarflow.ClusterName
	// Joined says that a ManagedCluster with our annotations is there.
	Joined bool
	// Labels and Accepted are the values of --labels and --namespaces with which it would be joined as it is.
	Labels, Accepted string
	// Credential says that there is a Secret; BadCredential why it cannot be used.
	Credential    bool
	BadCredential string
	// Trouble is what the probe from here found, nil if nothing. With Unreachable nothing more was read.
	Trouble *wec.Trouble
	// Changed says that another cluster is behind the address; nothing more was read.
	Changed bool
	// NotConnected is what the hub manager says of it if it is not connected.
	NotConnected string
	// Rights are those that the hub lacks there.
	Rights []string
	// OldStoreKeys says that the last join brought other credentials of the store there than it has now.
	OldStoreKeys bool
	// Lease says what is wrong with the hub's Lease there; empty if nothing is.
	Lease string
	// Kubernetes is the version there. Argo and HubArgo are those of Argo there, when it joined, and on the hub. Empty if unknown.
	Kubernetes, Argo, HubArgo string
	Namespaces                []Namespace
	Orphans                   []Orphan
}

// Namespace is a namespace of a WEC that accepts our Workflows or holds some.
type Namespace struct {
	Name string
	// Missing says that it is not there; nothing more was read of it then.
	Missing bool
	// Accounts are the ServiceAccounts that are missing; Bindings those whose RoleBinding for the executor is.
	Accounts, Bindings []string
	// NoRepository and NoSecret say that ConfigMap or Secret are missing.
	NoRepository, NoSecret bool
	// OtherStore is the store, endpoint/bucket, that the ConfigMap names in place of ours; empty if it names ours.
	OtherStore string
}

// Orphan is a WEC copy of this hub that no hub copy claims.
type Orphan struct {
	Key  string
	Why  string
	Ends bool // it has finished
}

// Workflow is a placed hub copy with something unusual.
type Workflow struct {
	Namespace, Name string
	Cluster         stellarflow.ClusterName
	// Sync is its annotation.
	Sync string
	// Deleted is since when it is being deleted; zero if it is not.
	Deleted time.Time
	// Request is what was asked of the hub manager and not answered yet.
	Request string
	// Finished says that its end is known.
	Finished bool
}

// Tombstone is what is left of a Workflow that was given up.
type Tombstone struct {
	// Name is that of the ConfigMap, Workflow the key of the copy on Cluster.
	Name, Workflow string
	Cluster        stellarflow.ClusterName
	Since          time.Time
}
