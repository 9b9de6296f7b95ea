package components

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// patient is how long a test waits for what should happen at once.
const patient = 30 * time.Second

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	t.Cleanup(cancel)
	return ctx
}

// fileUnit is a unit that writes one file and counts how often it is built.
func fileUnit(name string, builds *atomic.Int32, needs ...*unit) *unit {
	return &unit{
		title: name + " v1", dir: "bin/" + name, estimate: 40 * time.Second, disk: 0.001, needs: needs,
		build: func(_ context.Context, dir string) error {
			builds.Add(1)
			return os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644)
		},
	}
}

func TestBuildMissingBuildsOnceAndSaysSo(t *testing.T) {
	env := &environment{cache: t.TempDir()}
	var builds atomic.Int32
	first := fileUnit("first", &builds)
	second := fileUnit("second", &builds, first)
	var out bytes.Buffer
	if err := env.buildMissing(testContext(t), &out, []*unit{second}, nil); err != nil {
		t.Fatal(err)
	}
	want := "building 2 parts that are not in " + env.cache + ", about 80 s on two cores\n" +
		"[1/2] building first v1 (about 40 s) ... done in 0 s\n" +
		"[2/2] building second v1 (about 40 s) ... done in 0 s\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("progress (-want +got):\n%s", diff)
	}
	out.Reset()
	if err := env.buildMissing(testContext(t), &out, []*unit{second, first}, nil); err != nil {
		t.Fatal(err)
	}
	if out.Len() != 0 || builds.Load() != 2 {
		t.Errorf("the second run printed %q and brought the builds to %d, want silence and 2", &out, builds.Load())
	}
}

func TestTwoAtOnceBuildOnce(t *testing.T) {
	env := &environment{cache: t.TempDir()}
	var builds atomic.Int32
	started, goOn := make(chan struct{}), make(chan struct{})
	slow := fileUnit("slow", &builds)
	write := slow.build
	slow.build = func(ctx context.Context, dir string) error {
		close(started)
		<-goOn
		return write(ctx, dir)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		if err := env.buildMissing(testContext(t), &bytes.Buffer{}, []*unit{slow}, nil); err != nil {
			t.Errorf("the first: %v", err)
		}
	})
	<-started
	waits := &signalWriter{seen: make(chan struct{})}
	wg.Go(func() {
		if err := env.buildMissing(testContext(t), waits, []*unit{slow}, nil); err != nil {
			t.Errorf("the second: %v", err)
		}
		if builds.Load() != 1 {
			t.Errorf("it was built %d times, want once", builds.Load())
		}
	})
	<-waits.seen
	close(goOn)
}

// signalWriter closes seen when it is told that another build is waited for.
type signalWriter struct {
	seen chan struct{}
	once sync.Once
}

func (w *signalWriter) Write(p []byte) (int, error) {
	if strings.Contains(string(p), "waiting for another build") {
		w.once.Do(func() { close(w.seen) })
	}
	return len(p), nil
}

func TestFailedBuildLeavesNothing(t *testing.T) {
	env := &environment{cache: t.TempDir()}
	boom := errors.New("boom")
	var builds atomic.Int32
	good := fileUnit("good", &builds)
	bad := &unit{title: "bad v1", dir: "bin/bad", estimate: time.Second, needs: []*unit{good}, build: func(_ context.Context, dir string) error {
		if err := os.WriteFile(filepath.Join(dir, "half"), nil, 0o644); err != nil {
			return err
		}
		return boom
	}}
	var out bytes.Buffer
	err := env.buildMissing(testContext(t), &out, []*unit{bad}, nil)
	if !errors.Is(err, boom) || !strings.Contains(err.Error(), "build bad v1") {
		t.Errorf("error = %v, want boom and what was built", err)
	}
	if !strings.Contains(out.String(), "[2/2] building bad v1 (about 5 s) ... failed after 0 s\n") {
		t.Errorf("progress %q does not say what failed", &out)
	}
	left, err := os.ReadDir(filepath.Join(env.cache, "bin"))
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 1 || left[0].Name() != "good" {
		t.Errorf("the cache holds %v, want what was built before the failure only", left)
	}
}

func TestPublish(t *testing.T) {
	final := filepath.Join(t.TempDir(), "a", "b")
	fill := func(content string) func(string) error {
		return func(dir string) error { return os.WriteFile(filepath.Join(dir, "f"), []byte(content), 0o644) }
	}
	if err := publish(final, fill("one")); err != nil {
		t.Fatal(err)
	}
	if err := publish(final, fill("two")); err != nil {
		t.Fatalf("publish what another has published meanwhile: %v", err)
	}
	got, err := os.ReadFile(filepath.Join(final, "f"))
	if err != nil || string(got) != "one" {
		t.Errorf("content = %q, %v, want the first, which others may already read", got, err)
	}
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(final), ".tmp-*"))
	if len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	abandoned := filepath.Join(filepath.Dir(final), ".tmp-killed")
	if err := os.MkdirAll(filepath.Join(abandoned, "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	sweep(filepath.Dir(final))
	if exists(abandoned) || !exists(final) {
		t.Errorf("sweep: abandoned there %t, published there %t, want false and true", exists(abandoned), exists(final))
	}
}

func TestLockEndsWithItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dir", "lock")
	unlock, err := lock(testContext(t), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := lock(ctx, path, cancel); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v, want context.Canceled", err)
	}
	unlock()
	again, err := lock(testContext(t), path, func() { t.Error("a free lock is waited for") })
	if err != nil {
		t.Fatal(err)
	}
	again()
}

