// Command cowsay draws a whale that says what it is told: its arguments, or else its standard input. It stands in for the
// cowsay of docker/whalesay.
package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"
)

// width is how many characters a line in the balloon has at most.
const width = 40

const whale = `    \
     \
      \        _.._
       \    .-'    '-.        __
          /           '.___.-'_/
         |   o              .'
    ~~~~~ \  ____        .-'~~~~~~~
    ~~~~~~~'-.______..--'~~~~~~~~~~
`

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "cowsay:", err)
		os.Exit(1)
	}
}

func run(args []string, in io.Reader, out io.Writer) error {
	words, err := text(args, in)
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, balloon(wrap(words, width))+whale)
	return err
}

// text returns what is to be said. -f and its value, which choose another animal, are accepted: there is only this one.
func text(args []string, in io.Reader) (string, error) {
	if len(args) >= 2 && args[0] == "-f" {
		args = args[2:]
	}
	if len(args) > 0 {
		return strings.Join(args, " "), nil
	}
	data, err := io.ReadAll(in)
	return string(data), err
}

// wrap breaks text into lines of at most limit characters, at spaces where it can.
func wrap(text string, limit int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		for utf8.RuneCountInString(word) > limit {
			if line != "" {
				lines, line = append(lines, line), ""
			}
			runes := []rune(word)
			lines, word = append(lines, string(runes[:limit])), string(runes[limit:])
		}
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= limit:
			line += " " + word
		default:
			lines, line = append(lines, line), word
		}
	}
	return append(lines, line)
}

// balloon draws the lines with a frame.
func balloon(lines []string) string {
	longest := 0
	for _, line := range lines {
		longest = max(longest, utf8.RuneCountInString(line))
	}
	var b strings.Builder
	fmt.Fprintf(&b, " %s \n", strings.Repeat("_", longest+2))
	for i, line := range lines {
		left, right := "|", "|"
		switch {
		case len(lines) == 1:
			left, right = "<", ">"
		case i == 0:
			left, right = "/", `\`
		case i == len(lines)-1:
			left, right = `\`, "/"
		}
		fmt.Fprintf(&b, "%s %s%s %s\n", left, line, strings.Repeat(" ", longest-utf8.RuneCountInString(line)), right)
	}
	fmt.Fprintf(&b, " %s \n", strings.Repeat("-", longest+2))
	return b.String()
}
