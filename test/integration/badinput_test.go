package integration

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"stellarflow.io/stellarflow/test/badinput"
)

// minBadInputs is how many cases the tables hold at least.
const minBadInputs = 250

// TestBadInputsAreCounted reads every table in the repository: no two cases are the same input, and each says where a person sees what.
func TestBadInputsAreCounted(t *testing.T) {
	const root = "../.."
	total, inputs := 0, map[string]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(filepath.ToSlash(path), badinput.File) {
			return err
		}
		cases, err := badinput.Load(path)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		t.Logf("%4d %s", len(cases), filepath.Dir(filepath.Dir(path)))
		names := map[string]bool{}
		for _, c := range cases {
			raw, err := json.Marshal([]any{filepath.Dir(path), c.Kind, c.Input})
			if err != nil {
				return err
			}
			if before, twice := inputs[string(raw)]; twice || names[c.Case] {
				t.Errorf("%s: %s is there already, or has the same input as %s", path, c.Case, before)
			}
			if c.Why == "" || c.Where == "" || c.Says == "" || strings.HasPrefix(c.Where, "nowhere") {
				t.Errorf("%s: %s does not say why it is bad, where a person sees it, or what: %+v", path, c.Case, c)
			}
			inputs[string(raw)], names[c.Case] = c.Case, true
			total++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if total < minBadInputs {
		t.Errorf("there are %d bad inputs, want at least %d", total, minBadInputs)
	}
}
