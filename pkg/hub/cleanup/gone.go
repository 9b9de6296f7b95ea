package cleanup

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/wec"
)

// Twice is the time between the two looks that make "gone" a fact (DESIGN.md §4, Gone).
const Twice = 10 * time.Second

// Gone decides when a WEC copy is gone. It remembers the first look; it is safe for several goroutines.
type Gone struct {
	now   func() time.Time
	twice time.Duration
	mu    sync.Mutex
	first map[types.UID]time.Time
}

// NewGone returns an empty memory that wants two looks with this much time between them.
func NewGone(now func() time.Time, twice time.Duration) *Gone {
	return &Gone{now: now, twice: twice, first: map[types.UID]time.Time{}}
}

// Confirm looks for the WEC copy of a placement. It returns zero if it is gone, otherwise how long to wait for the next look.
// An error means that nothing is known. Present is the sentinel for a copy that is there after all.
func (g *Gone) Confirm(ctx context.Context, clients *wec.Clients, key types.NamespacedName, placement stellarflow.Placement) (time.Duration, error) {
	if err := look(ctx, clients, key, placement); err != nil {
		g.Forget(placement.UID)
		return 0, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	first, found := g.first[placement.UID]
	if !found {
		g.first[placement.UID] = now
		return g.twice, nil
	}
	return max(0, g.twice-now.Sub(first)), nil
}

// Forget drops what is remembered of a hub copy.
func (g *Gone) Forget(uid types.UID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.first, uid)
}

// ErrPresent is the sentinel of a WEC copy that is there although a cache did not show it.
var ErrPresent = errors.New("the WEC copy is there")

// look returns nil if one look shows that the copy is not there.
func look(ctx context.Context, clients *wec.Clients, key types.NamespacedName, placement stellarflow.Placement) error {
	workflows := clients.Metadata.Resource(stellarflow.Workflows).Namespace(key.Namespace)
	found, err := workflows.Get(ctx, key.Name, metav1.GetOptions{})
	switch {
	case err == nil && isCopyOf(found, placement):
		return fmt.Errorf("workflow %s on %q: %w", key, placement.Cluster, ErrPresent)
	case err != nil && !names(err, key.Name):
		return fmt.Errorf("look for workflow %s on %q: %w", key, placement.Cluster, err)
	}
	if _, err := workflows.List(ctx, metav1.ListOptions{Limit: 1}); err != nil {
		return fmt.Errorf("list workflows on %q: %w", placement.Cluster, err)
	}
	return Identify(ctx, clients, placement)
}

// Identify returns nil if a cluster, asked now, is the one that a placement was made for.
func Identify(ctx context.Context, clients *wec.Clients, placement stellarflow.Placement) error {
	system, err := clients.Core.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("identify %q: %w", placement.Cluster, err)
	}
	if system.UID != placement.ClusterID {
		return fmt.Errorf("identify %q: it has identity %s, not the recorded %s", placement.Cluster, system.UID, placement.ClusterID)
	}
	return nil
}

func isCopyOf(found metav1.Object, placement stellarflow.Placement) bool {
	if placement.WECUID != "" {
		return found.GetUID() == placement.WECUID
	}
	return found.GetAnnotations()[stellarflow.AnnotationHubUID] == string(placement.UID)
}

// names reports whether an error is an API server's own answer that this Workflow does not exist: a proxy's bare 404 or a
// missing CRD does not name it.
func names(err error, workflow string) bool {
	var status apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &status) {
		return false
	}
	details := status.Status().Details
	return details != nil && details.Name == workflow && details.Group == stellarflow.Workflows.Group && details.Kind == stellarflow.Workflows.Resource
}
