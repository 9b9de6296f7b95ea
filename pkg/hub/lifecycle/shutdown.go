package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/cleanup"
	"stellarflow.io/stellarflow/pkg/hub/cluster"
	"stellarflow.io/stellarflow/pkg/hub/downsync"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
	"stellarflow.io/stellarflow/pkg/hub/metrics"
	"stellarflow.io/stellarflow/pkg/hub/upsync"
)

// Events on hub copies that were stopped or terminated.
const (
	eventShutdown        = "ShutdownPassedOn"
	eventShutdownRefused = "ShutdownRefused"
)

// shutdown is what has become of the hub copy's spec.shutdown on the WEC.
type shutdown struct {
	// live is the hub copy as it was read, nil if there was no need.
	live *unstructured.Unstructured
	// behind says why the WEC copy does not follow it yet, nil if it does.
	behind error
	// refused is the sentence about that if the WEC has refused it, and will again until somebody there changes something.
	refused string
	// retried says that a person has made the WEC copy run again after it: it is done with on the hub too.
	retried bool
}

// again says when it is tried again to let the WEC copy follow: after a while where it was refused, else as after any failure.
func (s shutdown) again() (time.Duration, error) {
	if s.refused != "" {
		return retryRefused, nil
	}
	return 0, s.behind
}

// telling is what is to be done about spec.shutdown on a WEC copy.
type telling string

const (
	tellNothing telling = "Nothing"
	// tellAsked: the WEC copy gets the value.
	tellAsked telling = "Asked"
	// tellNoted: the value is only noted on the WEC copy: there is none any more, or it came after the end.
	tellNoted telling = "Noted"
	// tellBack: the WEC copy was made to run again there after it had got the value: the hub copy loses it.
	tellBack telling = "Back"
)

// toTell decides from the hub copy's spec.shutdown, and from the WEC copy: what it was told last, what its own spec.shutdown is now, and
// whether it has ended. Each value is passed on once.
func toTell(asked, told, there string, ended bool) telling {
	switch retried := told != "" && there == "" && !ended; {
	case asked == told && asked != "" && retried:
		return tellBack
	case asked == told:
		return tellNothing
	case asked == "" || ended:
		return tellNoted
	}
	return tellAsked
}

// follows reports whether the WEC copy is known to follow the hub copy's spec: nothing was written to the hub copy since they were
// compared, but by us, and the WEC copy was not set back since, or made to run again.
func follows(v View, wecCopy upsync.WECCopy) bool {
	told, ended := wecCopy.Metadata.Annotations[stellarflow.AnnotationShutdown], stellarflow.Completed(&wecCopy.Metadata)
	if toTell(told, told, wecCopy.Spec.Shutdown, ended) == tellBack {
		return false
	}
	if v.Observed == (stellarflow.Observed{}) {
		return v.Read == v.Hub.Generation
	}
	order, err := resourceversion.CompareResourceVersion(wecCopy.Metadata.ResourceVersion, v.Observed.ResourceVersion)
	return v.Observed.Generation == v.Hub.Generation && err == nil && order >= 0
}

// passOn lets the WEC copy follow the hub copy's spec.shutdown (argo stop, argo terminate). The hub copy is read only if the WEC copy may
// not follow it. The error is one of the hub; what fails on the WEC is in the result, and keeps nobody from mirroring what it says.
func (s *Syncer) passOn(ctx context.Context, c *cluster.Connection, key types.NamespacedName, v View, wecCopy upsync.WECCopy) (shutdown, error) {
	if follows(v, wecCopy) {
		return shutdown{}, nil
	}
	live, err := s.Hub.Live(ctx, key)
	if err != nil {
		return shutdown{}, err
	}
	if live == nil || live.GetUID() != v.Hub.UID || live.GetGeneration() != v.Hub.Generation {
		return shutdown{}, fmt.Errorf("workflow %s: %w", key, hubcopy.ErrLostRace)
	}
	asked, ended := stellarflow.Shutdown(live), stellarflow.Completed(&wecCopy.Metadata)
	step := toTell(asked, wecCopy.Metadata.Annotations[stellarflow.AnnotationShutdown], wecCopy.Spec.Shutdown, ended)
	if step == tellNothing || step == tellBack {
		return shutdown{live: live, retried: step == tellBack}, nil
	}
	read := &metav1.PartialObjectMetadata{ObjectMeta: wecCopy.Metadata}
	written, err := cleanup.Shutdown(ctx, c.Clients.Metadata, read, asked, step == tellAsked)
	switch err := s.onWEC(c, key, read)(written, err); {
	case err != nil && ended: // it came too late anyway
		return shutdown{live: live}, nil
	case errors.Is(err, hubcopy.ErrLostRace): // Argo has written meanwhile; a WEC that always says so is to be tried ever more rarely
		return shutdown{live: live, behind: fmt.Errorf("pass on spec.shutdown of workflow %s: its copy on %q has changed meanwhile", key, c.Name)}, nil
	case err != nil:
		return s.refusedShutdown(c, v, shutdown{live: live, behind: err}, asked), nil //nolint:nilerr // it is in the result
	}
	if written != nil && step == tellAsked {
		s.Metrics.Requested(strings.ToLower(asked), metrics.ResultDone)
		s.Recorder.Eventf(v.Hub, corev1.EventTypeNormal, eventShutdown, "spec.shutdown: %s was passed on to cluster %s", asked, c.Name)
	}
	return shutdown{live: live}, nil
}

// refusedShutdown says what a WEC answered, if that was an answer, with the event if it is new.
func (s *Syncer) refusedShutdown(c *cluster.Connection, v View, result shutdown, asked string) shutdown {
	var refusal *downsync.Refusal
	if !errors.As(downsync.RefusalOf(result.behind, "change spec.shutdown of its copy"), &refusal) {
		return result
	}
	result.refused = stellarflow.OneLine(fmt.Sprintf("spec.shutdown %q is not passed on to cluster %s, and tried again: %s", asked, c.Name, refusal.Message), maxSaid)
	if v.Hub.Annotations[stellarflow.AnnotationSync] != result.refused {
		if asked != "" {
			s.Metrics.Requested(strings.ToLower(asked), metrics.ResultRefused)
		}
		s.Recorder.Eventf(v.Hub, corev1.EventTypeWarning, eventShutdownRefused, "%s", result.refused)
	}
	return result
}
