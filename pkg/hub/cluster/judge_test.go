package cluster

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"stellarflow.io/stellarflow/pkg/wec"
)

func TestJudge(t *testing.T) {
	facts := wec.Facts{ID: "id-1", Version: "v1.34.4"}
	held := wec.LeaseState{Since: start}
	elsewhere := wec.LeaseState{Trouble: &wec.Trouble{Reason: wec.ReasonHeldElsewhere, Message: "another"}}
	skew := &wec.Trouble{Reason: wec.ReasonClockSkew, Message: "clock"}
	changed := &wec.Trouble{Reason: wec.ReasonChanged, Message: "changed"}
	away := &wec.Trouble{Reason: wec.ReasonUnreachable, Message: "away"}
	up := State{Name: "c", Connected: true, Tried: true, Facts: facts, LeaseSince: start}
	fresh := State{Name: "c", Reason: wec.ReasonConnecting}
	down := State{Name: "c", Tried: true, Reason: wec.ReasonUnreachable, Message: "away", Facts: facts}
	said := func(reason, message string, since time.Time) State {
		return State{Name: "c", Tried: true, Reason: reason, Message: message, Facts: facts, LeaseSince: since}
	}
	skewed := up
	skewed.Reason, skewed.Message = skew.Reason, skew.Message
	cases := map[string]struct {
		reason string
		found  findings
		last   State
		want   State // the zero value: nothing new is known
	}{
		"Start":          {"nothing was asked yet", findings{lease: held, listed: true}, fresh, State{}},
		"Good":           {"all three", findings{probed: true, facts: facts, lease: held, listed: true}, fresh, up},
		"NoLeaseYet":     {"the Lease is being asked for", findings{probed: true, facts: facts, listed: true}, fresh, State{}},
		"NoListYet":      {"the first list is under way", findings{probed: true, facts: facts, lease: held}, fresh, State{}},
		"BackNoListYet":  {"what was said stands until it is better", findings{probed: true, facts: facts, lease: held}, down, State{}},
		"Away":           {"no answer: the last facts stand", findings{probed: true, err: away, lease: held, listed: true}, up, said(wec.ReasonUnreachable, "away", start)},
		"Odd":            {"an error that is no trouble", findings{probed: true, facts: facts, err: errors.New("odd"), lease: held, listed: true}, up, said(wec.ReasonUnreachable, "odd", start)},
		"Skewed":         {"a wrong clock is no outage", findings{probed: true, facts: facts, err: skew, lease: held, listed: true}, fresh, skewed},
		"SkewedNoLease":  {"nor a right to act", findings{probed: true, facts: facts, err: skew, lease: elsewhere, listed: true}, up, said(wec.ReasonHeldElsewhere, "another", time.Time{})},
		"Changed":        {"the facts of another cluster are not this one's", findings{probed: true, facts: wec.Facts{ID: "id-2"}, err: changed, listed: true}, up, said(wec.ReasonChanged, "changed", time.Time{})},
		"HeldElsewhere":  {"two hub managers", findings{probed: true, facts: facts, lease: elsewhere, listed: true}, fresh, said(wec.ReasonHeldElsewhere, "another", time.Time{})},
		"AwayAndNotHeld": {"an outage explains the rest", findings{probed: true, facts: facts, err: away, lease: elsewhere, listed: true}, up, said(wec.ReasonUnreachable, "away", time.Time{})},
		"LeaseRanOut":    {"it must not go on, whatever the reason", findings{probed: true, facts: facts, listed: true}, up, said(wec.ReasonConnecting, messageLease, time.Time{})},
		"Unlisted":       {"it answers probes, not lists", findings{probed: true, facts: facts, lease: held, listed: true, unlisted: messageList}, up, said(wec.ReasonUnreachable, messageList, start)},
		"ListedBefore":   {"a watch that failed is replaced without a word", findings{probed: true, facts: facts, lease: held, listed: true}, up, up},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, known := judge(tc.found, tc.last)
			if known == cmp.Equal(tc.want, State{}) {
				t.Fatalf("%s: known is %v: %+v", tc.reason, known, got)
			}
			if !known {
				return
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s, -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}

// TestUnlisted: a cluster that has more than is kept is told so, whatever else may be slow.
func TestUnlisted(t *testing.T) {
	large := &wec.TooLargeError{Cluster: "edge", Request: "WATCH /apis/argoproj.io/v1alpha1/workflows", Limit: wec.MaxKept, Kept: true}
	for reason, tc := range map[string]struct {
		err  error
		want string
	}{
		"nothing failed":          {nil, messageList},
		"something failed":        {errors.New("odd"), messageList},
		"there is more than fits": {fmt.Errorf("failed to list: %w", large), large.Error()},
	} {
		if got := unlisted(tc.err); got != tc.want {
			t.Errorf("%s: unlisted() = %s, want %s", reason, got, tc.want)
		}
	}
}

func TestTiming(t *testing.T) {
	timing := Timing{}.orDefault()
	if diff := cmp.Diff(DefaultTiming(), timing); diff != "" {
		t.Errorf("the zero value, -want +got:\n%s", diff)
	}
	if timing.firstRetry() != time.Second || timing.lastRetry() != 30*time.Second {
		t.Errorf("after a failed probe the next comes after %s to %s", timing.firstRetry(), timing.lastRetry())
	}
	var got []time.Duration
	for next := timing.List; len(got) < 6; next = timing.longer(next) {
		got = append(got, next/time.Minute)
	}
	if diff := cmp.Diff([]time.Duration{1, 2, 4, 8, 10, 10}, got); diff != "" {
		t.Errorf("minutes that a list may take, -want +got:\n%s", diff)
	}
	if l := timing.Lease; l.Duration <= l.Deadline || l.Deadline < 2*l.Retry {
		t.Errorf("a Lease of %+v can be another's while writes go on", l)
	}
}
