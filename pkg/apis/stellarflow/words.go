package stellarflow

import (
	"strconv"
	"strings"
)

// IsControl reports whether a character makes a terminal do something else than show it, or changes the order in which the text
// around it is shown: C0 and C1 controls, line and paragraph separators, Unicode's marks of direction, and bytes that are no UTF-8.
func IsControl(r rune) bool {
	switch {
	case r < ' ', r >= 0x7f && r <= 0x9f, r == '\u2028', r == '\u2029', r == '\u200e', r == '\u200f',
		r >= '\u202a' && r <= '\u202e', r >= '\u2066' && r <= '\u2069':
		return true
	}
	return false
}

// OneLine makes text that somebody else wrote (a WEC's error, the name of an object there) fit to be quoted in a message, an event
// or a condition: blanks for line breaks and tabs, U+FFFD for every other control character and for what is no UTF-8, and at most
// limit bytes, of which the last three are dots if something was cut.
func OneLine(text string, limit int) string {
	const more = "..."
	cut := len(text) > limit
	if cut {
		text = text[:limit] // before the work on it: it may be megabytes
	}
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\r', r == '\t':
			return ' '
		case IsControl(r):
			return '\ufffd'
		}
		return r
	}, text)
	text = strings.ToValidUTF8(text, "\ufffd")
	if !cut && len(text) <= limit {
		return text
	}
	if end := limit - len(more); len(text) > end && end > 0 {
		text = strings.ToValidUTF8(text[:end], "")
	}
	return text + more
}

// Quote quotes a value that somebody else wrote in a message, with Go's escapes; of more than limit characters the first ones, and three dots.
func Quote(value string, limit int) string {
	characters := 0
	for i := range value {
		if characters == limit {
			value = value[:i] + "..."
			break
		}
		characters++
	}
	return strconv.Quote(value)
}
