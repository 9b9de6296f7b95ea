package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/cleanup"
	"stellarflow.io/stellarflow/pkg/hub/cluster"
	"stellarflow.io/stellarflow/pkg/hub/downsync"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
	"stellarflow.io/stellarflow/pkg/hub/intent"
	"stellarflow.io/stellarflow/pkg/hub/metrics"
	"stellarflow.io/stellarflow/pkg/hub/upsync"
)

// Events on hub copies about intents.
const (
	eventIntentDone    = "IntentDone"
	eventIntentRefused = "IntentRefused"
)

// How long the pods of one retry are deleted in one pass, which the next one goes on with, and how many are listed at once.
const (
	removeWithin = 30 * time.Second
	podsPage     = 500
)

// carried is what a pass found out about the intents of a hub copy.
type carried struct {
	// settled is what is to be written about them, nil for nothing; done and refused are those that it takes away.
	settled       *upsync.Settled
	done, refused []stellarflow.Intent
	// again is true if the WEC copy was changed: it is read again before anything of it is shown.
	again bool
	// failed is why the next one could not be done yet.
	failed error
}

// carryOut does the first intent that is not done yet on the WEC copy. The copy says which was done last, in the same write, so that each
// is done once whoever is asked to do it again.
func (s *Syncer) carryOut(ctx context.Context, c *cluster.Connection, v View, pass upsync.Pass) carried {
	if v.Hub.Annotations[stellarflow.AnnotationIntents] == "" {
		return carried{}
	}
	waiting, err := stellarflow.IntentsOf(v.Hub)
	if err != nil {
		return unreadable(v.Hub, err)
	}
	applied := pass.WECCopy.Metadata.Annotations[stellarflow.AnnotationApplied]
	known := 1 + slices.IndexFunc(waiting, func(i stellarflow.Intent) bool { return string(i.ID) == applied })
	result := carried{done: waiting[:known]}
	left, why := waiting[known:], ""
	if len(left) > 0 && known == 0 { // one at a time: what is done is written before the next
		var no *intent.Refusal
		result.again, err = s.do(ctx, c, left[0], pass)
		switch {
		case errors.As(err, &no):
			counting, rest, spared := stellarflow.CountingOn(left[0], left[1:])
			why = stellarflow.OneLine(refusal(left[0], c.Name, no.Message)+consequence(counting, spared), maxSaid)
			result.refused, left = slices.Concat(left[:1], counting), rest
		case err != nil:
			result.failed = err
			return result
		case result.again:
			return result
		}
	}
	text, err := stellarflow.MarshalIntents(left)
	if err != nil {
		return unreadable(v.Hub, err)
	}
	result.settled = &upsync.Settled{Left: text, Refused: why, Actions: stellarflow.ActionsOf(v.Hub).Add(result.done, result.refused).String()}
	for _, i := range result.done {
		if i.Retry != nil && i.Retry.Arguments != nil {
			result.settled.Arguments = i.Retry.Arguments
		}
	}
	return result
}

// consequence says what a refusal means for what was asked after it of the same step.
func consequence(counting []stellarflow.Intent, spared bool) string {
	var said strings.Builder
	for _, i := range counting {
		_, _ = fmt.Fprintf(&said, "; nor was the %s of the same step that %s asked after it", i.Kind, i.Caller)
	}
	if spared {
		said.WriteString("; the resume that was asked after it leaves this step as it is")
	}
	return said.String()
}

// unreadable takes away intents that admission did not write, and says so.
func unreadable(hubCopy metav1.Object, why error) carried {
	return carried{settled: &upsync.Settled{
		Refused: stellarflow.OneLine(why.Error(), maxSaid), Actions: hubCopy.GetAnnotations()[stellarflow.AnnotationActions],
	}}
}

// refusal is the sentence about an intent that is not done.
func refusal(refused stellarflow.Intent, cluster stellarflow.ClusterName, why string) string {
	return stellarflow.OneLine(fmt.Sprintf("%s asked by %s at %s was not done on cluster %s: %s", refused.Kind, refused.Caller,
		refused.Time.UTC().Format(time.RFC3339), cluster, why), maxSaid)
}

