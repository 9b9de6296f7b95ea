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
	store, err := c.Store(ctx)
	if err != nil {
		return Result{}, err
	}
	if err := c.prepare(ctx, target, hubCopy, store); err != nil {
		return Result{}, err
	}
	custom, err := c.Transforms(ctx)
	if err != nil {
		return Result{}, err
	}
	wecCopy, skipped := Object(hubCopy, placement, c.HubID, custom)
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

func (c *Creator) prepare(ctx context.Context, target Target, hubCopy *unstructured.Unstructured, store *artifact.Store) error {
	if err := c.namespaces.prepareHub(ctx, c.HubCore, preparation{hubID: c.HubID, namespace: hubCopy.GetNamespace(), store: store}, c.Now()); err != nil {
		return err
	}
	err := c.namespaces.prepare(ctx, preparation{c.HubID, target, hubCopy.GetNamespace(), serviceAccounts(hubCopy.Object), store}, c.Now())
	if _, refused := isRefusal(err); refused {
		c.namespaces.forget()
	}
	return err
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
