package hub

import (
	"net/http"
	"testing"
	"time"
)

func TestClock(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 500_000_000, time.UTC)
	for name, tc := range map[string]struct {
		reason string
		date   string
		want   time.Duration
	}{
		"Same":   {"the header is cut to the second", "Wed, 04 Mar 2026 05:06:07 GMT", 0},
		"Ahead":  {"an hour", "Wed, 04 Mar 2026 06:06:08 GMT", time.Hour},
		"Behind": {"an hour", "Wed, 04 Mar 2026 04:06:07 GMT", -time.Hour},
		"None":   {"what was measured last stays", "", time.Minute},
		"NoDate": {"somebody's words", "yesterday", time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			c := &clock{now: func() time.Time { return now }}
			c.skew.Store(int64(time.Minute))
			response, err := c.wrap(transportFunc(func(*http.Request) (*http.Response, error) {
				return &http.Response{Header: http.Header{"Date": {tc.date}}, Body: http.NoBody}, nil
			})).RoundTrip(&http.Request{})
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			if got := c.Skew(); got != tc.want {
				t.Errorf("%s: %s, want %s", tc.reason, got, tc.want)
			}
		})
	}
}

// TestClockOfASlowAnswer: it says little of when it was written.
func TestClockOfASlowAnswer(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	c := &clock{now: func() time.Time { return now }}
	c.skew.Store(int64(-time.Minute))
	response, err := c.wrap(transportFunc(func(*http.Request) (*http.Response, error) {
		now = now.Add(quick)
		return &http.Response{Header: http.Header{"Date": {now.Format(http.TimeFormat)}}, Body: http.NoBody}, nil
	})).RoundTrip(&http.Request{})
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if got := c.Now(); !got.Equal(now.Add(-time.Minute)) {
		t.Errorf("it is %s", got)
	}
}
