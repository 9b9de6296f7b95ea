package hub

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"
	testingclock "k8s.io/utils/clock/testing"
)

func TestShorten(t *testing.T) {
	cases := map[string]struct {
		reason string
		note   string
		want   string
	}{
		"Short":   {"as it is", "placed on cluster1", "placed on cluster1"},
		"Empty":   {"as it is", "", ""},
		"Longest": {"1024 bytes are taken", strings.Repeat("a", 1024), strings.Repeat("a", 1024)},
		"Longer":  {"one more is not", strings.Repeat("a", 1025), strings.Repeat("a", 1021) + "..."},
		"Runes":   {"no letter is cut in two: the API server refuses what is no UTF-8", strings.Repeat("ü", 600), strings.Repeat("ü", 510) + "..."},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := shorten(tc.note)
			if got != tc.want || len(got) > maxNote || !utf8.ValidString(got) {
				t.Errorf("%s: shorten() = %q of %d bytes", tc.reason, got, len(got))
			}
		})
	}
}

// notes records what an event recorder was given.
type notes struct {
	record.EventRecorder
	last string
}

func (n *notes) Event(_ runtime.Object, _, _, message string) { n.last = message }

func TestRecorder(t *testing.T) {
	n := &notes{}
	recorder{n}.Eventf(&corev1.Pod{}, corev1.EventTypeNormal, "Reason", "what %s said: %s", "cluster1", strings.Repeat("100% ", 500))
	if !strings.HasPrefix(n.last, "what cluster1 said: 100% 100%") || len(n.last) != maxNote {
		t.Errorf("the note is %q of %d bytes: a percent sign of a cluster's is no verb", n.last, len(n.last))
	}
	recorder{n}.Event(&corev1.Pod{}, corev1.EventTypeNormal, "Reason", strings.Repeat("100% ", 500))
	if !strings.HasPrefix(n.last, "100% 100%") || len(n.last) != maxNote {
		t.Errorf("the note is %q of %d bytes: it is cut whoever made it", n.last, len(n.last))
	}
}

// TestCorrelation: what is said of each of a Workflow's pods is kept, in its own words as far as people read, and there is an end to it.
func TestCorrelation(t *testing.T) {
	options := correlation()
	clock := testingclock.NewFakePassiveClock(time.Unix(1_700_000_000, 0))
	options.Clock = clock
	correlator := record.NewEventCorrelatorWithOptions(options)
	say := func(eventType, reason, message string) (kept, own bool) {
		t.Helper()
		result, err := correlator.EventCorrelate(&corev1.Event{
			InvolvedObject: corev1.ObjectReference{Kind: "Workflow", Name: "hello", UID: "u"}, Type: eventType, Reason: reason, Message: message, Count: 1,
		})
		if err != nil {
			t.Fatal(err)
		}
		return !result.Skip, !result.Skip && result.Event.Message == message
	}
	count := func(eventType, reason string, n int) (kept, own int) {
		for i := range n {
			one, its := say(eventType, reason, fmt.Sprintf("pod hello-%d is deleted", i))
			if one {
				kept++
			}
			if its {
				own++
			}
		}
		return kept, own
	}
	if kept, own := count(corev1.EventTypeNormal, "PodDeletedOnCluster", 60); kept != 60 || own != 60 {
		t.Errorf("of 60 events %d are kept, %d in their own words", kept, own)
	}
	if kept, own := count(corev1.EventTypeWarning, "PodNotDeleted", 2*maxNamed); kept != 2*maxNamed || own != maxNamed {
		t.Errorf("of %d events %d are kept, %d in their own words", 2*maxNamed, kept, own)
	}
	if kept, own := say(corev1.EventTypeWarning, "ClusterUnreachable", "cluster1 is away"); !kept || !own {
		t.Error("other warnings are lost")
	}
	if kept, _ := count(corev1.EventTypeWarning, "PodNotDeleted", 2*maxBurst); kept != maxBurst-2*maxNamed-1 {
		t.Errorf("there is no end to it: %d are kept", kept)
	}
	clock.SetTime(clock.Now().Add(11 * time.Minute))
	if kept, own := say(corev1.EventTypeWarning, "PodNotDeleted", "pod hello-x is deleted"); !kept || !own {
		t.Error("nothing is kept later")
	}
}
