package transforms

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParsePath(t *testing.T) {
	cases := map[string]struct {
		reason string
		text   string
		want   Path
		wrong  string // a part of the error
	}{
		"Dotted":            {"names in dot form", "$.spec.suspend", Path{"spec", "suspend"}, ""},
		"OneSegment":        {"one segment is enough", "$.status", Path{"status"}, ""},
		"Bracketed":         {"a label key needs brackets", `$.metadata.labels["workflows.argoproj.io/phase"]`, Path{"metadata", "labels", "workflows.argoproj.io/phase"}, ""},
		"OnlyBrackets":      {"brackets may come first", `$["spec"]["a b"]`, Path{"spec", "a b"}, ""},
		"DotAfterBracket":   {"forms mix", `$["spec"].x`, Path{"spec", "x"}, ""},
		"EmptyString":       {"an empty key is a key", `$[""]`, Path{""}, ""},
		"Underscore":        {"_ may come first, digits later", "$._a1", Path{"_a1"}, ""},
		"Upper":             {"case counts", "$.spec.podGC", Path{"spec", "podGC"}, ""},
		"BeyondASCII":       {"characters beyond ASCII are letters", "$.größe", Path{"größe"}, ""},
		"Escapes":           {"JavaScript's one-letter escapes", `$["\b\f\n\r\t\v\0\\\"\'\/"]`, Path{"\b\f\n\r\t\v\x00\\\"'/"}, ""},
		"EscapeOfItself":    {"another escape stands for itself, also beyond ASCII", `$["\a\ä"]`, Path{"aä"}, ""},
		"Hex":               {"two digits", `$["\x41\xe4"]`, Path{"Aä"}, ""},
		"Unicode":           {"four digits", `$["\u0041\u00E4"]`, Path{"Aä"}, ""},
		"UnicodeBraces":     {"any number of digits in braces", `$["\u{1F600}\u{41}"]`, Path{"😀A"}, ""},
		"BraceElsewhere":    {"a brace after an escape is a character", `$["\u0041}"]`, Path{"A}"}, ""},
		"SurrogatePair":     {"two halves are one character", `$["\ud83d\ude00"]`, Path{"😀"}, ""},
		"RawBeyondASCII":    {"characters beyond ASCII stand in strings", `$["größe/😀"]`, Path{"größe/😀"}, ""},
		"SingleInDouble":    {"a single quote is a character", `$["it's"]`, Path{"it's"}, ""},
		"Empty":             {"nothing is no path", "", nil, "starts with $"},
		"NoDollar":          {"a path starts at the root", "spec.suspend", nil, "starts with $"},
		"LeadingBlank":      {"blanks are not skipped", " $.a", nil, "starts with $"},
		"Whole":             {"the whole object cannot go", "$", nil, "identifies the whole object"},
		"TrailingDot":       {"a dot needs a name", "$.spec.", nil, "at character 7: a name starts with a letter"},
		"DigitFirst":        {"a name does not start with a digit", "$.1a", nil, "at character 2: a name starts with"},
		"Hyphen":            {"a hyphen needs brackets", "$.spec.a-b", nil, `at character 9: "-b" cannot follow`},
		"Descent":           {"recursive descent is not in the dialect", "$..suspend", nil, "a name starts with"},
		"Index":             {"lists are not traversed", "$.spec.templates[0]", nil, "at character 17: only [\"name\"]"},
		"Wildcard":          {"no wildcards", "$.spec[*]", nil, "only [\"name\"]"},
		"DotWildcard":       {"no wildcards", "$.*", nil, "a name starts with"},
		"Filter":            {"no filters", "$.a[?(@.b == 'c')]", nil, "only [\"name\"]"},
		"SingleQuotes":      {"no single quotes", "$['a']", nil, "only [\"name\"]"},
		"BlankInBrackets":   {"no blanks", `$[ "a"]`, nil, "only [\"name\"]"},
		"BlankBeforeClose":  {"no blanks", `$["a" ]`, nil, "] is missing"},
		"BlankBetween":      {"no blanks", "$.a .b", nil, "cannot follow"},
		"Unclosed":          {"a string ends", `$["a`, nil, `closing "] is missing`},
		"NoBracket":         {"a string ends with a bracket", `$["a"`, nil, "] is missing"},
		"EndsInEscape":      {"an escape has a letter", `$["a\`, nil, `closing "] is missing`},
		"LineBreak":         {"a string is on one line", "$[\"a\nb\"]", nil, "line break"},
		"EscapedLineBreak":  {"a string is on one line", "$[\"a\\\nb\"]", nil, `\\n is not an escape`},
		"Octal":             {"no octal escapes", `$["\12"]`, nil, `\1 is not an escape`},
		"HexShort":          {"digits are missing", `$["\x4`, nil, "needs 2 hexadecimal digits"},
		"HexWrong":          {"digits are hexadecimal", `$["\x4g"]`, nil, `not "4g"`},
		"UnicodeShort":      {"digits are missing", `$["\u12`, nil, "needs 4 hexadecimal digits"},
		"UnicodeWrong":      {"digits are hexadecimal", `$["\u12zz"]`, nil, `not "12zz"`},
		"BracesEmpty":       {"braces hold digits", `$["\u{}"]`, nil, "hexadecimal digits"},
		"BracesUnclosed":    {"braces close", `$["\u{41"]`, nil, "hexadecimal digits"},
		"BracesTooLarge":    {"characters end at 10FFFF", `$["\u{110000}"]`, nil, "there is no character 110000"},
		"LoneHigh":          {"half a pair is no character", `$["\ud83d"]`, nil, "half of a pair"},
		"LoneLow":           {"half a pair is no character", `$["\ude00"]`, nil, "half of a pair"},
		"HighTwice":         {"two first halves are no pair", `$["\ud83d\ud83d"]`, nil, "half of a pair"},
		"HighThenBad":       {"a half needs the other", `$["\ud83d\u12"]`, nil, "half of a pair"},
		"SurrogateInBraces": {"half a pair is no character", `$["\u{d83d}"]`, nil, "half of a pair"},
		"NotUTF8":           {"text is UTF-8", "$.a\xff", nil, "not valid UTF-8"},
		"LongRest":          {"an error quotes a part of long text", "$.a-" + strings.Repeat("b", 500), nil, strings.Repeat("b", 63) + `..."`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := ParsePath(tc.text)
			if tc.wrong == "" {
				if err != nil {
					t.Fatalf("\n%s\nParsePath(%q): %v", tc.reason, tc.text, err)
				}
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Errorf("\n%s\nParsePath(%q): -want, +got:\n%s", tc.reason, tc.text, diff)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.wrong) || got != nil {
				t.Errorf("\n%s\nParsePath(%q): want an error with %q, got %v, %v", tc.reason, tc.text, tc.wrong, got, err)
			}
		})
	}
}

