package badinput

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// File is the name of a table below the folder of its package.
const File = "testdata/badinput.yaml"

var update = flag.Bool("update-badinput", false, "write what is said into the tables of bad inputs; each line of the difference has to be read")

// Case is one bad input.
type Case struct {
	// Case names it, Why says what is bad about it.
	Case string `json:"case"`
	Why  string `json:"why"`
	// Kind tells the inputs of one table apart, where it holds several; empty if it does not.
	Kind string `json:"kind,omitempty"`
	// Input is what a person wrote: text, or an object. In its texts @5000xabc@ stands for 5000 times abc.
	Input any `json:"input"`
	// Where is the place where a person sees Says.
	Where string `json:"where"`
	// Says is the message, whole.
	Says string `json:"says"`
}

// Answer is what a person sees of a bad input, and where.
type Answer struct{ Where, Says string }

// Load reads a table.
func Load(file string) ([]Case, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var cases []Case
	return cases, yaml.UnmarshalStrict(raw, &cases)
}

// Run holds, side by side, each case of the package's table against what the package says.
func Run(t *testing.T, answer func(t *testing.T, c Case) Answer) {
	t.Helper()
	file := filepath.FromSlash(File)
	cases, err := Load(file)
	if err != nil || len(cases) == 0 {
		t.Fatalf("%s has %d cases: %v", file, len(cases), err)
	}
	t.Run("all", func(t *testing.T) { // ends when all of them have
		for i := range cases {
			t.Run(cases[i].Case, func(t *testing.T) {
				t.Parallel()
				got := answer(t, cases[i])
				if got.Says == "" {
					t.Errorf("%s: nothing is said of it, %s", cases[i].Why, got.Where)
				}
				if *update {
					cases[i].Where, cases[i].Says = got.Where, got.Says
					return
				}
				if diff := cmp.Diff(Answer{cases[i].Where, cases[i].Says}, got); diff != "" {
					t.Errorf("%s: -want +got:\n%s", cases[i].Why, diff)
				}
			})
		}
	})
	if !*update {
		return
	}
	raw, err := yaml.Marshal(cases)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, raw, 0o644); err != nil {
		t.Fatal(err)
	}
}

// Text returns the input, which is a text.
func (c Case) Text(t *testing.T) string {
	t.Helper()
	text, ok := expand(c.Input).(string)
	if !ok {
		t.Fatalf("the input is %T, not a text", c.Input)
	}
	return text
}

// JSON returns the input as JSON.
func (c Case) JSON(t *testing.T) []byte {
	t.Helper()
	raw, err := json.Marshal(expand(c.Input))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Into reads the input into a value, with no unknown field.
func (c Case) Into(t *testing.T, value any) {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(c.JSON(t))) // YAML has no key of more than 1024 characters
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(value); err != nil {
		t.Fatalf("the input is no %T: %v", value, err)
	}
}

var repeated = regexp.MustCompile(`(?s)@([0-9]+)x([^@]*)@`)

// expand writes out repetitions.
func expand(value any) any {
	switch value := value.(type) {
	case string:
		return repeated.ReplaceAllStringFunc(value, func(found string) string {
			parts := repeated.FindStringSubmatch(found)
			times, err := strconv.Atoi(parts[1])
			if err != nil {
				return found
			}
			return strings.Repeat(parts[2], times)
		})
	case []any:
		result := make([]any, 0, len(value))
		for _, element := range value {
			result = append(result, expand(element))
		}
		return result
	case map[string]any:
		result := map[string]any{}
		for key, member := range value {
			text, _ := expand(key).(string)
			result[text] = expand(member)
		}
		return result
	default:
		return value
	}
}

// Until asks until the answer is that of the case, and returns the last one after a while.
func Until(t *testing.T, c Case, ask func() Answer) Answer {
	t.Helper()
	patience := 15 * time.Second
	if *update {
		patience = 8 * time.Second // nobody knows yet what will be said
	}
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		got := ask()
		if !*update && got == (Answer{c.Where, c.Says}) || time.Now().After(end) || t.Context().Err() != nil {
			return got
		}
	}
}
