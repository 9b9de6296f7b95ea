package downsync

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"stellarflow.io/stellarflow/pkg/apis/control/v1alpha1"
	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/artifact"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
	"stellarflow.io/stellarflow/pkg/wec"
)

// Target is the WEC that a copy is created on.
type Target struct {
	Name    stellarflow.ClusterName
	ID      types.UID
	Clients *wec.Clients
	// Namespaces are those that the join accepted.
	Namespaces []string
}

// Creator creates WEC copies.
type Creator struct {
	Hub   *hubcopy.Store
	HubID types.UID
	// HubCore puts the store's Secret next to hub copies.
	HubCore kubernetes.Interface
	// Transforms lists the CustomTransforms.
	Transforms func(context.Context) ([]v1alpha1.CustomTransform, error)
	// Needs finds and copies what a Workflow refers to.
	Needs Needs
	// Store returns the shared artifact store, nil if none is configured.
	Store    func(context.Context) (*artifact.Store, error)
	Attempts *Attempts
	Now      func() time.Time

	namespaces namespaces
}

// Result is what a create found.
type Result struct {
	// WECCopy is the metadata of the copy, nil if the hub copy changed in a way that ends this pass.
	WECCopy *metav1.PartialObjectMetadata
	// Generation is that of the hub copy which the WEC copy follows, zero if it was there already and does not.
	Generation int64
	// Skipped are the paths of CustomTransforms that were not applied.
	Skipped []error
}

// Create makes the WEC copy of a placement, from a live read of the hub copy. Repeating it is safe: a copy of this placement
// that is already there is returned. A *Refusal means that the WEC definitely has not got one; every other error means that
// it may have.
func (c *Creator) Create(ctx context.Context, target Target, key types.NamespacedName, placement stellarflow.Placement) (Result, error) {
	hubCopy, err := c.Hub.Live(ctx, key)
	if err != nil {
		return Result{}, err
	}
	if hubCopy == nil || hubCopy.GetDeletionTimestamp() != nil {
		return Result{}, nil
	}
	if !placement.RecordedOn(hubCopy) {
		return Result{}, nil // decided again meanwhile: the cache will show it
	}
	record, unchanged, err := c.ready(ctx, target, hubCopy)
	if err != nil || !unchanged {
		return Result{}, err // one that has changed meanwhile brings the next pass
	}
	custom, err := c.Transforms(ctx)
	if err != nil {
		return Result{}, err
	}
	wecCopy, skipped := Object(hubCopy, placement, c.HubID, custom)
	if record != "" {
		setAnnotation(wecCopy, stellarflow.AnnotationDependencies, record)
	}
	created, err := c.create(ctx, target, key, placement, wecCopy)
	if err != nil {
		return Result{}, err
	}
	c.Attempts.Forget(placement.UID)
	result := Result{WECCopy: created, Skipped: skipped}
	if created.Annotations[stellarflow.AnnotationShutdown] == stellarflow.Shutdown(wecCopy) {
		result.Generation = hubCopy.GetGeneration()
	}
	return result, nil
}

// fresh is how old the read may be that a WEC copy is made from: what people ask before the create is part of it.
const fresh = time.Second

// ready makes a WEC ready for a hub copy: its namespace, and what it needs there, which it returns as its record. It is false if the hub
// copy has changed meanwhile: what it needs may take long to bring. All of it ends within Settle: what is remembered of what a create
// counts on lives longer than that, and a slow WEC holds up no worker for good.
func (c *Creator) ready(ctx context.Context, target Target, hubCopy *unstructured.Unstructured) (record string, unchanged bool, err error) {
	within, cancel := context.WithTimeout(ctx, Settle)
	defer cancel()
	record, unchanged, err = c.makeReady(within, target, hubCopy)
	if err != nil && within.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("what it needs on %q is not ready within %s, for requests there are slow: %w", target.Name, Settle, err)
	}
	return record, unchanged, err
}

