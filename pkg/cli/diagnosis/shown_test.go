package diagnosis

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

// Every finding, without an exception, is a string in the code of test/e2e, whose TestFleet checks in addition that doctor found each of
// them on real clusters and that the command it printed was run.
func TestEachFindingIsShown(t *testing.T) {
	files, err := filepath.Glob("../../../test/e2e/*_test.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("there is no test/e2e: %v", err)
	}
	named := map[ID]bool{}
	for _, file := range files {
		source, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(source, func(node ast.Node) bool {
			if literal, ok := node.(*ast.BasicLit); ok && literal.Kind == token.STRING {
				if text, err := strconv.Unquote(literal.Value); err == nil {
					named[ID(text)] = true
				}
			}
			return true
		})
	}
	for _, id := range IDs() {
		if !named[id] {
			t.Errorf("no test of test/e2e shows %s", id)
		}
	}
}

// IDs returns every constant of its type.
func TestIDs(t *testing.T) {
	source, err := parser.ParseFile(token.NewFileSet(), "finding.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var declared []ID
	ast.Inspect(source, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == "ID" {
			text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Errorf("%s: %v", spec.Names[0].Name, err)
			}
			declared = append(declared, ID(text))
		}
		return true
	})
	listed := slices.Sorted(slices.Values(IDs()))
	slices.Sort(declared)
	if !slices.Equal(declared, listed) {
		t.Errorf("declared: %v\nlisted: %v", declared, listed)
	}
}
