package v1alpha1

// Types of the conditions that BindingPolicy and CustomTransform carry. Both are positive: True is good.
const (
	// ConditionReady says whether the object does what it is for. Its reason is one of the Reason constants below.
	ConditionReady = "Ready"
	// ConditionFullySupported is False if the object uses something that KubeStellar accepts and Stellarflow does not act on;
	// its message lists each such field.
	ConditionFullySupported = "FullySupported"
)

// Reasons of ConditionFullySupported, on both kinds.
const (
	// ReasonAllFieldsSupported: every field that is set is acted on.
	ReasonAllFieldsSupported = "AllFieldsSupported"
	// ReasonUnsupportedFields: the fields in the message are accepted but not acted on.
	ReasonUnsupportedFields = "UnsupportedFields"
)

// Reasons of ConditionReady of a BindingPolicy.
const (
	// ReasonClustersSelected (True): at least one cluster is selected, and Workflows can be placed.
	ReasonClustersSelected = "ClustersSelected"
	// ReasonInvalidSelector (False): a selector cannot be read and therefore selects nothing.
	ReasonInvalidSelector = "InvalidSelector"
	// ReasonNoClusterSelectors (False): spec.clusterSelectors is empty, which selects no cluster.
	ReasonNoClusterSelectors = "NoClusterSelectors"
	// ReasonNoWorkflows (False): no clause of spec.downsync can match a Workflow.
	ReasonNoWorkflows = "NoWorkflows"
	// ReasonNoClusters (False): no ManagedCluster has labels that match spec.clusterSelectors.
	ReasonNoClusters = "NoClusters"
	// ReasonSeveralClusters (False): several clusters are selected without wantSingletonReportedState, which would mean a run on
	// each of them; nothing is placed.
	ReasonSeveralClusters = "SeveralClusters"
)

// Reasons of ConditionReady of a CustomTransform.
const (
	// ReasonApplied (True): every path is applied to each Workflow that is sent to a cluster.
	ReasonApplied = "Applied"
	// ReasonInvalidPaths (False): the paths in status.errors are skipped; the others are applied.
	ReasonInvalidPaths = "InvalidPaths"
	// ReasonOtherResource (False): the transform is for a resource that is not sent to clusters.
	ReasonOtherResource = "OtherResource"
)
