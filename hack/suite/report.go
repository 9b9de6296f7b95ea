package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	passed  int
	failed  int
	skipped []string
}

func newReport(out io.Writer, stream bool) *report {
	return &report{out: out, stream: stream, pending: map[string][]string{}}
}

// summary counts the tests, subtests included.
func (r *report) summary() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", r.passed, r.failed, len(r.skipped))
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
		r.count(one, &r.passed)
		delete(r.pending, key)
	case "fail":
		r.count(one, &r.failed)
		r.flush(key)
	case "skip":
		if one.Test != "" {
			r.skipped = append(r.skipped, one.Test)
			r.flush(key)
		}
	}
}

func (r *report) count(one event, counter *int) {
	if one.Test != "" {
		*counter++
	}
}

// takeOutput prints a line, keeps it until its test has ended, or drops it.
func (r *report) takeOutput(key string, one event) {
	for _, noise := range []string{"=== RUN", "=== PAUSE", "=== CONT", "=== NAME"} {
		if strings.HasPrefix(one.Output, noise) {
			return
		}
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
