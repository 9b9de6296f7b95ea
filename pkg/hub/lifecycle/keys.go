package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
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

// retryRaced is when labels and annotations are passed on again after the WEC copy had changed meanwhile; after twice as long each time, up
// to retryRefused.
const retryRaced = time.Second

// TriedKeys is how this process last tried to pass labels and annotations on. Whatever a WEC answers and shows afterwards, the same ones are tried
// again after a while only, and not at all once the WEC copy has ended.
type TriedKeys struct {
	// Note is what the WEC copy was to say then of what it was given (downsync.Keys).
	Note string
	// Until is when it is tried again, zero if it was never tried.
	Until time.Time
	// Raced is how long that was put off because the WEC copy had changed meanwhile, zero if it had not.
	Raced time.Duration
	// Ended says that the WEC copy had ended then, and that the WEC has answered: it is not tried again after the end.
	Ended bool
	// Done says that the WEC took it, Said is the sentence about it if it did not, or if that was undone.
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
	outcome, why := v.Tried.next(note, read, written, err, s.Now())
	if why != "" {
		outcome.Said = s.sayKeysRefused(c, v, note, why)
	}
	s.remember(pass.Placement, func(known *memory) { known.tried = outcome })
	if outcome.Done && why == "" {
		return "", errAgain(pass.Key)
	}
	return outcome.Said, nil
}

// next is how a try has ended that had a note written on a WEC copy as it was read; written is nil if that is gone, which the watch will show.
// why says why the WEC does not take it, or that it was undone, and is empty otherwise.
func (before TriedKeys) next(note string, read, written *metav1.PartialObjectMetadata, err error, now time.Time) (outcome TriedKeys, why string) {
	same := before.Note == note
	outcome = TriedKeys{Note: note, Until: now.Add(retryRefused), Ended: stellarflow.Completed(read)}
	var refusal *downsync.Refusal
	switch {
	case errors.Is(err, hubcopy.ErrLostRace): // Argo has written meanwhile; a WEC that always says so is to be tried ever more rarely
		outcome.Raced, outcome.Ended = retryRaced, false
		if same {
			outcome.Raced = min(max(2*before.Raced, retryRaced), retryRefused)
		}
		outcome.Until = now.Add(outcome.Raced)
	case err == nil && written == nil:
	case err != nil && errors.As(downsync.RefusalOf(err, "change labels and annotations of its copy"), &refusal):
		why = refusal.Message
	case err != nil:
		why = wec.Plain(err)
	case written.Annotations[stellarflow.AnnotationPassedOn] != note:
		why = "the API server there does not keep annotation " + stellarflow.AnnotationPassedOn + ", by which each change is passed on only once"
	default:
		outcome.Done = true
		if same && before.Done {
			why = "somebody there undoes it: annotation " + stellarflow.AnnotationPassedOn + " was changed since"
		}
	}
	return outcome, why
}

// sayKeysRefused returns the sentence about what a WEC refuses, and says it with an event if it is new. A WEC that finds other words each time
// is quoted once.
func (s *Syncer) sayKeysRefused(c *cluster.Connection, v View, note, why string) string {
	if v.Tried.Note == note && v.Tried.Said != "" {
		return v.Tried.Said
	}
	again := ", and tried again"
	if stellarflow.Completed(v.WEC) {
		again = ""
	}
	said := stellarflow.OneLine(fmt.Sprintf("labels and annotations are not passed on to cluster %s%s: %s", c.Name, again, why), maxSaid)
	if v.Hub.Annotations[stellarflow.AnnotationSync] != said {
		s.Recorder.Eventf(v.Hub, corev1.EventTypeWarning, eventKeysRefused, "%s", said)
	}
	return said
}
