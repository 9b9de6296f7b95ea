package stellarflow

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestOneLine(t *testing.T) {
	cases := map[string]struct{ reason, text, want string }{
		"Plain":     {"ordinary text stays", "quota exceeded: größe 😀", "quota exceeded: größe 😀"},
		"Lines":     {"one line", "a\nb\r\n\tc", "a b   c"},
		"Escape":    {"a terminal's sequences are disarmed", "\x1b[2J\x1b]0;title\x07ok", "\ufffd[2J\ufffd]0;title\ufffdok"},
		"C1":        {"so are their one-byte forms", "a\u009b31mb\x7f", "a\ufffd31mb\ufffd"},
		"Direction": {"text cannot be turned around", "abc\u202egnp.exe\u2066", "abc\ufffdgnp.exe\ufffd"},
		"NotUTF8":   {"bytes that are no text", "a\xff\xfeb", "a\ufffd\ufffdb"},
		"Long":      {"cut at whole characters", strings.Repeat("ö", 40), strings.Repeat("ö", 30) + "..."},
		"Exact":     {"what fits is not cut", strings.Repeat("a", 64), strings.Repeat("a", 64)},
		"OneOver":   {"and what does not is", strings.Repeat("a", 65), strings.Repeat("a", 61) + "..."},
		"Empty":     {"nothing is nothing", "", ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := OneLine(tc.text, 64); got != tc.want {
				t.Errorf("%s: OneLine(%q) = %q, want %q", tc.reason, tc.text, got, tc.want)
			}
		})
	}
}

func FuzzOneLine(f *testing.F) {
	f.Add("\x1b[2J\x00", 10)
	f.Add(strings.Repeat("\xff", 100), 20)
	f.Add("ö\u202e", 4)
	f.Fuzz(func(t *testing.T, text string, limit int) {
		if limit < 4 || limit > 1<<16 {
			return
		}
		got := OneLine(text, limit)
		if len(got) > limit || !utf8.ValidString(got) || strings.ContainsFunc(got, IsControl) {
			t.Errorf("OneLine(%q, %d) = %q", text, limit, got)
		}
		if again := OneLine(got, limit); again != got {
			t.Errorf("OneLine(%q, %d) = %q, and of that %q", text, limit, got, again)
		}
	})
}

func TestQuote(t *testing.T) {
	cases := map[string]struct{ reason, text, want string }{
		"Plain":    {"as it is", "größe", `"größe"`},
		"Controls": {"escaped", "\x1b[\n\u202e", `"\x1b[\n\u202e"`},
		"NotUTF8":  {"its bytes", "a\xff", `"a\xff"`},
		"Exact":    {"what fits is not cut", "ööööö", `"ööööö"`},
		"OneOver":  {"what does not is, at whole characters", "öööööö", `"ööööö..."`},
		"Empty":    {"nothing can be seen", "", `""`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := Quote(tc.text, 5); got != tc.want {
				t.Errorf("%s: Quote(%q) = %s, want %s", tc.reason, tc.text, got, tc.want)
			}
		})
	}
}
