package downsync

import (
	"context"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Needs finds what Workflows refer to. pkg/hub/travel implements it.
type Needs interface {
	// Look finds what a hub copy needs on a WEC. It writes nothing. The error is a *Refusal if some of it is nowhere.
	Look(ctx context.Context, target Target, hubCopy *unstructured.Unstructured) (Baggage, error)
}

// Baggage is what one Workflow needs on one WEC.
type Baggage interface {
	// Accounts returns the ServiceAccounts that the Workflow's pods run as.
	Accounts() []string
	// Record returns the value of stellarflow.AnnotationDependencies, empty for nothing.
	Record() string
	// Bring records it on the hub copy and copies to the WEC what is missing or old there; the namespace must be ready. It returns the
	// resourceVersion that the hub copy has if nobody else has written to it since it was read; empty if the Workflow needs nothing:
	// then it makes no request.
	Bring(ctx context.Context) (version string, err error)
}
