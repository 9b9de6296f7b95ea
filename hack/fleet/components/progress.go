package components

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// heartbeat is how often a long build says that it is still at work. A variable for tests.
var heartbeat = 30 * time.Second

// step is one line of progress: what is built, which number of how many.
type step struct {
	out      io.Writer
	now      func() time.Time
	number   int
	total    int
	title    string        // "kubelet v1.34.4"
	estimate time.Duration // of a cold build on two cores
	left     time.Duration // of the steps after this one
}

// run says that the step begins, calls build, says every heartbeat that it is still running, and how it ended.
func (s step) run(build func() error) error {
	started := s.now()
	head := fmt.Sprintf("[%d/%d] building %s (about %s)", s.number, s.total, s.title, about(s.estimate))
	fmt.Fprintf(s.out, "%s ...", head)

	var mu sync.Mutex
	broken := false // the line was ended by a heartbeat
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(heartbeat)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				mu.Lock()
				if !broken {
					fmt.Fprintln(s.out)
				}
				broken = true
				fmt.Fprintf(s.out, "        still building %s, %s so far%s\n", s.title, exact(s.now().Sub(started)), s.remaining(s.now().Sub(started)))
				mu.Unlock()
			}
		}
	}()
	err := build()
	close(stop)
	<-stopped

	if broken {
		fmt.Fprintf(s.out, "[%d/%d] %s ...", s.number, s.total, s.title)
	}
	if err != nil {
		fmt.Fprintf(s.out, " failed after %s\n", exact(s.now().Sub(started)))
		return fmt.Errorf("build %s: %w", s.title, err)
	}
	fmt.Fprintf(s.out, " done in %s\n", exact(s.now().Sub(started)))
	return nil
}

// remaining estimates how long everything that is still to be built takes.
func (s step) remaining(spent time.Duration) string {
	left := s.left + max(s.estimate-spent, 0)
	if left < 10*time.Second {
		return ""
	}
	return ", about " + about(left) + " left in all"
}

// about renders an estimate coarsely: it is one.
func about(d time.Duration) string {
	switch {
	case d < 90*time.Second:
		return fmt.Sprintf("%d s", max(int(d.Seconds()+2.5)/5*5, 5))
	default:
		return fmt.Sprintf("%d min", int(d.Minutes()+0.5))
	}
}

// exact renders a measured time.
func exact(d time.Duration) string {
	seconds := int(d.Seconds() + 0.5)
	if seconds < 60 {
		return fmt.Sprintf("%d s", seconds)
	}
	return fmt.Sprintf("%d min %d s", seconds/60, seconds%60)
}
