package guard

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
)

// Write is a person's update of a Workflow on the hub.
type Write struct {
	// Old and New are the Workflow as it is stored and as it would be.
	Old, New *unstructured.Unstructured
	// ID is that of the admission request, Caller its user.
	ID     types.UID
	Caller string
	Time   time.Time
	// Profile is the hub's.
	Profile stellarflow.Profile
}

// follows reports whether spec.suspend may be what a person writes: on a dedicated hub, which knows by the annotation which it is.
func (w Write) follows() bool {
	return w.Profile == stellarflow.ProfileDedicated && stellarflow.FollowsWECCopy(w.Old)
}

// Decision is the answer to a Write.
type Decision struct {
	// Refusal says why it is refused, empty if it is not.
	Refusal string
	// Operations change the new Workflow into what is stored; none for what is stored as it is.
	Operations []hubcopy.Operation
	// Kind is that of the intent that the write means, empty if it means none.
	Kind stellarflow.IntentKind
}

// Decide decides about a write. What is not placed passes: it is none of ours.
func Decide(w Write) Decision {
	placement, placed := stellarflow.PlacementOf(w.Old)
	if !placed || stellarflow.Abandoned(w.Old) || w.stale() {
		return Decision{}
	}
	if asked := w.New.GetAnnotations()[stellarflow.AnnotationIntents]; asked != "" && asked != w.Old.GetAnnotations()[stellarflow.AnnotationIntents] {
		return refused("", "annotation %s is written by admission only: take it away to take back what was not done yet, or leave it as it is", stellarflow.AnnotationIntents)
	}
	intent, restore, err := w.meaning(placement)
	switch {
	case err != nil:
		return refused(intent.Kind, "this Workflow runs on cluster %s and its status is mirrored from there: %s", placement.Cluster, err)
	case !sameSpec(w.Old, w.New, intent.Kind == stellarflow.IntentRetry):
		return refused(intent.Kind, "this Workflow was sent to cluster %s as it was, and a change of its spec has no effect there: resubmit it with the change (argo resubmit, or create it again under another name)", placement.Cluster)
	case intent.Kind == "":
		return Decision{Operations: restore}
	case w.Old.GetDeletionTimestamp() != nil:
		return refused(intent.Kind, "this Workflow is being deleted")
	}
	return w.queue(intent, placement, restore)
}

// stale reports whether the API server will answer Conflict, which it does after admission: Argo's programs then read again, as they do after no
// other refusal.
func (w Write) stale() bool {
	version := w.New.GetResourceVersion()
	order, err := resourceversion.CompareResourceVersion(version, w.Old.GetResourceVersion()) // as the API server does: as numbers
	return version != "" && err == nil && order != 0
}

func refused(kind stellarflow.IntentKind, format string, args ...any) Decision {
	return Decision{Kind: kind, Refusal: fmt.Sprintf(format, args...)}
}

// queue adds an intent to those that wait. What MarshalIntents did not write does not count, and is gone with this.
func (w Write) queue(intent stellarflow.Intent, placement stellarflow.Placement, operations []hubcopy.Operation) Decision {
	intent.ID, intent.Caller, intent.Time = w.ID, w.Caller, w.Time.UTC().Truncate(time.Second)
	intent.WECUID = placement.WECUID
	waiting, err := stellarflow.IntentsOf(w.Old)
	if err != nil || len(w.New.GetAnnotations()[stellarflow.AnnotationIntents]) == 0 {
		waiting = nil
	}
	text, err := stellarflow.MarshalIntents(stellarflow.Queue(waiting, intent))
	if err != nil {
		if _, alone := stellarflow.MarshalIntents([]stellarflow.Intent{intent}); alone != nil {
			return refused(intent.Kind, "this %s is about so many steps that it cannot be passed on: do it on cluster %s", intent.Kind, placement.Cluster)
		}
		return refused(intent.Kind, "%s: wait until its cluster %s has done what it was asked, or act there", err, placement.Cluster)
	}
	operations = append(operations, hubcopy.Add(text, "metadata", "annotations", stellarflow.AnnotationIntents))
	if _, said := w.New.GetAnnotations()[stellarflow.AnnotationRefused]; said {
		operations = append(operations, hubcopy.Remove("metadata", "annotations", stellarflow.AnnotationRefused))
	}
	return Decision{Kind: intent.Kind, Operations: operations}
}

