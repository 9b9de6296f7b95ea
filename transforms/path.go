package transforms

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// Path is a parsed path: the names of the members on the way from the object to what it identifies, at least one.
type Path []string

// String returns the path as ParsePath reads it, every name in brackets.
func (p Path) String() string {
	var text strings.Builder
	text.WriteByte('$')
	for _, name := range p {
		quoted, _ := json.Marshal(name) // a string always marshals, and JSON's escapes are a part of JavaScript's
		text.WriteByte('[')
		text.Write(quoted)
		text.WriteByte(']')
	}
	return text.String()
}

// ParsePath reads a path in KubeStellar's dialect of JSONPath: `$` followed by one or more of `.name` and `["string"]`. A name has
// ASCII letters, `_`, characters beyond ASCII and, after the first, digits; a string is in double quotes with JavaScript's escapes.
// There are no blanks, indexes, wildcards, filters or single quotes. The error says what is wrong, where, and what to write instead.
func ParsePath(text string) (Path, error) {
	if !utf8.ValidString(text) {
		return nil, errors.New("it is not valid UTF-8")
	}
	rest, found := strings.CutPrefix(text, "$")
	if !found {
		return nil, errors.New("a path starts with $, as in $.spec.suspend")
	}
	if rest == "" {
		return nil, errors.New("it identifies the whole object: name a member of it, as in $.spec.suspend")
	}
	var path Path
	for rest != "" {
		name, after, err := segment(rest)
		if err != nil {
			at := utf8.RuneCountInString(text) - utf8.RuneCountInString(rest) + 1
			return nil, fmt.Errorf("at character %d: %w", at, err)
		}
		path = append(path, name)
		rest = after
	}
	return path, nil
}

// segment reads one `.name` or `["string"]` off the front of a text that is not empty.
func segment(text string) (name, rest string, err error) {
	switch {
	case text[0] == '.':
		return dotted(text[1:])
	case strings.HasPrefix(text, `["`):
		return bracketed(text[2:])
	case text[0] == '[':
		return "", "", errors.New(`only ["name"], in double quotes, may follow [: indexes, wildcards, filters and single quotes are not supported`)
	default:
		return "", "", fmt.Errorf(`%s cannot follow: write .name or ["name"], the latter for names with other characters than letters, digits and _`, shorten(text))
	}
}

// dotted reads a name.
func dotted(text string) (name, rest string, err error) {
	end := len(text)
	for i, char := range text {
		if !nameChar(char, i == 0) {
			end = i
			break
		}
	}
	if end == 0 {
		return "", "", errors.New(`a name starts with a letter or _: write ["name"] for other names`)
	}
	return text[:end], text[end:], nil
}

func nameChar(char rune, first bool) bool {
	switch {
	case char == '_', char >= utf8.RuneSelf, 'a' <= char && char <= 'z', 'A' <= char && char <= 'Z':
		return true
	default:
		return !first && '0' <= char && char <= '9'
	}
}

// bracketed reads a string up to its closing `"]`; the opening `["` was read.
func bracketed(text string) (name, rest string, err error) {
	var value strings.Builder
	for text != "" {
		switch char := text[0]; char {
		case '"':
			after, found := strings.CutPrefix(text, `"]`)
			if !found {
				return "", "", errors.New(`] is missing after the closing "`)
			}
			return value.String(), after, nil
		case '\\':
			unescaped, after, err := escape(text[1:])
			if err != nil {
				return "", "", err
			}
			value.WriteRune(unescaped)
			text = after
		case '\n', '\r':
			return "", "", errors.New(`a string cannot hold a line break: write \n`)
		default:
			value.WriteByte(char)
			text = text[1:]
		}
	}
	return "", "", errors.New(`the closing "] is missing`)
}

// escapes holds the one-letter escapes of JavaScript that stand for another character.
var escapes = map[byte]rune{'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t', 'v': '\v', '0': 0}

// escape reads what follows a backslash. Any other character than those with a meaning stands for itself, as in JavaScript.
func escape(text string) (char rune, rest string, err error) {
	if text == "" {
		return 0, "", errors.New(`the closing "] is missing`)
	}
	switch letter := text[0]; letter {
	case 'x':
		return hex(text[1:], 2)
	case 'u':
		return unicodeEscape(text[1:])
	case '1', '2', '3', '4', '5', '6', '7', '8', '9', '\n', '\r':
		return 0, "", fmt.Errorf(`\%s is not an escape`, strings.Trim(strconv.QuoteRune(rune(letter)), "'"))
	default:
		if char, found := escapes[letter]; found {
			return char, text[1:], nil
		}
		char, size := utf8.DecodeRuneInString(text)
		return char, text[size:], nil
	}
}

// unicodeEscape reads XXXX or {X...}; two escapes that are a surrogate pair are one character.
func unicodeEscape(text string) (char rune, rest string, err error) {
	if inBraces, found := strings.CutPrefix(text, "{"); found {
		char, rest, err := hex(inBraces, max(strings.IndexByte(inBraces, '}'), 0))
		return char, strings.TrimPrefix(rest, "}"), err
	}
	char, rest, err = hex(text, 4)
	if err == nil || !utf16.IsSurrogate(char) {
		return char, rest, err
	}
	if after, found := strings.CutPrefix(rest, `\u`); found {
		low, after, _ := hex(after, 4)
		if pair := utf16.DecodeRune(char, low); pair != utf8.RuneError {
			return pair, after, nil
		}
	}
	return 0, "", err
}

// hex reads a character from so many hexadecimal digits. For a surrogate half it returns an error together with the half.
func hex(text string, digits int) (char rune, rest string, err error) {
	if len(text) < digits {
		return 0, "", fmt.Errorf("an escape needs %d hexadecimal digits", digits)
	}
	code, err := strconv.ParseUint(text[:digits], 16, 32)
	if err != nil {
		return 0, "", fmt.Errorf("an escape needs hexadecimal digits, not %s", shorten(text[:digits]))
	}
	if code > utf8.MaxRune {
		return 0, "", fmt.Errorf("there is no character %X", code)
	}
	if utf16.IsSurrogate(rune(code)) {
		return rune(code), text[digits:], fmt.Errorf("there is no character %X: it is half of a pair", code)
	}
	return rune(code), text[digits:], nil
}

// maxShown is how many characters of a user's text an error quotes.
const maxShown = 64

// shorten quotes a text, cut if it is long.
func shorten(text string) string { return stellarflow.Quote(text, maxShown) }
