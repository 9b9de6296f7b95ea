package hub

import (
	"strings"
	"testing"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"
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
}
