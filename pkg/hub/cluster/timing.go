package cluster

import (
	"time"

	"stellarflow.io/stellarflow/pkg/wec"
)

// Timing is how often and how long a connection tries. The zero value of each is the one of DefaultTiming.
type Timing struct {
	// Lease is how the Lease on the WEC is kept.
	Lease wec.LeaseTiming
	// Probe is the time between two probes that succeed. After one that failed the next comes after a tenth of it, then twice
	// that and so on up to three times Probe, each with jitter.
	Probe time.Duration
	// List is how long the first list of a watch may take the first time; each time that it takes longer it gets twice that, up
	// to ten times List. A WEC that answers probes but not lists is not connected.
	List time.Duration
}

// DefaultTiming returns the times outside tests.
func DefaultTiming() Timing {
	return Timing{Lease: wec.DefaultLeaseTiming(), Probe: 10 * time.Second, List: time.Minute}
}

func (t Timing) orDefault() Timing {
	known := DefaultTiming()
	if t.Lease == (wec.LeaseTiming{}) {
		t.Lease = known.Lease
	}
	if t.Probe == 0 {
		t.Probe = known.Probe
	}
	if t.List == 0 {
		t.List = known.List
	}
	return t
}

func (t Timing) firstRetry() time.Duration { return t.Probe / 10 }

func (t Timing) lastRetry() time.Duration { return 3 * t.Probe }

// longer returns how long a list may take after one that took too long.
func (t Timing) longer(last time.Duration) time.Duration { return min(2*last, 10*t.List) }