func (c *Creator) makeReady(ctx context.Context, target Target, hubCopy *unstructured.Unstructured) (record string, unchanged bool, err error) {
	began := c.Now()
	store, err := c.Store(ctx)
	if err != nil {
		return "", false, err
	}
	if err := c.namespaces.accepts(ctx, c.HubID, target, hubCopy.GetNamespace(), c.Now()); err != nil {
		return "", false, err
	}
	baggage, err := c.Needs.Look(ctx, target, hubCopy)
	if err != nil {
		return "", false, err
	}
	version, err := c.prepare(ctx, target, hubCopy, baggage, store)
	if version == "" && c.Now().Sub(began) > fresh {
		version = hubCopy.GetResourceVersion()
	}
	if err != nil || version == "" {
		return baggage.Record(), err == nil, err
	}
	again, err := c.Hub.Live(ctx, types.NamespacedName{Namespace: hubCopy.GetNamespace(), Name: hubCopy.GetName()})
	return baggage.Record(), again != nil && again.GetUID() == hubCopy.GetUID() && again.GetResourceVersion() == version, err
}

func (c *Creator) prepare(ctx context.Context, target Target, hubCopy *unstructured.Unstructured, baggage Baggage, store *artifact.Store) (version string, err error) {
	if err := c.namespaces.prepareHub(ctx, c.HubCore, preparation{hubID: c.HubID, namespace: hubCopy.GetNamespace(), store: store}, c.Now()); err != nil {
		return "", err
	}
	err = c.namespaces.prepare(ctx, preparation{c.HubID, target, hubCopy.GetNamespace(), baggage.Accounts(), store}, c.Now())
	if err == nil {
		version, err = baggage.Bring(ctx)
	}
	if _, refused := isRefusal(err); refused || apierrors.IsNotFound(err) { // the namespace may be gone
		c.namespaces.forget()
	}
	return version, err
}

func (c *Creator) create(ctx context.Context, target Target, key types.NamespacedName, placement stellarflow.Placement, wecCopy *unstructured.Unstructured) (*metav1.PartialObjectMetadata, error) {
	client := target.Clients.Objects.Resource(stellarflow.Workflows).Namespace(key.Namespace)
	created, err := client.Create(ctx, wecCopy, metav1.CreateOptions{FieldManager: "stellarflow"})
	switch {
	case err == nil:
		return metadataOf(created), nil
	case apierrors.IsAlreadyExists(err):
		return c.existing(ctx, target, key, placement)
	}
	refused := RefusalOf(err, "create the Workflow")
	if _, ok := isRefusal(refused); ok {
		c.namespaces.forget()
		return nil, refused
	}
	if isAmbiguous(err) {
		c.Attempts.Ambiguous(placement, c.Now())
	}
	c.namespaces.forget()
	return nil, fmt.Errorf("create workflow %s on %q: %w", key, target.Name, err)
}

// isAmbiguous reports whether a create that failed may have happened all the same, or may yet: not if the API server has turned
// it away unread, nor if it was never sent.
func isAmbiguous(err error) bool {
	if errors.Is(err, wec.ErrNotHeld) {
		return false
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return true
	}
	return status.Status().Code != http.StatusTooManyRequests && status.Status().Code != http.StatusUnauthorized
}

// existing decides whether a name that is taken is taken by this placement's own copy, from an answer that was lost.
func (c *Creator) existing(ctx context.Context, target Target, key types.NamespacedName, placement stellarflow.Placement) (*metav1.PartialObjectMetadata, error) {
	found, err := target.Clients.Metadata.Resource(stellarflow.Workflows).Namespace(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read workflow %s on %q: %w", key, target.Name, err)
	}
	owner := "is not from this hub"
	if found.Labels[stellarflow.LabelOrigin] == string(c.HubID) {
		if placement.Owns(found) {
			return found, nil
		}
		owner = fmt.Sprintf("belongs to another Workflow of this hub (UID %s)", stellarflow.OneLine(found.Annotations[stellarflow.AnnotationHubUID], maxAccount))
	}
	return nil, &Refusal{ReasonNameTaken, fmt.Sprintf("a Workflow named %s exists there and %s: delete it there, or create this one under another name", key, owner)}
}

// metadataOf returns what a watch of metadata would show of a Workflow, less what no decision uses.
func metadataOf(object *unstructured.Unstructured) *metav1.PartialObjectMetadata {
	metadata := meta.AsPartialObjectMetadata(object)
	metadata.SetGroupVersionKind(stellarflow.WorkflowKind)
	metadata.ManagedFields = nil
	return metadata
}
