package e2e

import (
	"fmt"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"
)

// suite is a part of TestFleet.
type suite struct {
	name string
	run  func(*testing.T, *fleet)
}

// shared are the suites that run side by side, a few at a time in about this order: the longest first, so that none is left alone at the end.
var shared = []suite{
	{"truth", testTruth},
	{"dependencies", testDependencies},
	{"live-logs", testLiveLogs},
	{"cron", testCron},
	{"move", testMove},
	{"entry", testEntry},
	{"actions", testActions},
	{"ui", testUI},
	{"beside", testBeside},
	{"samples", testSamples},
	{"every-event", testEveryEvent},
	{"guard", testGuard},
	{"both-clusters", testBothClusters},
	{"shutdown", testShutdown},
	{"waiting", testWaiting},
	{"delete", testDelete},
	{"argo-server", testArgoServer},
	{"artifacts", testArtifacts},
	{"planted", testPlanted},
	{"local", testLocal},
	{"untagged", testUntagged},
}

// alone are suites that disturb the fleet: they run after the others, one by one, in this order.
var alone = []suite{
	{"streams", testStreams},
	{"archive", testArchive},
	{"dedicated", testDedicated}, // takes the direct runs of truth
	{"escapes", testEscapes},
	{"leave", testLeave},
	{"upgrade", testUpgrade},
	{"definitions", testDefinitions},
}

// apart are suites that disturb the fleet, too. They mostly wait, and run beside alone on a second one, one by one, in this order. While shared runs
// there is none: those need the processors.
var apart = []suite{
	{"outage", testOutage},
	{"operations", testOperations}, // begins what doctor ends
	{"settings", testSettings},
	{"crash", testCrash},
	{"chaos", testChaos},
	{"doctor", testDoctor},
}

// TestFleet runs every suite, on two fleets.
func TestFleet(t *testing.T) {
	f := openFleet(t)
	second := sync.OnceValues(func() (*fleet, error) { return f.openSecond(t.Context()) }) // for the first of apart that is to run
	var times timings
	t.Cleanup(times.print)
	t.Run("shared", func(t *testing.T) {
		for _, s := range shared {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				times.measure(t)
				s.run(t, f)
			})
		}
	})
	var both sync.WaitGroup
	both.Go(func() {
		for _, s := range apart {
			t.Run(s.name, func(t *testing.T) {
				f, err := second()
				if err != nil {
					t.Fatalf("open the second fleet: %v", err)
				}
				times.measure(t)
				s.run(t, f)
			})
		}
	})
	for _, s := range alone {
		t.Run(s.name, func(t *testing.T) {
			times.measure(t)
			s.run(t, f)
		})
	}
	both.Wait()
	t.Run("findings", f.checkFindings)
}

// timings are how long the suites took, their cleanup included.
type timings struct {
	mu    sync.Mutex
	lines []string
}

func (l *timings) measure(t *testing.T) {
	begun := time.Now()
	t.Cleanup(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		verdict := "ok"
		if t.Failed() {
			verdict = "FAIL"
		}
		l.lines = append(l.lines, fmt.Sprintf("%7.1fs  %-4s  %s", time.Since(begun).Seconds(), verdict, t.Name()))
	})
}

func (l *timings) print() {
	sort.Strings(l.lines)
	fmt.Printf("e2e timings\n%s\n", strings.Join(l.lines, "\n"))
}
