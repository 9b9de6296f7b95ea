package upsync

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// TestNumbers compares what is rendered with what Kubernetes' own decoder, and so the hub's API server, makes of it.
func TestNumbers(t *testing.T) {
	for name, tc := range map[string]struct {
		reason       string
		number, want string // want is empty if it is refused
	}{
		"Whole":      {"as it is", "7", "7"},
		"Max":        {"the largest whole number", "9223372036854775807", "9223372036854775807"},
		"Min":        {"the smallest", "-9223372036854775808", "-9223372036854775808"},
		"Precise":    {"no float64 on the way", "9007199254740993", "9007199254740993"},
		"Zero":       {"there is one zero", "-0", "0"},
		"Fraction":   {"as it is", "0.1", "0.1"},
		"Spelling":   {"the same number", "1.50e1", "15"},
		"Beyond":     {"beyond int64, as an API server writes it", "12345678901234567000", "12345678901234567000"},
		"BeyondLost": {"beyond int64, with digits that would be lost", "12345678901234567890", ""},
		"Huge":       {"beyond float64", "1e400", ""},
		"HugeDigits": {"beyond float64, written out", "1" + strings.Repeat("0", 400), ""},
		"Tiny":       {"rounded to nothing, as every reader does", "1e-400", "0"},
	} {
		t.Run(name, func(t *testing.T) {
			raw := []byte(`{"phase":"Running","x":[{"n":` + tc.number + `}]}`)
			rendered, err := Render(WECCopy{Status: raw}, Rules{})
			if tc.want == "" {
				if !errors.Is(err, ErrNotMirrorable) {
					t.Errorf("%s: %s, %v", tc.reason, rendered.Status, err)
				}
				return
			}
			if want := `{"phase":"Running","x":[{"n":` + tc.want + `}]}`; err != nil || string(rendered.Status) != want {
				t.Errorf("%s: %s, %v, want %s", tc.reason, rendered.Status, err, want)
			}
			var stored any
			if err := utiljson.Unmarshal(rendered.Status, &stored); err != nil {
				t.Fatal(err)
			}
			again, err := json.Marshal(stored)
			if err != nil || string(again) != string(rendered.Status) {
				t.Errorf("the hub would store %s, %v", again, err)
			}
		})
	}
}

// TestDuplicateKeys: the last one counts, as for every reader of Kubernetes, and only that one travels.
func TestDuplicateKeys(t *testing.T) {
	rendered, err := Render(WECCopy{Status: []byte(`{"phase":"Succeeded","phase":"Running","nodes":{"n":{"id":"a","id":"b"},"n":{"id":"c"}}}`)}, Rules{})
	if want := `{"nodes":{"n":{"id":"c"}},"phase":"Running"}`; err != nil || string(rendered.Status) != want {
		t.Errorf("%s, %v, want %s", rendered.Status, err, want)
	}
}
