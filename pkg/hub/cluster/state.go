package cluster

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/wec"
)

// State is what the hub knows of one WEC.
type State struct {
	Name stellarflow.ClusterName
	// Connected is true while the last probe answered, the watch is complete and the Lease is held; Workflows are synced only then.
	Connected bool
	// Since is when Connected last changed.
	Since time.Time
	// Reason and Message say why nothing is placed there; Reason is one of package wec's, empty while there is nothing wrong.
	Reason, Message string
	// Facts are those of the last probe that answered.
	Facts wec.Facts
	// Restored is true while the WEC is connected and its resourceVersion is below one that was seen: it was restored from a backup.
	Restored bool
	// LeaseSince is since when nobody but this process has held the Lease there, zero while it does not hold it.
	LeaseSince time.Time
	// Orphans are the unfinished WEC copies of our origin that the hub does not know, sorted.
	Orphans []string
	// Crowded names, as the API does, the kinds of what Workflows need of which more are there than the hub lists; empty for none.
	Crowded string
	// Unwatched is why the pods there are not watched, empty if they are or are not to be.
	Unwatched string
	// Tried is true once the first probe has ended, well or not.
	Tried bool
}

// Healthy reports whether Workflows may be placed there.
func (s State) Healthy() bool { return s.Connected && s.Reason == "" }

// ID is the WEC's identity, empty until it was seen.
func (s State) ID() types.UID { return s.Facts.ID }

// same reports whether two states say the same to people and deciders.
func (s State) same(other State) bool {
	return s.Connected == other.Connected && s.Reason == other.Reason && s.Message == other.Message && s.Tried == other.Tried && s.LeaseSince.Equal(other.LeaseSince) && s.Restored == other.Restored &&
		s.Facts.ID == other.Facts.ID && s.Facts.Version == other.Facts.Version && slices.Equal(s.Orphans, other.Orphans) && s.Crowded == other.Crowded && s.Unwatched == other.Unwatched
}
