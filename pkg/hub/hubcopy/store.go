package hubcopy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/metrics"
	"stellarflow.io/stellarflow/pkg/hub/recent"
)

// Store reads and writes Workflows on the hub.
type Store struct {
	cache    client.Reader
	objects  dynamic.Interface
	metadata metadata.Interface
	now      func() time.Time
	recent   recent.Objects
	// StatusSubresource says that the hub's Workflow CRD has a status subresource, which Argo's own has not: the status is then
	// written there, and leaves the generation as it is.
	StatusSubresource bool
	// Archive says which Workflows the hub's Argo controller archives, once they are labelled for that with their end.
	Archive stellarflow.Archive
	// Metrics count lost races; nil for none.
	Metrics *metrics.Metrics
}

// NewStore returns a store over a metadata cache of Workflows and two live clients.
func NewStore(cache client.Reader, objects dynamic.Interface, metadata metadata.Interface, now func() time.Time) *Store {
	return &Store{cache: cache, objects: objects, metadata: metadata, now: now}
}

// Cached returns a hub copy's metadata as the cache or our own last write shows it, whichever is newer; nil if there is
// none. It must not be changed.
func (s *Store) Cached(ctx context.Context, key types.NamespacedName) (*metav1.PartialObjectMetadata, error) {
	cached := stellarflow.NewWorkflowMetadata()
	err := s.cache.Get(ctx, key, cached)
	if apierrors.IsNotFound(err) {
		s.recent.Forget(key)
		return nil, nil //nolint:nilnil // "there is none" is an answer, not an error
	}
	if err != nil {
		return nil, fmt.Errorf("read workflow %s from the cache: %w", key, err)
	}
	return s.recent.Newest(key, cached, s.now()), nil
}

// Live reads a whole hub copy from the API server; nil if there is none.
func (s *Store) Live(ctx context.Context, key types.NamespacedName) (*unstructured.Unstructured, error) {
	object, err := s.objects.Resource(stellarflow.Workflows).Namespace(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // as in Cached
	}
	if err != nil {
		return nil, fmt.Errorf("read workflow %s: %w", key, err)
	}
	return object, nil
}

// Patch writes to a hub copy, in one request unless the CRD has a status subresource. The error wraps ErrLostRace if a test of
// the patch failed; an object that is gone is a lost race too.
func (s *Store) Patch(ctx context.Context, key types.NamespacedName, operations ...Operation) (*metav1.PartialObjectMetadata, error) {
	if !s.StatusSubresource {
		return s.patch(ctx, key, operations)
	}
	tests, status, others := split(operations)
	if len(status) == 0 {
		return s.patch(ctx, key, operations)
	}
	written, err := s.patch(ctx, key, append(slices.Clone(tests), status...), "status")
	if err != nil || len(others) == 0 {
		return written, err
	}
	return s.patch(ctx, key, append(atVersion(tests, written.ResourceVersion), others...))
}

func (s *Store) patch(ctx context.Context, key types.NamespacedName, operations []Operation, subresource ...string) (*metav1.PartialObjectMetadata, error) {
	raw, err := Marshal(operations)
	if err != nil {
		return nil, err
	}
	written, err := s.metadata.Resource(stellarflow.Workflows).Namespace(key.Namespace).
		Patch(ctx, key.Name, PatchType, raw, metav1.PatchOptions{FieldManager: "stellarflow"}, subresource...)
	if apierrors.IsNotFound(err) {
		s.Metrics.LostRace()
		return nil, fmt.Errorf("patch workflow %s: %w: %w", key, ErrLostRace, err)
	}
	if err := Classify(err); err != nil {
		if errors.Is(err, ErrLostRace) {
			s.Metrics.LostRace()
		}
		return nil, fmt.Errorf("patch workflow %s: %w", key, err)
	}
	written.SetGroupVersionKind(stellarflow.WorkflowKind) // the answer calls itself PartialObjectMetadata, which no event can refer to
	s.recent.Put(written, s.now())
	return written, nil
}
