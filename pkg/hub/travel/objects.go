package travel

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/dependencies"
)

// manager is the field manager of what is written; maxError bounds, in bytes, what is quoted of an error.
const (
	manager  = "stellarflow"
	maxError = 300
)

// place is an object that is needed on a WEC.
type place struct {
	stellarflow.Reference
	namespace string // empty for kinds that have none
}

func placeOf(reference stellarflow.Reference, namespace string) place {
	if !reference.Kind.Namespaced() {
		namespace = ""
	}
	return place{reference, namespace}
}

// resource returns the client for the kind of an object, in the namespace of the Workflow if the kind has one.
func resource(client dynamic.Interface, reference stellarflow.Reference, namespace string) dynamic.ResourceInterface {
	if !reference.Kind.Namespaced() {
		return client.Resource(reference.Kind.Resource())
	}
	return client.Resource(reference.Kind.Resource()).Namespace(namespace)
}

// metadataResource is resource for metadata alone.
func metadataResource(client metadata.Interface, reference stellarflow.Reference, namespace string) metadata.ResourceInterface {
	if !reference.Kind.Namespaced() {
		return client.Resource(reference.Kind.Resource())
	}
	return client.Resource(reference.Kind.Resource()).Namespace(namespace)
}

// errUnread is the sentinel of a Secret that the hub manager has no right to read, as it is unless an administrator gives it.
var errUnread = errors.New("the hub manager may not get secrets: apply samples/secrets-hub.yaml on the hub, or take the Secret out of the policy")

// readSent returns what would be sent of an object of the hub; nil if there is none, or if it is never sent.
func readSent(ctx context.Context, c *Carrier, reference stellarflow.Reference, namespace string) (*unstructured.Unstructured, error) {
	if dependencies.StaysOnHub(reference, namespace) {
		return nil, nil //nolint:nilnil // "there is none" is an answer, not an error
	}
	onHub, err := ReadHub(ctx, c.Objects, reference, namespace)
	if err != nil || onHub == nil || dependencies.Withheld(reference.Kind, onHub) {
		return nil, err
	}
	return dependencies.Copy(reference.Kind, onHub, c.HubID)
}

// ReadHub reads an object of the hub; nil if there is none, if it is being deleted, or if the hub does not know its kind.
func ReadHub(ctx context.Context, hub dynamic.Interface, reference stellarflow.Reference, namespace string) (*unstructured.Unstructured, error) {
	object, err := resource(hub, reference, namespace).Get(ctx, reference.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil //nolint:nilnil // "there is none" is an answer, not an error
	case apierrors.IsForbidden(err):
		if reference.Kind == stellarflow.KindSecret {
			return nil, errUnread
		}
		return nil, fmt.Errorf("the hub manager may not get %s: run `stellarflow install` again to restore its rights: %s", reference.Kind.Resource().GroupResource(), stellarflow.OneLine(err.Error(), maxError))
	case err != nil:
		return nil, fmt.Errorf("read %s of the hub: %w", reference, err)
	case object.GetDeletionTimestamp() != nil:
		return nil, nil //nolint:nilnil // as above
	}
	return object, nil
}

// lately remembers what this process has lately needed on which WEC, for Workflows that may not be seen there yet. While its lock is
// held nothing becomes needed, so that nothing is removed that a create is about to count on. The zero value is ready for use.
type lately struct {
	mu       sync.Mutex
	clusters map[types.UID]*recently
}

// recently is lately for one WEC: one that hangs keeps nobody else waiting.
type recently struct {
	mu   sync.Mutex
	last map[place]time.Time
}

func (l *lately) on(cluster types.UID) *recently {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.clusters == nil {
		l.clusters = map[types.UID]*recently{}
	}
	if l.clusters[cluster] == nil {
		l.clusters[cluster] = &recently{last: map[place]time.Time{}}
	}
	return l.clusters[cluster]
}

// needed notes that an object is needed from now on.
func (l *lately) needed(cluster types.UID, p place, now time.Time) {
	r := l.on(cluster)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last[p] = now
}

// last is when an object was last needed, zero if that is not remembered.
func (l *lately) last(cluster types.UID, p place) time.Time {
	r := l.on(cluster)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last[p]
}

// any reports whether something was needed within a time; what is older is forgotten.
func (l *lately) any(cluster types.UID, within time.Duration, now time.Time) bool {
	r := l.on(cluster)
	r.mu.Lock()
	defer r.mu.Unlock()
	for p, last := range r.last {
		if now.Sub(last) >= within {
			delete(r.last, p)
		}
	}
	return len(r.last) > 0
}

// unless calls remove if an object was not needed within a time, and lets nobody need it meanwhile.
func (l *lately) unless(cluster types.UID, p place, idle func(last time.Time) bool, remove func() error) error {
	r := l.on(cluster)
	r.mu.Lock()
	defer r.mu.Unlock()
	if last, found := r.last[p]; found && !idle(last) {
		return nil
	}
	return remove()
}
