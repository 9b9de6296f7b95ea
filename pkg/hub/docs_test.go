package hub

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// said are the names of constants whose values people see: reasons of events, of conditions and of refusals, and types of conditions.
var said = regexp.MustCompile(`^(event|say|[rR]eason|[cC]ondition)[A-Z]`)

// TestEveryReasonIsExplained compares the code with the documents: who meets a reason finds out what to do.
func TestEveryReasonIsExplained(t *testing.T) {
	root := filepath.Join("..", "..")
	documents := ""
	for _, pattern := range []string{"docs/spec/*.md", "docs/operations.md"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			raw, err := os.ReadFile(file) //nolint:gosec // files of this repository
			if err != nil {
				t.Fatal(err)
			}
			documents += string(raw)
		}
	}
	reasons := map[string]string{}
	for _, dir := range []string{"pkg/hub", "pkg/wec", "pkg/apis", "bindingpolicy", "transforms"} {
		collectReasons(t, filepath.Join(root, dir), reasons)
	}
	const fewest = 40
	if len(reasons) < fewest {
		t.Errorf("only %d reasons were found in the code: this test looks in the wrong place", len(reasons))
	}
	for reason, where := range reasons {
		if !regexp.MustCompile(`\b` + regexp.QuoteMeta(reason) + `\b`).MatchString(documents) {
			t.Errorf("%s (%s) is in no document: say in docs/spec or docs/operations.md what it means and what to do", reason, where)
		}
	}
}

// collectReasons adds the values of all such constants below a folder, with where they are.
func collectReasons(t *testing.T, dir string, reasons map[string]string) {
	t.Helper()
	files := token.NewFileSet()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(node ast.Node) bool {
			spec, ok := node.(*ast.ValueSpec)
			if !ok {
				return true
			}
			for i, name := range spec.Names {
				if i >= len(spec.Values) || !said.MatchString(name.Name) {
					continue
				}
				if literal, ok := spec.Values[i].(*ast.BasicLit); ok && literal.Kind == token.STRING {
					if value, err := strconv.Unquote(literal.Value); err == nil {
						reasons[value] = files.Position(name.Pos()).String()
					}
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestNamedTestsExist: a test that the documents name as showing something is there.
func TestNamedTestsExist(t *testing.T) {
	root := filepath.Join("..", "..")
	declared := map[string]bool{}
	declaration := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		raw, err := os.ReadFile(path) //nolint:gosec // files of this repository
		for _, match := range declaration.FindAllSubmatch(raw, -1) {
			declared[string(match[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(root, "docs", "architecture.md")) //nolint:gosec // a file of this repository
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`((?:Test|Fuzz)\\w+)").FindAllSubmatch(raw, -1)
	const fewest = 60
	if len(named) < fewest {
		t.Errorf("only %d tests are named: this test looks in the wrong place", len(named))
	}
	for _, match := range named {
		if !declared[string(match[1])] {
			t.Errorf("docs/architecture.md names %s, and there is no such test", match[1])
		}
	}
}
