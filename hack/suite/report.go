package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// event is a line of go test -json (see `go doc test2json`).
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

// report keeps what tests wrote until it is known how they ended.
type report struct {
	out     io.Writer
	stream  bool
	pending map[string][]string // by package and test
	said    map[string][]string // by package and test, the heads of what it logged
	passed  int
	failed  []string // package and test, in the order of their ends
	skipped []string
}

func newReport(out io.Writer, stream bool) *report {
	return &report{out: out, stream: stream, pending: map[string][]string{}, said: map[string][]string{}}
}

// summary counts the tests, subtests included.
func (r *report) summary() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", r.passed, len(r.failed), len(r.skipped))
}

// headsShown is how much of what a failed test logged is repeated, headLength how much of a line, in bytes.
const headsShown, headLength = 15, 400

// logHead begins what a test logs; go test does not tell an error from a message.
var logHead = regexp.MustCompile(`^\s+[a-z0-9_]+_test\.go:\d+: `)

// repeatFailures prints the last lines that each failed test logged once more: a streamed suite goes on after a failure, and only the end of
// its output may be kept. What tests show of their surroundings when they have failed, which follows a prompt, is left out.
func (r *report) repeatFailures() {
	for _, key := range r.failed {
		_, _ = fmt.Fprintf(r.out, "failed: %s\n", key)
		heads := r.said[key]
		for _, head := range heads[max(0, len(heads)-headsShown):] {
			_, _ = fmt.Fprintln(r.out, head)
		}
	}
}

// hear keeps the first line of what a test logs.
func (r *report) hear(key, line string) {
	if line = strings.TrimRight(line, "\n"); logHead.MatchString(line) && !strings.Contains(line, "$ ") {
		r.said[key] = append(r.said[key], line[:min(len(line), headLength)])
	}
}

// read takes events until there are no more. A line that is no event, such as a build error, is printed as it is.
func (r *report) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			var one event
			if json.Unmarshal([]byte(line), &one) != nil {
				_, _ = io.WriteString(r.out, line)
			} else {
				r.take(one)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the output of go test: %w", err)
		}
	}
}

// take handles one event.
func (r *report) take(one event) {
	key := one.Package + "." + one.Test
	switch one.Action {
	case "output", "build-output":
		r.takeOutput(key, one)
	case "pass":
		if one.Test != "" {
			r.passed++
		}
		delete(r.pending, key)
		delete(r.said, key)
	case "fail":
		if one.Test != "" {
			r.failed = append(r.failed, key)
		}
		r.flush(key)
	case "skip":
		if one.Test != "" {
			r.skipped = append(r.skipped, one.Test)
			r.flush(key)
		}
	}
}

// takeOutput prints a line, keeps it until its test has ended, or drops it.
func (r *report) takeOutput(key string, one event) {
	for _, noise := range []string{"=== RUN", "=== PAUSE", "=== CONT", "=== NAME"} {
		if strings.HasPrefix(one.Output, noise) {
			return
		}
	}
	if r.stream && one.Test != "" {
		r.hear(key, one.Output)
	}
	switch {
	case r.stream || one.Action == "build-output":
		_, _ = io.WriteString(r.out, one.Output)
	case one.Test == "":
		if one.Output != "PASS\n" && !strings.Contains(one.Output, "[no test files]") {
			_, _ = io.WriteString(r.out, one.Output)
		}
	default:
		r.pending[key] = append(r.pending[key], one.Output)
	}
}

// flush prints what a test wrote.
func (r *report) flush(key string) {
	for _, line := range r.pending[key] {
		_, _ = io.WriteString(r.out, line)
	}
	delete(r.pending, key)
}
