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

// alone are the suites that disturb the fleet: they run after the others, one by one, in this order.
var alone = []suite{
	{"streams", testStreams},
	{"outage", testOutage},
	{"operations", testOperations},
	{"crash", testCrash},
	{"chaos", testChaos},
	{"settings", testSettings},
	{"archive", testArchive},
	{"dedicated", testDedicated},
	{"doctor", testDoctor},
	{"escapes", testEscapes},
	{"leave", testLeave},
	{"upgrade", testUpgrade},
	{"definitions", testDefinitions},
}

// TestFleet runs every suite on one fleet.
func TestFleet(t *testing.T) {
	f := openFleet(t)
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
	for _, s := range alone {
		t.Run(s.name, func(t *testing.T) {
			times.measure(t)
			s.run(t, f)
		})
	}
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