// meaning returns what a write means, with an empty kind if that is nothing for the WEC, and what of it has to be put back.
func (w Write) meaning(placement stellarflow.Placement) (stellarflow.Intent, []hubcopy.Operation, error) {
	ended := stellarflow.Completed(w.Old)
	var restore []hubcopy.Operation
	if raw, found := w.Old.Object["status"]; found {
		restore = append(restore, hubcopy.Add(raw, "status"))
	}
	lifted := stellarflow.Suspended(w.Old) && !stellarflow.Suspended(w.New)
	restore = append(restore, w.suspension(lifted)...)
	if w.requests() || !stellarflow.Suspended(w.Old) && stellarflow.Suspended(w.New) && stellarflow.FollowsWECCopy(w.Old) {
		return w.held(ended, restore)
	}
	if _, found := w.New.Object["status"]; !found && !lifted { // PUT of a manifest
		return stellarflow.Intent{}, restore, nil
	}
	old, errOld := statusOf(w.Old)
	next, err := statusOf(w.New)
	if err := errors.Join(errOld, err); err != nil {
		return stellarflow.Intent{}, nil, err
	}
	switch {
	case ended && lifted:
		return stellarflow.Intent{Kind: stellarflow.IntentResume}, nil, fmt.Errorf("it has ended, and cannot be resumed; argo retry runs its failed steps again")
	case ended && equal(old, next):
		return stellarflow.Intent{}, restore, nil
	case ended:
		return w.retried(old, next, restore)
	}
	return w.acted(old, next, lifted, restore, placement)
}

// requests reports whether a suspension is asked for with our own annotation.
func (w Write) requests() bool {
	return w.New.GetAnnotations()[stellarflow.AnnotationRequest] == stellarflow.RequestSuspend
}

// held returns the intent of a write that asks for a suspension: with our annotation, or, on a dedicated hub, with spec.suspend and nothing
// else, as Argo's programs and kubectl do.
func (w Write) held(ended bool, restore []hubcopy.Operation) (stellarflow.Intent, []hubcopy.Operation, error) {
	intent := stellarflow.Intent{Kind: stellarflow.IntentSuspend}
	if ended {
		return intent, nil, errors.New("it has ended, and cannot be suspended")
	}
	if w.requests() {
		return intent, append(restore, hubcopy.Remove("metadata", "annotations", stellarflow.AnnotationRequest), hubcopy.Add(true, "spec", "suspend")), nil
	}
	if _, found := w.New.Object["status"]; !found { // PUT of a manifest
		return intent, restore, nil
	}
	old, errOld := statusOf(w.Old)
	next, err := statusOf(w.New)
	if err := errors.Join(errOld, err); err != nil {
		return intent, nil, err
	}
	if !equal(old, next) {
		return intent, nil, errNoAction
	}
	return intent, restore, nil
}

// suspension returns what of spec.suspend has to be put back. What a person writes on a dedicated hub stays until the cluster has done it
// or refuses: Argo's tools read there what the next action of theirs is for. What was asked and is taken back goes.
func (w Write) suspension(lifted bool) []hubcopy.Operation {
	takenBack := len(w.Old.GetAnnotations()[stellarflow.AnnotationIntents]) > 0 && len(w.New.GetAnnotations()[stellarflow.AnnotationIntents]) == 0
	switch {
	case lifted && !w.follows():
		return []hubcopy.Operation{hubcopy.Add(true, "spec", "suspend")}
	case takenBack && w.follows() && stellarflow.Suspended(w.Old) == stellarflow.Suspended(w.New):
		return []hubcopy.Operation{hubcopy.Add(w.Old.GetAnnotations()[stellarflow.AnnotationSuspended] == "true", "spec", "suspend")}
	}
	return nil
}

// sameSpec reports whether two specs mean the same to Argo's programs, but for what this hub itself goes by, and for what a retry changes.
func sameSpec(old, next *unstructured.Unstructured, retry bool) bool {
	before, errBefore := specOf(old, retry)
	after, errAfter := specOf(next, retry)
	if errBefore != nil || errAfter != nil {
		return equal(old.Object["spec"], next.Object["spec"])
	}
	return equal(before, after)
}

func specOf(workflow *unstructured.Unstructured, retry bool) (v1alpha1.WorkflowSpec, error) {
	var spec v1alpha1.WorkflowSpec
	raw, err := json.Marshal(workflow.Object["spec"])
	if err == nil {
		err = json.Unmarshal(raw, &spec)
	}
	spec.Suspend, spec.Shutdown, spec.TTLStrategy = nil, "", nil
	if retry {
		spec.Arguments = v1alpha1.Arguments{}
		if spec.ActiveDeadlineSeconds != nil && *spec.ActiveDeadlineSeconds == 0 {
			spec.ActiveDeadlineSeconds = nil
		}
	}
	return spec, err
}

// equal reports whether two values are the same JSON.
func equal(a, b any) bool {
	first, errFirst := json.Marshal(a)
	second, errSecond := json.Marshal(b)
	return errFirst == nil && errSecond == nil && bytes.Equal(first, second)
}
