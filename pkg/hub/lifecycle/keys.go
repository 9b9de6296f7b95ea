package lifecycle

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/cleanup"
	"stellarflow.io/stellarflow/pkg/hub/cluster"
	"stellarflow.io/stellarflow/pkg/hub/downsync"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
	"stellarflow.io/stellarflow/pkg/hub/upsync"
)

// eventKeysRefused is the event on a hub copy whose changed labels and annotations its WEC refuses.
const eventKeysRefused = "MetadataRefused"

// unpassed is why a WEC copy has not got the hub copy's labels and annotations.
type unpassed struct {
	// behind is the failure, nil if there was none.
	behind error
	// refused is the sentence about it if the WEC has refused them, and will again until somebody changes something.
	refused string
}

// passOnKeys gives the WEC copy what was changed of the hub copy's labels and annotations. The hub copy is read only then: the cache may show
// what an earlier process has passed on by now. The error is one of the hub, or a lost race after the WEC copy was changed; what fails on
// the WEC is in the result, and keeps nobody from mirroring what it says.
func (s *Syncer) passOnKeys(ctx context.Context, c *cluster.Connection, v View, pass upsync.Pass) (unpassed, error) {
	read := &metav1.PartialObjectMetadata{ObjectMeta: pass.WECCopy.Metadata}
	if !(View{Hub: v.Hub, WEC: read}).keysBehind() {
		return unpassed{}, nil
	}
	live, err := s.Hub.Live(ctx, pass.Key)
	if err != nil {
		return unpassed{}, err
	}
	if live == nil || !pass.Placement.RecordedOn(live) {
		return unpassed{}, fmt.Errorf("workflow %s: %w", pass.Key, hubcopy.ErrLostRace)
	}
	custom, err := s.Creator.Transforms(ctx)
	if err != nil {
		return unpassed{}, err
	}
	operations := downsync.PassOn(live, read, custom)
	if operations == nil {
		return unpassed{}, fmt.Errorf("workflow %s: %w", pass.Key, hubcopy.ErrLostRace)
	}
	written, err := cleanup.Patch(ctx, c.Clients.Metadata, read, operations)
	switch err := s.onWEC(c, pass.Key, read)(written, err); {
	case errors.Is(err, hubcopy.ErrLostRace): // Argo has written meanwhile; a WEC that always says so is to be tried ever more rarely
		return unpassed{behind: fmt.Errorf("pass on labels and annotations of workflow %s: its copy on %q has changed meanwhile", pass.Key, c.Name)}, nil
	case err != nil:
		return s.refusedKeys(c, v, pass.Placement, err), nil
	case written == nil: // it is gone, which the watch will show
		return unpassed{}, nil
	case written.Annotations[stellarflow.AnnotationPassedOn] != downsync.Keys(live):
		return s.refusedKeys(c, v, pass.Placement, &downsync.Refusal{Reason: downsync.ReasonRejected, Message: "the API server there does not keep annotation " +
			stellarflow.AnnotationPassedOn + ", by which each change is passed on only once"}), nil
	}
	return unpassed{}, errAgain(pass.Key)
}

// refusedKeys says what a WEC answered, if that was an answer, with an event if it is new.
func (s *Syncer) refusedKeys(c *cluster.Connection, v View, placement stellarflow.Placement, why error) unpassed {
	result := unpassed{behind: why}
	var refusal *downsync.Refusal
	if !errors.As(downsync.RefusalOf(why, "change labels and annotations of its copy"), &refusal) {
		return result
	}
	result.refused = stellarflow.OneLine(fmt.Sprintf("labels and annotations are not passed on to cluster %s, and tried again: %s", c.Name, refusal.Message), maxSaid)
	if v.Said != result.refused && v.Hub.Annotations[stellarflow.AnnotationSync] != result.refused {
		s.Recorder.Eventf(v.Hub, nil, corev1.EventTypeWarning, eventKeysRefused, "PassOn", "%s", result.refused)
	}
	value, _ := s.memory.Load(placement.UID)
	known, _ := value.(memory)
	known.attempt, known.said = placement.Attempt, result.refused
	s.memory.Store(placement.UID, known)
	return result
}
