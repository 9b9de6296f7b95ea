package cli

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stellarflow.io/stellarflow/pkg/cli/diagnosis"
)

// docs/cli.md has a row for every finding and every command, and no other.
func TestDocs(t *testing.T) {
	raw, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	started := false
	var commands, findings []string
	for _, command := range leaves(newRoot(Env{}, &started).Commands()) {
		commands = append(commands, command.CommandPath()[len("stellarflow "):])
	}
	for _, id := range diagnosis.IDs() {
		findings = append(findings, string(id))
	}
	_, page, _ := strings.Cut(string(raw), "\n## Commands\n")
	aboutCommands, aboutFindings, _ := strings.Cut(page, "\n## Doctor\n")
	rows := func(pattern, text string) map[string]bool {
		found := map[string]bool{}
		for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			found[match[1]] = true
		}
		return found
	}
	set := func(names []string) map[string]bool {
		all := map[string]bool{}
		for _, name := range names {
			all[name] = true
		}
		return all
	}
	if diff := cmp.Diff(set(commands), rows("(?m)^\\| `([a-z]+(?: (?:list|adopt|delete))?)[^|]*` \\|", aboutCommands)); diff != "" {
		t.Errorf("commands (-there are +documented):\n%s", diff)
	}
	if diff := cmp.Diff(set(findings), rows("(?m)^\\| `([a-z-]+)` \\| (?:problem|warning)", aboutFindings)); diff != "" {
		t.Errorf("findings (-there are +documented):\n%s", diff)
	}
}