func TestStepHeartbeat(t *testing.T) {
	defer func(old time.Duration) { heartbeat = old }(heartbeat)
	heartbeat = 5 * time.Millisecond
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var calls atomic.Int32
	now := func() time.Time { // the first call is the start, all others are 95 s later
		if calls.Add(1) == 1 {
			return begin
		}
		return begin.Add(95 * time.Second)
	}
	out := &beatWriter{beat: make(chan struct{})}
	s := step{out: out, now: now, number: 3, total: 14, title: "kube-apiserver v1.34.4", estimate: 4 * time.Minute, left: 5 * time.Minute}
	err := s.run(func() error {
		select {
		case <-out.beat:
			return nil
		case <-time.After(patient):
			return errors.New("no heartbeat came")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.buf.String(), "\n")
	last := len(lines) - 2
	if lines[0] != "[3/14] building kube-apiserver v1.34.4 (about 4 min) ..." ||
		lines[1] != "        still building kube-apiserver v1.34.4, 1 min 35 s so far, about 7 min left in all" ||
		lines[last] != "[3/14] kube-apiserver v1.34.4 ... done in 1 min 35 s" {
		t.Errorf("progress:\n%s", out.buf.String())
	}
}

// beatWriter closes beat when a heartbeat is written.
type beatWriter struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	beat chan struct{}
	once sync.Once
}

func (w *beatWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if strings.Contains(string(p), "still building") {
		w.once.Do(func() { close(w.beat) })
	}
	return w.buf.Write(p)
}

func TestTimesForPeople(t *testing.T) {
	for d, want := range map[time.Duration]string{time.Second: "5 s", 38 * time.Second: "40 s", 89 * time.Second: "90 s", 105 * time.Second: "2 min", 15*time.Minute + 40*time.Second: "16 min"} {
		if got := about(d); got != want {
			t.Errorf("about(%s) = %q, want %q", d, got, want)
		}
	}
	for d, want := range map[time.Duration]string{0: "0 s", 38400 * time.Millisecond: "38 s", 242 * time.Second: "4 min 2 s"} {
		if got := exact(d); got != want {
			t.Errorf("exact(%s) = %q, want %q", d, got, want)
		}
	}
}

func TestCheckDisk(t *testing.T) {
	plan := []*unit{{disk: 12}, {disk: 10}}
	for name, tc := range map[string]struct {
		plan    []*unit
		free    map[string]float64
		stored  float64
		refused string
	}{
		"enough":                  {plan, map[string]float64{"cache": 26, "go": 26}, 0, ""},
		"too little":              {plan, map[string]float64{"cache": 24, "go": 24}, 0, "24 GB are free on the disk of cache, and building 2 missing parts needs about 25 GB"},
		"the tighter disk counts": {plan, map[string]float64{"cache": 90, "go": 9}, 0, "9 GB are free on the disk of go"},
		"what Go's caches hold is not needed anew": {plan, map[string]float64{"cache": 15, "go": 15}, 12, ""},
		"full caches do not make the need vanish":  {plan, map[string]float64{"cache": 2, "go": 2}, 100, "needs about 3 GB"},
		"little to build needs little":             {[]*unit{{disk: 0.5}}, map[string]float64{"cache": 4, "go": 4}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			free := func(dir string) (float64, error) { return tc.free[dir], nil }
			err := checkDisk("cache", tc.plan, []string{"go"}, free, func(string) float64 { return tc.stored })
			if (err != nil) != (tc.refused != "") || err != nil && !strings.Contains(err.Error(), tc.refused) {
				t.Errorf("error = %v, want %q", err, tc.refused)
			}
			if err != nil && !strings.Contains(err.Error(), "STELLARFLOW_CACHE") {
				t.Errorf("error %q does not say what to do", err)
			}
		})
	}
}

func TestFreeDiskOfWhatDoesNotExistYet(t *testing.T) {
	gb, err := freeDisk(filepath.Join(t.TempDir(), "not", "there"))
	if err != nil || gb <= 0 {
		t.Errorf("freeDisk = %v, %v, want what is free on the disk of the nearest directory", gb, err)
	}
}

func TestColdBuildNeedsAboutWhatTheReadmeSays(t *testing.T) {
	env := testEnvironment(t)
	catalog, err := env.catalog()
	if err != nil {
		t.Fatal(err)
	}
	var units []*unit
	for _, name := range All() {
		units = append(units, catalog[name].unit)
	}
	need, estimate := diskReserve, time.Duration(0)
	for _, u := range missing(units, func(*unit) bool { return false }) {
		need += u.disk
		estimate += u.estimate
	}
	if need < 20 || need > 30 {
		t.Errorf("a build from nothing asks for %.1f GB, want about 25", need)
	}
	if estimate < 10*time.Minute || estimate > 20*time.Minute {
		t.Errorf("a build from nothing is said to take %s, want about 15 minutes", estimate)
	}
}
