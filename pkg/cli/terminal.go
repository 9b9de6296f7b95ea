package cli

import (
	"errors"
	"io"
	"strings"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// terminal is a writer to a person's terminal. Much of what is printed are words of clusters that are not trusted: sequences that
// would make the terminal do anything but show them are disarmed.
type terminal struct{ io.Writer }

// Write writes the text with U+FFFD for every control character but tabs and line ends.
func (t terminal) Write(text []byte) (int, error) {
	_, err := io.WriteString(t.Writer, strings.Map(func(r rune) rune {
		if stellarflow.IsControl(r) && r != '\n' && r != '\t' {
			return '\ufffd'
		}
		return r
	}, string(text)))
	return len(text), err
}

// commaList is a flag that takes several values with commas between them, and may be given several times.
type commaList struct{ values *[]string }

// Set adds values. A line break is no separator: what follows it would be lost.
func (l commaList) Set(text string) error {
	if strings.ContainsAny(text, "\r\n") {
		return errors.New("it has several lines: write several values with commas between them")
	}
	if text != "" {
		*l.values = append(*l.values, strings.Split(text, ",")...)
	}
	return nil
}

// String returns the values as they are given.
func (l commaList) String() string {
	if l.values == nil {
		return ""
	}
	return strings.Join(*l.values, ",")
}

// Type is the word for the value in usage texts.
func (l commaList) Type() string { return "strings" }
