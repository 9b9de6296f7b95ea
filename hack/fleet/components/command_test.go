package components

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCommandErrorShowsCommandAndTail(t *testing.T) {
	dir := t.TempDir()
	script := "{ seq 1 100; echo it broke; } >&2; exit 3" // of two streams the order would be chance
	_, err := command{dir: dir, env: []string{"CGO_ENABLED=0", "A=b c"}, argv: []string{"sh", "-c", script}}.output(testContext(t))
	var failed *exec.ExitError
	if !errors.As(err, &failed) || failed.ExitCode() != 3 {
		t.Fatalf("error = %v, want one that holds exit code 3", err)
	}
	for _, want := range []string{"in " + dir + ": CGO_ENABLED=0 A='b c' sh -c '" + script + "'", "    it broke", "    100\n", "    62\n"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "    61\n") {
		t.Errorf("error holds more than %d lines of output:\n%v", tailLines, err)
	}
}

func TestCommandNotInstalled(t *testing.T) {
	_, err := command{dir: t.TempDir(), argv: []string{"no-such-program-here"}}.output(testContext(t))
	if err == nil || !strings.Contains(err.Error(), "install no-such-program-here") {
		t.Errorf("error = %v, want one that says what to install", err)
	}
}

func TestCommandEndsWithItsChildren(t *testing.T) {
	ctx, cancel := context.WithCancel(testContext(t))
	file := filepath.Join(t.TempDir(), "pid")
	done := make(chan error, 1)
	go func() {
		_, err := command{dir: t.TempDir(), argv: []string{"sh", "-c", "sleep 300 & echo $! > " + file + ".new; mv " + file + ".new " + file + "; wait"}}.output(ctx)
		done <- err
	}()
	waitFor(t, func() bool { return exists(file) })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v, want context.Canceled", err)
	}
	pid, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return ended(strings.TrimSpace(string(pid))) })
}

// ended says whether a process is gone, or is only still to be collected by whoever adopted it.
func ended(pid string) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(patient)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen in time")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestRetry(t *testing.T) {
	defer func(old time.Duration) { firstRetryDelay = old }(firstRetryDelay)
	firstRetryDelay = time.Millisecond
	fail := func(output string) error { return &commandError{output: output, err: errors.New("exit status 1")} }
	for name, tc := range map[string]struct {
		answers []error
		tries   int
		ok      bool
	}{
		"works at once":                 {[]error{nil}, 1, true},
		"a download that works later":   {[]error{fail("Get: dial tcp: lookup proxy: i/o timeout"), fail("502 Bad Gateway"), nil}, 3, true},
		"a download that never works":   {[]error{fail("unexpected EOF"), fail("unexpected EOF"), fail("unexpected EOF"), fail("unexpected EOF")}, downloadTries, false},
		"a compile error is final":      {[]error{fail("main.go:3: undefined: x")}, 1, false},
		"an error of ours is final":     {[]error{errors.New("i/o timeout of something else")}, 1, false},
		"a download, then a real error": {[]error{fail("connection reset by peer"), fail("undefined: x")}, 2, false},
	} {
		t.Run(name, func(t *testing.T) {
			tries := 0
			_, err := retry(testContext(t), func() ([]byte, error) {
				tries++
				return nil, tc.answers[tries-1]
			})
			if tries != tc.tries || (err == nil) != tc.ok {
				t.Errorf("%d tries, error %v; want %d tries, success %t", tries, err, tc.tries, tc.ok)
			}
		})
	}
}

func TestShellQuote(t *testing.T) {
	for in, want := range map[string]string{"plain-1.0_x/y=z": "plain-1.0_x/y=z", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$HOME": "'$HOME'"} {
		if got := shellQuote(in); got != want {
			t.Errorf("shellQuote(%q) = %s, want %s", in, got, want)
		}
		out, err := exec.Command("sh", "-c", "printf %s "+shellQuote(in)).Output()
		if err != nil || string(out) != in {
			t.Errorf("a shell reads %s as %q, %v", shellQuote(in), out, err)
		}
	}
}

func TestTail(t *testing.T) {
	if diff := cmp.Diff("b\nc", tail("a\nb\nc\n\n", 2)); diff != "" {
		t.Errorf("tail (-want +got):\n%s", diff)
	}
}

func TestRootAbove(t *testing.T) {
	root := t.TempDir()
	nested := filepath.Join(root, "hack", "tools", "x")
	if err := os.MkdirAll(nested, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string]string{filepath.Join(root, "go.mod"): moduleLine + "\n\ngo 1.26\n", filepath.Join(nested, "go.mod"): moduleLine + "/hack/tools/x\n"} {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := rootAbove(nested); err != nil || got != root {
		t.Errorf("rootAbove = %q, %v, want %q: a nested module is not the root", got, err, root)
	}
	if _, err := rootAbove(t.TempDir()); err == nil || !strings.Contains(err.Error(), "inside a clone") {
		t.Errorf("error = %v, want one that says what to do", err)
	}
}

func TestCacheDir(t *testing.T) {
	for name, tc := range map[string]struct {
		ours, xdg, home, want string
		wantErr               bool
	}{
		"ours wins":              {"/a/b/", "/x", "/h", "/a/b", false},
		"then XDG":               {"", "/x", "/h", "/x/stellarflow", false},
		"then home":              {"", "", "/h", "/h/.cache/stellarflow", false},
		"a relative XDG is void": {"", "x", "/h", "/h/.cache/stellarflow", false},
		"ours must be absolute":  {"a", "", "/h", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("STELLARFLOW_CACHE", tc.ours)
			t.Setenv("XDG_CACHE_HOME", tc.xdg)
			t.Setenv("HOME", tc.home)
			got, err := CacheDir()
			if got != tc.want || (err != nil) != tc.wantErr {
				t.Errorf("CacheDir = %q, %v, want %q", got, err, tc.want)
			}
		})
	}
}
