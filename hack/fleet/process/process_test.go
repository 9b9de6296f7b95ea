package process

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	const tail = " 1 2 3 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 %START% 1 2"
	cases := map[string]struct {
		stat    string
		want    uint64
		wantErr bool
	}{
		"plain":               {stat: "42 (etcd) S" + strings.Replace(tail, "%START%", "777", 1), want: 777},
		"a name with ) in it": {stat: "42 (a) S 1 (b) R" + strings.Replace(tail, "%START%", "778", 1), want: 778},
		"a zombie has ended":  {stat: "42 (etcd) Z" + strings.Replace(tail, "%START%", "777", 1), wantErr: true},
		"short":               {stat: "42 (etcd) S 1", wantErr: true},
		"empty":               {wantErr: true},
	}
	for reason, tc := range cases {
		t.Run(reason, func(t *testing.T) {
			got, err := parseStat(tc.stat)
			if (err != nil) != tc.wantErr || got != tc.want {
				t.Errorf("parseStat(%q) = %d, %v", tc.stat, got, err)
			}
		})
	}
}

func start(t *testing.T, fleet, script string) Record {
	t.Helper()
	rec, err := Start(Options{
		Name: "test", Fleet: fleet, Args: []string{"/bin/sh", "-c", script},
		Env: []string{"GREETING=hello"}, Log: filepath.Join(t.TempDir(), "logs", "test.log"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rec.Stop(0) })
	return rec
}

func TestLifeOfAProcess(t *testing.T) {
	fleet := "sf-test-" + filepath.Base(t.TempDir()) + t.Name()
	rec := start(t, fleet, "exec sleep 60")
	if !rec.Alive() {
		t.Fatal("started, but not alive")
	}
	var pids []int
	for deadline := time.Now().Add(10 * time.Second); !slices.Contains(pids, rec.PID); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) { // in the middle of an exec a process has no environment for a moment
			t.Fatalf("Find: %v does not have %d", pids, rec.PID)
		}
		pids = Find(fleet)
	}
	if pids := Find(fleet + "x"); len(pids) > 0 {
		t.Errorf("another fleet has %v", pids)
	}
	if err := rec.Stop(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	if rec.Alive() {
		t.Error("stopped, but alive")
	}
	if err := rec.Stop(time.Second); err != nil {
		t.Errorf("stop a second time: %v", err)
	}
}

func TestStopKillsWhatIgnoresTERM(t *testing.T) {
	rec := start(t, "sf-test-stubborn", "trap '' TERM; echo ready; while :; do sleep 0.05; done")
	time.Sleep(100 * time.Millisecond)
	if err := rec.Stop(200 * time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if rec.Alive() {
		t.Error("alive")
	}
}

func TestKillAll(t *testing.T) {
	fleet := "sf-test-killall" + filepath.Base(t.TempDir())
	a, b := start(t, fleet, "exec sleep 60"), start(t, fleet, "sleep 60 & wait")
	if err := KillAll(func() ([]int, error) { return Find(fleet), nil }, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if a.Alive() || b.Alive() || len(Find(fleet)) > 0 {
		t.Errorf("left: %v", Find(fleet))
	}
	broken := errors.New("cannot list")
	if err := KillAll(func() ([]int, error) { return nil, broken }, time.Second); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
}

func TestStrays(t *testing.T) {
	fleet := "sf-test-strays" + filepath.Base(t.TempDir())
	known, stray := start(t, fleet, "exec sleep 60"), start(t, fleet, "exec sleep 60")
	reused := known
	reused.Start++
	cases := map[string]struct {
		records []Record
		want    int
	}{
		"the one without a record":           {[]Record{known}, stray.PID},
		"the one whose record is of another": {[]Record{reused, stray}, known.PID},
	}
	for reason, tc := range cases {
		var got []int
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
			if got = Strays(fleet, tc.records); len(got) > 0 { // while the shell becomes sleep it shows no environment
				break
			}
		}
		if len(got) != 1 || got[0] != tc.want {
			t.Errorf("%s: strays %v, want %d only", reason, got, tc.want)
		}
	}
}

// A number that came back is not our process.
func TestAliveNeedsMoreThanANumber(t *testing.T) {
	self, err := startTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		rec  Record
		want bool
	}{
		"ours":           {Record{PID: os.Getpid(), Start: self, Boot: bootID()}, true},
		"another start":  {Record{PID: os.Getpid(), Start: self + 1, Boot: bootID()}, false},
		"another boot":   {Record{PID: os.Getpid(), Start: self, Boot: "x"}, false},
		"no record":      {Record{}, false},
		"no such number": {Record{PID: 1 << 30, Start: self, Boot: bootID()}, false},
	}
	for reason, tc := range cases {
		t.Run(reason, func(t *testing.T) {
			if got := tc.rec.Alive(); got != tc.want {
				t.Errorf("Alive: %t, want %t", got, tc.want)
			}
		})
	}
}

func TestStartFails(t *testing.T) {
	_, err := Start(Options{Name: "nothing", Args: []string{"/no/such/program"}, Log: filepath.Join(t.TempDir(), "log")})
	if err == nil || !strings.Contains(err.Error(), "start nothing") {
		t.Errorf("got %v, want an error that names the process", err)
	}
	_, err = Start(Options{Name: "lost", Args: []string{"/bin/true"}, Log: filepath.Join(t.TempDir(), "log"), Netns: "/no/such/netns"})
	if err == nil || !strings.Contains(err.Error(), "/no/such/netns") {
		t.Errorf("got %v, want an error that names the namespace", err)
	}
}

func TestLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "fleet")
	first, err := LockDir(t.Context(), dir, func() { t.Error("nobody holds it") })
	if err != nil {
		t.Fatal(err)
	}
	waited := 0
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := LockDir(ctx, dir, func() { waited++ }); !errors.Is(err, context.DeadlineExceeded) || waited != 1 {
		t.Fatalf("while it is held: got %v, waited %d times", err, waited)
	}
	got := make(chan error, 1)
	go func() {
		second, err := LockDir(t.Context(), dir, func() {})
		if err == nil {
			second.Unlock()
		}
		got <- err
	}()
	// down removes the directory it holds the lock of.
	time.Sleep(150 * time.Millisecond)
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	first.Unlock()
	if err := <-got; err != nil {
		t.Errorf("after it was given back: %v", err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("the lock is on no directory: %v", err)
	}
}
