package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
)

// module is the path of the project's module.
const module = "stellarflow.io/stellarflow/"

// goPackage is what `go list -deps -json` says of a package, as far as it is used.
type goPackage struct {
	ImportPath string
	Imports    []string
	Standard   bool
}

// layers says which packages of ours a package may import, by prefix of the path below the module; itself and what is below it
// always. The first prefix that fits counts. Packages that no prefix fits (cmd, hack, test) may import everything.
var layers = []struct {
	prefix  string
	allowed []string
}{
	{"pkg/apis/", []string{"pkg/apis/"}},
	{"bindingpolicy", []string{"pkg/apis/"}},
	{"transforms", []string{"pkg/apis/"}},
	{"config", nil},
	{"pkg/artifact", []string{"bindingpolicy", "transforms", "pkg/apis/"}},
	{"pkg/wec", []string{"bindingpolicy", "transforms", "pkg/apis/"}},
	{"pkg/hub", []string{"pkg/hub", "pkg/wec", "pkg/artifact", "bindingpolicy", "transforms", "pkg/apis/"}},
	{"pkg/", []string{"pkg/", "bindingpolicy", "transforms", "config"}},
}

// pure are the packages that decide and do nothing else.
var pure = []string{"bindingpolicy", "transforms"}

// impure are packages that a pure one may not import: they do I/O, know the time, or lead to what does.
var impure = []string{"context", "io", "log", "math/rand", "net", "os", "runtime", "sync", "syscall", "time"}

// imports checks the dependency rules: arrows go down only, and what the pure packages need, directly and not, is apimachinery.
func imports(ctx context.Context, root string) error {
	list := exec.CommandContext(ctx, "go", "list", "-deps", "-json=ImportPath,Imports,Standard", "./...")
	list.Dir = root
	var stderr bytes.Buffer
	list.Stderr = &stderr
	raw, err := list.Output()
	if err != nil {
		return fmt.Errorf("go list: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	packages, err := decode(raw)
	if err != nil {
		return err
	}
	lines := append(arrows(packages), impurities(packages)...)
	if len(lines) == 0 {
		return nil
	}
	return errors.New("\n  " + strings.Join(lines, "\n  "))
}

// decode reads the output of go list.
func decode(raw []byte) (map[string]goPackage, error) {
	packages := map[string]goPackage{}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	for {
		var one goPackage
		switch err := decoder.Decode(&one); {
		case errors.Is(err, io.EOF):
			return packages, nil
		case err != nil:
			return nil, fmt.Errorf("read the output of go list: %w", err)
		}
		packages[one.ImportPath] = one
	}
}

// arrows returns a line for each import among our packages that goes up.
func arrows(packages map[string]goPackage) []string {
	var lines []string
	for path, one := range packages {
		ours, found := strings.CutPrefix(path, module)
		if !found {
			continue
		}
		for _, imported := range one.Imports {
			if below, found := strings.CutPrefix(imported, module); found && !mayImport(ours, below) {
				lines = append(lines, fmt.Sprintf("%s imports %s, which is not below it", ours, below))
			}
		}
	}
	slices.Sort(lines)
	return lines
}

// mayImport applies the layers.
func mayImport(from, to string) bool {
	for _, layer := range layers {
		if !strings.HasPrefix(from, layer.prefix) {
			continue
		}
		return strings.HasPrefix(to, layer.prefix) ||
			slices.ContainsFunc(layer.allowed, func(prefix string) bool { return strings.HasPrefix(to, prefix) })
	}
	return true
}

// impurities returns a line for each package that a pure one needs and may not.
func impurities(packages map[string]goPackage) []string {
	var lines []string
	for _, name := range pure {
		one := packages[module+name]
		for _, imported := range one.Imports {
			if packages[imported].Standard && slices.ContainsFunc(impure, func(bad string) bool { return within(imported, bad) }) {
				lines = append(lines, fmt.Sprintf("%s imports %s, but decides only", name, imported))
			}
		}
		for _, needed := range closure(packages, module+name) {
			if strings.HasPrefix(needed, "k8s.io/client-go") || within(needed, "sigs.k8s.io/controller-runtime") || strings.HasPrefix(needed, "github.com/argoproj") {
				lines = append(lines, fmt.Sprintf("%s needs %s, though apimachinery is all it may", name, needed))
			}
		}
	}
	slices.Sort(lines)
	return lines
}

// closure returns every package that one needs, directly or not.
func closure(packages map[string]goPackage, from string) []string {
	seen := map[string]bool{from: true}
	queue := []string{from}
	var result []string
	for len(queue) > 0 {
		path := queue[0]
		queue = queue[1:]
		for _, imported := range packages[path].Imports {
			if !seen[imported] {
				seen[imported] = true
				queue, result = append(queue, imported), append(result, imported)
			}
		}
	}
	return result
}

// within reports whether a path is a package or below it.
func within(path, parent string) bool { return path == parent || strings.HasPrefix(path, parent+"/") }
