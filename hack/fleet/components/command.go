package components

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// command is a program to run to its end. Its output is kept for the error only.
type command struct {
	dir  string
	env  []string // added to our own
	argv []string
}

const (
	tailLines     = 40
	downloadTries = 4
)

// firstRetryDelay doubles with each try. A variable for tests.
var firstRetryDelay = 3 * time.Second

// output runs the command and returns its standard output. The error holds the command and the tail of what it printed.
func (c command) output(ctx context.Context) ([]byte, error) {
	cmd := exec.CommandContext(ctx, c.argv[0], c.argv[1:]...)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), c.env...)
	// A group of its own, so that what it started ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	var stdout bytes.Buffer
	var both sharedBuffer
	cmd.Stdout = io.MultiWriter(&stdout, &both)
	cmd.Stderr = &both
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, &commandError{command: c, output: both.buf.String(), err: err}
	}
	return stdout.Bytes(), nil
}

// sharedBuffer collects what two goroutines of exec write.
type sharedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *sharedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// commandError is a command that failed.
type commandError struct {
	command command
	output  string
	err     error
}

func (e *commandError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "command failed: %v", e.err)
	if errors.Is(e.err, exec.ErrNotFound) {
		fmt.Fprintf(&b, " (install %s)", e.command.argv[0])
	}
	fmt.Fprintf(&b, "\n  in %s: %s", e.command.dir, shellLine(e.command))
	if out := tail(e.output, tailLines); out != "" {
		fmt.Fprintf(&b, "\n  its output ended with:\n%s", indent(out))
	}
	return b.String()
}

func (e *commandError) Unwrap() error { return e.err }

// tail returns the last n lines of text, without empty lines at its end.
func tail(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n "), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "\n")
}

func indent(text string) string {
	if text == "" {
		return ""
	}
	return "    " + strings.ReplaceAll(text, "\n", "\n    ")
}

// shellLine renders the command so that it can be pasted into a shell.
func shellLine(c command) string {
	words := make([]string, 0, len(c.env)+len(c.argv))
	for _, kv := range c.env {
		key, value, _ := strings.Cut(kv, "=")
		words = append(words, key+"="+shellQuote(value))
	}
	for _, arg := range c.argv {
		words = append(words, shellQuote(arg))
	}
	return strings.Join(words, " ")
}

func shellQuote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./=:@,+%", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// transient are pieces of the messages of downloads that fail for reasons that pass.
var transient = []string{
	"dial tcp", "i/o timeout", "connection reset", "connection refused", "unexpected EOF", "TLS handshake timeout",
	"proxyconnect", "no such host", "500 Internal Server Error", "502 Bad Gateway", "503 Service Unavailable",
	"504 Gateway Timeout", "429 Too Many Requests", "stream error", "http2:", "Temporary failure", "ETIMEDOUT",
	"ECONNRESET", "EAI_AGAIN", "ESOCKETTIMEDOUT", "socket hang up", "network connection", "Unable to connect",
	"Hash Sum mismatch", "Failed to fetch",
}

func isTransient(err error) bool {
	var failed *commandError
	if !errors.As(err, &failed) {
		return false
	}
	for _, piece := range transient {
		if strings.Contains(failed.output, piece) {
			return true
		}
	}
	return false
}

// retry calls do again, at most downloadTries times in all, while it fails as a download does.
func retry(ctx context.Context, do func() ([]byte, error)) ([]byte, error) {
	delay := firstRetryDelay
	for try := 1; ; try++ {
		out, err := do()
		if err == nil || try == downloadTries || !isTransient(err) || ctx.Err() != nil {
			return out, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(delay):
			delay *= 2
		}
	}
}
