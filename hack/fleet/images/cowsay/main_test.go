package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRun(t *testing.T) {
	long := strings.Repeat("x", 45)
	for name, tc := range map[string]struct {
		args []string
		in   string
		want string
	}{
		"one argument":            {[]string{"hello world"}, "", " _____________ \n< hello world >\n ------------- \n"},
		"several arguments":       {[]string{"hello", "world"}, "", " _____________ \n< hello world >\n ------------- \n"},
		"standard input":          {nil, "hello\nworld\n", " _____________ \n< hello world >\n ------------- \n"},
		"nothing":                 {nil, "", " __ \n<  >\n -- \n"},
		"another animal":          {[]string{"-f", "tux", "hi"}, "", " ____ \n< hi >\n ---- \n"},
		"letters outside ASCII":   {[]string{"grüß"}, "", " ______ \n< grüß >\n ------ \n"},
		"a word longer than wide": {[]string{long}, "", " " + strings.Repeat("_", 42) + " \n/ " + long[:40] + " \\\n\\ xxxxx" + strings.Repeat(" ", 35) + " /\n " + strings.Repeat("-", 42) + " \n"},
		"three lines": {
			[]string{strings.Repeat("abcdefghi ", 9)},
			"", " _________________________________________ \n/ abcdefghi abcdefghi abcdefghi abcdefghi \\\n| abcdefghi abcdefghi abcdefghi abcdefghi |\n\\ abcdefghi                               /\n ----------------------------------------- \n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := run(tc.args, strings.NewReader(tc.in), &out); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want+whale, out.String()); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
		})
	}
}
