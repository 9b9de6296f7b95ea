package heartbeat

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestStuck(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(minute int) time.Time { return begin.Add(time.Duration(minute) * time.Minute) }
	cases := map[string]struct {
		reason string
		work   func(*Beats)
		want   []string
	}{
		"Idle":  {"a process without work is well", func(*Beats) {}, []string{}},
		"Ended": {"what has ended is no trouble, however long it took", func(b *Beats) { b.Begin("probe", at(0))() }, []string{}},
		"Young": {"it may still end by itself", func(b *Beats) { b.Begin("probe", at(1)) }, []string{}},
		"Late":  {"nothing takes this long", func(b *Beats) { b.Begin("probe", at(0)) }, []string{"probe, since 2026-01-01T00:00:00Z"}},
		"Several": {"the oldest first: the others may wait for it", func(b *Beats) {
			b.Begin("pass", at(0))
			b.Begin("pass", at(-2))
			b.Begin("probe", at(-1))()
			b.Begin("placement", at(5))
		}, []string{"pass, since 2025-12-31T23:58:00Z", "pass, since 2026-01-01T00:00:00Z"}},
		"Twice": {"an end is for one beginning", func(b *Beats) {
			b.Begin("pass", at(0))
			end := b.Begin("pass", at(0))
			end()
			end()
		}, []string{"pass, since 2026-01-01T00:00:00Z"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var b Beats
			tc.work(&b)
			if diff := cmp.Diff(tc.want, b.Stuck(at(11), Limit)); diff != "" {
				t.Errorf("%s: -want +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestNoBeats(t *testing.T) {
	var none *Beats
	none.Begin("pass", time.Time{})()
	if stuck := none.Stuck(time.Time{}.Add(time.Hour), Limit); stuck != nil {
		t.Errorf("who knows nothing says %v", stuck)
	}
}
