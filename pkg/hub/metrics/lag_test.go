package metrics

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

func TestLag(t *testing.T) {
	key, other := types.NamespacedName{Namespace: "argo", Name: "a"}, types.NamespacedName{Namespace: "argo", Name: "b"}
	const never = time.Duration(-1)
	cases := map[string]struct {
		reason string
		steps  string // c: the key changes, o: the other does, b: a pass over the key begins, e: it ends. A second goes by before each.
		oldest time.Duration
		seen   time.Duration // what the last end returned
	}{
		"Nothing":    {"no change, no lag", "", never, never},
		"Changed":    {"from the change on", "c", 1, never},
		"Twice":      {"the first one counts", "cc", 1, never},
		"Passing":    {"not there before the pass ends", "cb", 1, never},
		"Done":       {"the pass has read after the change", "cbe", never, 1},
		"Meanwhile":  {"a change during a pass may have come after its read", "cbce", 3, 1},
		"Several":    {"the first of them counts", "cbcce", 3, 1},
		"Next":       {"the next pass shows it", "cbcebe", never, 3},
		"Failed":     {"a pass that does not end leaves it waiting", "cbb", 1, never},
		"Again":      {"what came during a failed pass is older than the next one's read", "cbcbe", never, 1},
		"NoPass":     {"an end without a begin shows nothing", "ce", 1, never},
		"Unprovoked": {"a pass without a change has nothing to end", "be", never, never},
		"Other":      {"the oldest of all keys", "ocbe", 1, 2},
		"Later":      {"the oldest of all keys", "cobe", 2, 1},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var lag Lag
			var seen time.Time
			for i, step := range strings.Split(tc.steps, "") {
				now := at(time.Duration(i+1) * time.Second)
				switch step {
				case "c":
					lag.Changed(key, now)
				case "o":
					lag.Changed(other, now)
				case "b":
					lag.Begin(key)
				case "e":
					seen = lag.End(key)
				}
			}
			if got := lag.Oldest(); got != when(tc.oldest, never) {
				t.Errorf("%s: the oldest is %s, want second %d", tc.reason, got, tc.oldest)
			}
			if seen != when(tc.seen, never) {
				t.Errorf("%s: the last end returned %s, want second %d", tc.reason, seen, tc.seen)
			}
		})
	}
}

// when is a time of a case; its durations are plain numbers of seconds.
func when(second, never time.Duration) time.Time {
	if second == never {
		return time.Time{}
	}
	return at(second * time.Second)
}

func TestArrivals(t *testing.T) {
	cases := map[string]struct {
		reason string
		steps  string // a: something asks for a look, l: a look is over, f: forgotten. A second goes by before each.
		since  time.Duration
	}{
		"Unknown":  {"never heard of", "", 0},
		"New":      {"from the first event", "a", 1},
		"Queued":   {"further events do not make its waiting shorter", "aaa", 1},
		"Looked":   {"until something asks again the last reason stands", "al", 1},
		"Waited":   {"what let it be placed counts, not how long it waited", "ala", 3},
		"Twice":    {"each time", "alalaa", 5},
		"Placed":   {"nothing is kept", "af", 0},
		"Untimely": {"a look at what nobody asked for", "l", 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var a arrivals
			for i, step := range strings.Split(tc.steps, "") {
				switch step {
				case "a":
					a.arrived("uid", at(time.Duration(i+1)*time.Second))
				case "l":
					a.looked("uid")
				case "f":
					a.forget("uid")
				}
			}
			if got := a.since("uid"); got != when(tc.since, 0) {
				t.Errorf("%s: since %s, want second %d", tc.reason, got, tc.since)
			}
			if strings.HasSuffix(tc.steps, "f") && len(a.byID) > 0 {
				t.Errorf("%s: it is remembered for ever", tc.reason)
			}
		})
	}
}
