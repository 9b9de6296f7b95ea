package lifecycle

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
	"stellarflow.io/stellarflow/pkg/hub/hubcopy"
)

// TestTriedKeys tries to write one note several times: how a try ends depends on those before it.
func TestTriedKeys(t *testing.T) {
	type try struct {
		note  string
		ended bool
		// keeps is the note that the WEC answers, empty if the WEC copy is gone; err what it answers else.
		keeps string
		err   error
		// wait, done and why are how it ends; rests whether the same note is not tried again after the end.
		wait  time.Duration
		done  bool
		why   string
		rests bool
	}
	raced := fmt.Errorf("workflow x: %w", hubcopy.ErrLostRace)
	forbidden := apierrors.NewForbidden(stellarflow.Workflows.GroupResource(), "x", errors.New("nothing is red here"))
	broken := &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Message: "a webhook is down"}}
	cases := map[string]struct {
		reason string
		tries  []try
	}{
		"Taken":     {"it is read again at once", []try{{note: "a", keeps: "a", wait: retryRefused, done: true}}},
		"Gone":      {"the watch will show it", []try{{note: "a", wait: retryRefused}}},
		"Refused":   {"in the words of the WEC, each time", []try{{note: "a", err: forbidden, wait: retryRefused, why: "nothing is red here"}, {note: "a", err: forbidden, wait: retryRefused, why: "nothing is red here"}}},
		"Broken":    {"an answer that is no refusal is one here", []try{{note: "a", err: broken, wait: retryRefused, why: "a webhook is down"}}},
		"Silent":    {"nor does it hold a worker for ten seconds every second", []try{{note: "a", err: errors.New("context deadline exceeded"), wait: retryRefused, why: "deadline exceeded"}}},
		"Forgotten": {"the note is not kept", []try{{note: "a", keeps: "b", wait: retryRefused, why: "does not keep annotation stellarflow.io/passed-on"}}},
		"Undone": {"once it was taken and is not there any more, it is said until it is", []try{
			{note: "a", keeps: "a", wait: retryRefused, done: true},
			{note: "a", keeps: "a", wait: retryRefused, done: true, why: "somebody there undoes it"},
			{note: "a", keeps: "a", wait: retryRefused, done: true, why: "somebody there undoes it"},
			{note: "b", keeps: "b", wait: retryRefused, done: true},
		}},
		"Raced": {"ever more rarely, and from the start for another change", []try{
			{note: "a", err: raced, wait: time.Second},
			{note: "a", err: raced, wait: 2 * time.Second},
			{note: "a", err: raced, wait: 4 * time.Second},
			{note: "a", err: raced, wait: 8 * time.Second},
			{note: "a", err: raced, wait: 16 * time.Second},
			{note: "a", err: raced, wait: retryRefused},
			{note: "a", err: raced, wait: retryRefused},
			{note: "b", err: raced, wait: time.Second},
		}},
		"RacedTheEnd": {"the write that won was the end: it is tried once more", []try{
			{note: "a", err: raced, wait: time.Second},
			{note: "a", ended: true, err: raced, wait: 2 * time.Second},
			{note: "a", ended: true, err: forbidden, wait: retryRefused, why: "nothing is red here", rests: true},
		}},
		"RefusedBeforeTheEnd": {"another admission may hold for what has ended", []try{
			{note: "a", err: forbidden, wait: retryRefused, why: "nothing is red here"}, {note: "a", ended: true, keeps: "a", wait: retryRefused, done: true, rests: true},
		}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var tried TriedKeys
			for i, one := range tc.tries {
				read := &metav1.PartialObjectMetadata{}
				if one.ended {
					read.Labels = map[string]string{stellarflow.ArgoLabelCompleted: "true"}
				}
				var written *metav1.PartialObjectMetadata
				if one.keeps != "" {
					written = &metav1.PartialObjectMetadata{}
					written.Annotations = map[string]string{stellarflow.AnnotationPassedOn: one.keeps}
				}
				outcome, why := tried.next(one.note, read, written, one.err, now)
				if outcome.Note != one.note || outcome.Until.Sub(now) != one.wait || outcome.Done != one.done || outcome.Ended != one.rests ||
					!strings.Contains(why, one.why) || (why == "") != (one.why == "") {
					t.Errorf("%s: try %d: %+v, %q", tc.reason, i, outcome, why)
				}
				tried = outcome
			}
		})
	}
}
