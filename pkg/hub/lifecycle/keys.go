package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/cleanup"
	"stellarflow.io/stellarflow/pkg/hub/cluster"
	"stellarflow.io/stellarflow/pkg/hub/downsync"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
	"stellarflow.io/stellarflow/pkg/hub/upsync"
	"stellarflow.io/stellarflow/pkg/wec"
)

// eventKeysRefused is the event on a hub copy whose changed labels and annotations its WEC refuses.
const eventKeysRefused = "MetadataRefused"

// retryRaced is when labels and annotations are passed on again after the WEC copy had changed meanwhile, or the WEC did not answer.
const retryRaced = time.Second

// TriedKeys is how this process last tried to pass labels and annotations on. Whatever a WEC answers and shows afterwards, the same ones are tried
// again after a while only, and not at all once the WEC copy has ended.
type TriedKeys struct {
	// Note is what the WEC copy was to say then of what it was given (downsync.Keys).
	Note string
	// Until is when it is tried again.
	Until time.Time
	// Done says that the WEC took it, Said is the sentence about it if it did not, and will not until somebody changes something.
	Done bool
	Said string
}

// passOnKeys gives the WEC copy what was changed of the hub copy's labels and annotations. The hub copy is read only then: the cache may show
// what an earlier process has passed on by now. It returns what is in the way, to be said on the hub copy as long as the WEC copy runs. The
// error is one of the hub, or a lost race after the WEC copy was changed; what fails on the WEC keeps nobody from mirroring what it says.
func (s *Syncer) passOnKeys(ctx context.Context, c *cluster.Connection, v View, pass upsync.Pass) (said string, err error) {
	read := &metav1.PartialObjectMetadata{ObjectMeta: pass.WECCopy.Metadata}
	v.WEC = read
	if !v.keysDiffer() {
		return "", nil
	}
	if !v.keysBehind() {
		return v.Tried.Said, nil
	}
	live, err := s.Hub.Live(ctx, pass.Key)
	if err != nil {
		return "", err
	}
	note := ""
	if live != nil {
		note = downsync.Keys(live)
	}
	if live == nil || !pass.Placement.RecordedOn(live) || note == read.Annotations[stellarflow.AnnotationPassedOn] || v.rests(note) {
		return "", fmt.Errorf("workflow %s: %w", pass.Key, hubcopy.ErrLostRace) // the cache will show it
	}
	custom, err := s.Creator.Transforms(ctx)
	if err != nil {
		return "", err
	}
	written, err := cleanup.Patch(ctx, c.Clients.Metadata, read, downsync.PassOn(live, read, custom))
	err = s.onWEC(c, pass.Key, read)(written, err)
	outcome := TriedKeys{Note: note, Until: s.Now().Add(retryRefused)}
	switch why := whyKeysAreRefused(v.Tried, note, written, err); {
	case why != "":
		outcome.Said = s.sayKeysRefused(c, v, note, why)
	case err != nil: // Argo has written meanwhile, or the WEC does not answer
		outcome.Until = s.Now().Add(retryRaced)
	default:
		outcome.Done = true
	}
	s.remember(pass.Placement, func(known *memory) { known.tried = outcome })
	if outcome.Done && written != nil { // nil: it is gone, which the watch will show
		return "", errAgain(pass.Key)
	}
	return outcome.Said, nil
}

// whyKeysAreRefused says why a WEC does not take labels and annotations, empty if it does, has lost a race or did not answer.
func whyKeysAreRefused(before TriedKeys, note string, written *metav1.PartialObjectMetadata, err error) string {
	var refusal *downsync.Refusal
	var status apierrors.APIStatus
	switch {
	case errors.Is(err, hubcopy.ErrLostRace):
	case err != nil && errors.As(downsync.RefusalOf(err, "change labels and annotations of its copy"), &refusal):
		return refusal.Message
	case errors.As(err, &status):
		return wec.Plain(err)
	case err != nil, written == nil:
	case written.Annotations[stellarflow.AnnotationPassedOn] != note:
		return "the API server there does not keep annotation " + stellarflow.AnnotationPassedOn + ", by which each change is passed on only once"
	case before.Note == note && before.Done:
		return "somebody there undoes it: annotation " + stellarflow.AnnotationPassedOn + " was changed since"
	}
	return ""
}

// sayKeysRefused returns the sentence about what a WEC refuses, and says it with an event if it is new. A WEC that finds other words each time
// is quoted once.
func (s *Syncer) sayKeysRefused(c *cluster.Connection, v View, note, why string) string {
	if v.Tried.Note == note && v.Tried.Said != "" {
		return v.Tried.Said
	}
	said := stellarflow.OneLine(fmt.Sprintf("labels and annotations are not passed on to cluster %s, and tried again: %s", c.Name, why), maxSaid)
	if v.Hub.Annotations[stellarflow.AnnotationSync] != said {
		s.Recorder.Eventf(v.Hub, nil, corev1.EventTypeWarning, eventKeysRefused, "PassOn", "%s", said)
	}
	return said
}
