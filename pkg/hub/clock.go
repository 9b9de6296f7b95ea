package hub

import (
	"net/http"
	"sync/atomic"
	"time"

	"stellarflow.io/stellarflow/pkg/wec"
)

// clock measures how far the clock of the hub's API server, by which the times of creations and deletions are written, is from this process's.
type clock struct {
	now  func() time.Time
	skew atomic.Int64
}

// Skew returns what the last answer showed, positive if the API server is ahead; a second more or less.
func (c *clock) Skew() time.Duration { return time.Duration(c.skew.Load()) }

// Now returns the time of the API server.
func (c *clock) Now() time.Time { return c.now().Add(c.Skew()) }

// quick is how long an answer may take by which the clocks are compared.
const quick = time.Second

// wrap looks at the Date header of every answer that comes at once.
func (c *clock) wrap(next http.RoundTripper) http.RoundTripper {
	return transportFunc(func(r *http.Request) (*http.Response, error) {
		sent := c.now()
		response, err := next.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		received := c.now()
		if date, err := http.ParseTime(response.Header.Get("Date")); err == nil && received.Sub(sent) < quick {
			c.skew.Store(int64(wec.Skew(date, sent, received)))
		}
		return response, nil
	})
}

type transportFunc func(*http.Request) (*http.Response, error)

// RoundTrip calls the function.
func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