// do does one intent on the WEC copy. It reports whether it was done; a *intent.Refusal says that it never will be.
func (s *Syncer) do(ctx context.Context, c *cluster.Connection, next stellarflow.Intent, pass upsync.Pass) (bool, error) {
	if err := s.stillAsked(ctx, next, pass); err != nil {
		return false, err
	}
	shown, err := "", error(nil)
	if next.Kind == stellarflow.IntentRetry {
		if shown, err = s.Mirrorer.Shown(ctx, pass); err != nil {
			return false, err
		}
	}
	done := s.Mirrorer.Alone(pass.WECCopy)
	effect, err := intent.Apply(next, pass.WECCopy, shown)
	done()
	if err != nil {
		return false, err
	}
	if err := s.removePods(ctx, c, pass.WECCopy, effect.Removed); err != nil {
		return false, definite(err, "delete the pods of the steps that run again")
	}
	read := &metav1.PartialObjectMetadata{ObjectMeta: pass.WECCopy.Metadata}
	written, err := cleanup.Patch(ctx, c.Clients.Metadata, read, effect.Operations)
	switch {
	case errors.Is(err, hubcopy.ErrLostRace): // Argo has written meanwhile; a WEC that always says so is to be tried ever more rarely
		return false, fmt.Errorf("%s of workflow %s: its copy on %q has changed meanwhile", next.Kind, pass.Key, c.Name)
	case err != nil:
		return false, definite(err, "change its copy")
	case written == nil:
		return false, fmt.Errorf("%s of workflow %s: its copy on %q is gone", next.Kind, pass.Key, c.Name)
	case written.Annotations[stellarflow.AnnotationApplied] != string(next.ID):
		return false, &intent.Refusal{Message: "the API server there does not keep annotation " + stellarflow.AnnotationApplied + ", by which it is done only once; it may have been done"}
	}
	return true, s.onWEC(c, pass.Key, read)(written, nil)
}

// stillAsked reads the hub copy live: the cache may show what another process has done by now, or what was taken back. What was asked
// before the hub was restored from a backup may have been done and forgotten.
func (s *Syncer) stillAsked(ctx context.Context, next stellarflow.Intent, pass upsync.Pass) error {
	live, err := s.Hub.Live(ctx, pass.Key)
	if err != nil {
		return err
	}
	if live == nil || !pass.Placement.RecordedOn(live) || live.GetAnnotations()[stellarflow.AnnotationIntents] != pass.HubCopy.Annotations[stellarflow.AnnotationIntents] {
		return fmt.Errorf("workflow %s: %w", pass.Key, hubcopy.ErrLostRace)
	}
	if s.outlived(next) {
		return &intent.Refusal{Message: sayOutlived}
	}
	return nil
}

// sayOutlived is the answer to what may have been done and forgotten.
const sayOutlived = "the hub was restored from a backup since, and it may have been done before; ask again"

// outlived reports whether something was asked before the hub was restored from a backup.
func (s *Syncer) outlived(asked stellarflow.Intent) bool {
	return s.RestoredAt != nil && asked.Time.Before(s.RestoredAt())
}

// definite makes an intent's refusal of what a WEC has refused for good.
func definite(err error, action string) error {
	var no *downsync.Refusal
	if !errors.Is(err, hubcopy.ErrLostRace) && errors.As(downsync.RefusalOf(err, action), &no) {
		return &intent.Refusal{Message: no.Message}
	}
	return err
}

// removePods deletes the pods of nodes that a retry takes away, as Argo's retry does: their names are used again. Only pods that the WEC
// copy itself owns are deleted.
func (s *Syncer) removePods(ctx context.Context, c *cluster.Connection, wecCopy upsync.WECCopy, nodes map[string]bool) error {
	if len(nodes) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, removeWithin)
	defer cancel()
	pods := c.Clients.Metadata.Resource(corev1.SchemeGroupVersion.WithResource("pods")).Namespace(wecCopy.Metadata.Namespace)
	options := metav1.ListOptions{LabelSelector: stellarflow.ArgoLabelWorkflow + "=" + wecCopy.Metadata.Name, Limit: podsPage}
	for {
		page, err := pods.List(ctx, options)
		if err != nil {
			return fmt.Errorf("list the pods of workflow %s/%s: %w", wecCopy.Metadata.Namespace, wecCopy.Metadata.Name, err)
		}
		for i := range page.Items {
			pod := &page.Items[i]
			owned := slices.ContainsFunc(pod.OwnerReferences, func(owner metav1.OwnerReference) bool { return owner.UID == wecCopy.Metadata.UID })
			if !owned || !nodes[pod.Annotations[stellarflow.ArgoAnnotationNodeID]] || pod.DeletionTimestamp != nil {
				continue
			}
			err := pods.Delete(ctx, pod.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(pod.UID))})
			if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
				return fmt.Errorf("delete pod %s/%s: %w", pod.Namespace, pod.Name, err)
			}
		}
		if options.Continue = page.Continue; options.Continue == "" {
			return nil
		}
	}
}

// report says what has become of intents, after that was written.
func (s *Syncer) report(c *cluster.Connection, v View, result carried) {
	for _, done := range result.done {
		s.Metrics.Requested(string(done.Kind), metrics.ResultDone)
		s.Recorder.Eventf(v.Hub, corev1.EventTypeNormal, eventIntentDone, "%s asked by %s was done on cluster %s", done.Kind, done.Caller, c.Name)
	}
	for _, refused := range result.refused {
		s.Metrics.Requested(string(refused.Kind), metrics.ResultRefused)
	}
	if result.settled != nil && result.settled.Refused != "" {
		s.Recorder.Eventf(v.Hub, corev1.EventTypeWarning, eventIntentRefused, "%s", result.settled.Refused)
	}
}
