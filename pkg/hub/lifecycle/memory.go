package lifecycle

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
)

// memory is what this process knows of a hub copy beyond the caches. Losing it costs a read, but for what it has seen: a WEC copy
// that goes before the hub could be told of it is created again only by a process that never knew of it.
type memory struct {
	attempt   int
	seen      types.UID // the WEC copy of this attempt
	createdAt time.Time
	settled   string
	unseen    string // what was last said of its pods
	tried     TriedKeys
	// read is the hub copy's generation whose spec the WEC copy was made from, or was last compared with.
	read int64
}

// recall puts what is remembered of the hub copy into a view, and remembers the WEC copy that it shows.
func (s *Syncer) recall(ctx context.Context, v *View) {
	placement, placed := hubPlacement(*v)
	if !placed {
		return
	}
	known := s.known(placement)
	if placement.WECUID == "" && v.WEC != nil && placement.Owns(v.WEC) && known.seen != v.WEC.UID {
		known.seen = v.WEC.UID
		s.memory.Store(placement.UID, known)
	}
	v.Seen, v.CreatedAt, v.Settled, v.Tried, v.Read = known.seen, known.createdAt, known.settled, known.tried, known.read
	v.Said, v.Unseen = known.unseen, s.Mirrorer.Unseen(placement.UID)
	v.Observed, _ = stellarflow.ParseObserved(v.Hub.Annotations[stellarflow.AnnotationObserved])
	v.Outlived = v.Unseen == "" && (v.Said != "" || v.Settled == "" && v.Observed.SaysUnseen())
	v.Waits = v.Outlived && !s.Mirrorer.LookedAt(ctx, v.Hub)
}

// remember changes what is remembered of a placement's attempt.
func (s *Syncer) remember(placement stellarflow.Placement, change func(*memory)) {
	known := s.known(placement)
	change(&known)
	s.memory.Store(placement.UID, known)
}

// known is what is remembered of a placement's attempt.
func (s *Syncer) known(placement stellarflow.Placement) memory {
	value, _ := s.memory.Load(placement.UID)
	if known, _ := value.(memory); known.attempt == placement.Attempt {
		return known
	}
	return memory{attempt: placement.Attempt}
}

// recordSeen writes the UID of a WEC copy that is gone into the record: what has been there once is never created again.
func (s *Syncer) recordSeen(ctx context.Context, key types.NamespacedName, v View, placement stellarflow.Placement) error {
	before := placement.String()
	placement.WECUID = v.Seen
	_, err := s.Hub.Patch(ctx, key, hubcopy.SameObject(v.Hub), hubcopy.Test(before, "metadata", "annotations", stellarflow.AnnotationPlacement),
		hubcopy.Add(placement.String(), "metadata", "annotations", stellarflow.AnnotationPlacement))
	return err
}

// Forget drops what is remembered of a hub copy that is gone. Creates of one that was given up are remembered until its tombstone
// goes: they may still arrive.
func (s *Syncer) Forget(hubCopy metav1.Object) {
	if stellarflow.Abandoned(hubCopy) {
		s.memory.Delete(hubCopy.GetUID())
		s.Gone.Forget(hubCopy.GetUID())
		return
	}
	s.forget(hubCopy.GetUID())
}

func (s *Syncer) forget(uid types.UID) {
	s.memory.Delete(uid)
	s.Gone.Forget(uid)
	s.Creator.Attempts.Forget(uid)
}
