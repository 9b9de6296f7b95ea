package cli

import (
	"bytes"
	"testing"
)

func TestTerminal(t *testing.T) {
	for given, want := range map[string]string{
		"plain\ttext\n": "plain\ttext\n", "größe 😀": "größe 😀", "a\x1b[2Jb": "a\ufffd[2Jb", "a\rb": "a\ufffdb", "a\u009b1mb": "a\ufffd1mb", "a\u202eb": "a\ufffdb",
	} {
		var out bytes.Buffer
		n, err := terminal{&out}.Write([]byte(given))
		if n != len(given) || err != nil || out.String() != want {
			t.Errorf("%q is written as %q (%d, %v), want %q", given, out.String(), n, err, want)
		}
	}
}
