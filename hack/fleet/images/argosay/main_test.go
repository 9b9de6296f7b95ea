package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestRun(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "in")
	if err := os.WriteFile(file, []byte("one\ntwo words\nthree\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte("echo from the shell; exit 4\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		args  string // separated by |
		code  int
		out   string
		slept time.Duration
		said  string
	}{
		"nothing":                   {args: "", out: "hello argo\n"},
		"an empty word":             {args: "|", code: 0, out: "hello argo\n"},
		"echo":                      {args: "echo", out: "hello argo\n"},
		"echo a text":               {args: "echo|:) Hello Argo!", out: ":) Hello Argo!\n"},
		"echo too much":             {args: "echo|a|b|c"},
		"cat":                       {args: "cat|" + file, out: "one\ntwo words\nthree\n"},
		"cat nothing":               {args: "cat", code: 2, said: "needs a file"},
		"cat what is not there":     {args: "cat|" + dir + "/none", code: 1, said: "no such file"},
		"sleep seconds":             {args: "sleep|5", slept: 5 * time.Second},
		"sleep with a unit":         {args: "sleep|2m", slept: 2 * time.Minute},
		"sleep a part of a second":  {args: "sleep|0.5", slept: 500 * time.Millisecond},
		"sleep nonsense":            {args: "sleep|long", code: 1, said: `"long" is not a time`},
		"sleep without a time":      {args: "sleep", code: 2, said: "needs a time"},
		"exit":                      {args: "exit"},
		"exit with a code":          {args: "exit|3", code: 3},
		"exit with nonsense":        {args: "exit|x", code: 2, said: `"x" is not a number`},
		"assert_contains":           {args: "assert_contains|" + file + "|wo w", out: "two words\n"},
		"assert_contains: it lacks": {args: "assert_contains|" + file + "|four", code: 1},
		"assert_contains: no file":  {args: "assert_contains|" + dir + "/none|x", code: 2, said: "no such file"},
		"assert_contains: no text":  {args: "assert_contains|" + file, code: 2, said: "a file and a text"},
		"sh":                        {args: "sh|" + script, code: 4, out: "from the shell\n"},
		"sh without a file":         {args: "sh", code: 2, said: "needs a file"},
		"an unknown command":        {args: "dance", code: 1, said: `"dance" is not known`},
	} {
		t.Run(name, func(t *testing.T) {
			var args []string
			if tc.args != "" {
				args = strings.Split(tc.args, "|")
			}
			var out bytes.Buffer
			var slept time.Duration
			code, err := run(args, &out, func(d time.Duration) { slept = d })
			if code != tc.code || out.String() != tc.out || slept != tc.slept {
				t.Errorf("code %d, output %q, slept %s; want %d, %q, %s", code, &out, slept, tc.code, tc.out, tc.slept)
			}
			if (err != nil) != (tc.said != "") || err != nil && !strings.Contains(err.Error(), tc.said) {
				t.Errorf("error = %v, want %q", err, tc.said)
			}
		})
	}
}

func TestEchoToFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "deep", "dir", "out")
	var out bytes.Buffer
	if code, err := run([]string{"echo", "hello", file}, &out, nil); code != 0 || err != nil || out.Len() != 0 {
		t.Fatalf("code %d, %v, output %q, want 0 and silence", code, err, &out)
	}
	data, err := os.ReadFile(file)
	if err != nil || string(data) != "hello\n" {
		t.Errorf("the file holds %q, %v, want hello", data, err)
	}
}
