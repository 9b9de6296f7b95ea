package hub

import (
	"net/http"
	"sync/atomic"
	"time"

	"stellarflow.io/stellarflow/pkg/wec"
)

// clock measures how far the clock of the hub's API server, which creation times are written by, is from this process's.
type clock struct {
	now  func() time.Time
	skew atomic.Int64
}

// Skew returns what the last answer showed, positive if the API server is ahead; a second more or less.
func (c *clock) Skew() time.Duration { return time.Duration(c.skew.Load()) }

// wrap looks at the Date header of every answer.
func (c *clock) wrap(next http.RoundTripper) http.RoundTripper {
	return transportFunc(func(r *http.Request) (*http.Response, error) {
		sent := c.now()
		response, err := next.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
			c.skew.Store(int64(wec.Skew(date, sent, c.now())))
		}
		return response, nil
	})
}

type transportFunc func(*http.Request) (*http.Response, error)

// RoundTrip calls the function.
func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