// TestPathString holds that what String writes is read as the same path.
func TestPathString(t *testing.T) {
	for _, path := range []Path{{"a"}, {""}, {"a", "b c"}, {`"\`}, {"<>&\u2028"}, {"\x00\n"}, {"😀"}} {
		got, err := ParsePath(path.String())
		if err != nil {
			t.Errorf("ParsePath(%s): %v", path, err)
		}
		if diff := cmp.Diff(path, got); diff != "" {
			t.Errorf("ParsePath(%s): -want, +got:\n%s", path, diff)
		}
	}
}

func FuzzParsePath(f *testing.F) {
	for _, seed := range []string{
		"", "$", "$.spec.suspend", `$.metadata.labels["workflows.argoproj.io/completed"]`, `$["\ud83d\ude00\u{41}\x41\n"]`, `$["a`, `$["\u{`,
		"$.a-b", "$..a", "$[0]", "$['a']", "$.größe", "$.\xff", `$["\ud83d\u`, "$.metadata", `$[""]`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		path, err := ParsePath(text)
		if err != nil {
			if path != nil || err.Error() == "" || len(err.Error()) > 1000 {
				t.Fatalf("ParsePath(%q) = %q, %v: want no path and a short error", text, path, err)
			}
			return
		}
		if len(path) == 0 {
			t.Fatalf("ParsePath(%q) is an empty path", text)
		}
		again, err := ParsePath(path.String())
		if err != nil {
			t.Fatalf("ParsePath(%q) = %s, which is not a path: %v", text, path, err)
		}
		if !slices.Equal(path, again) {
			t.Fatalf("ParsePath(%q) = %s, read again %s", text, path, again)
		}
	})
}
