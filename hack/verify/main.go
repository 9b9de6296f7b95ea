// Command verify checks the work tree without running tests and without git: generated files equal a fresh generation, formatting,
// go vet, the dependency rules and golangci-lint. It runs every check, prints the time of each, and fails if any did.
//
//	go run ./hack/verify [check...]
//	go run ./hack/verify -fix        (format in place)
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"stellarflow.io/stellarflow/hack/generate/pinned"
)

// check is one of the things that are verified.
type check struct {
	name   string
	remedy string
	run    func(ctx context.Context, root string) error
}

// checks are all there are, the quick ones first.
var checks = []check{
	{"generated", "make generate", func(ctx context.Context, root string) error {
		return command(ctx, root, "go", "run", "./hack/generate", "-check")
	}},
	{"imports", "move the code to where it may depend on that (DESIGN.md §5)", imports},
	{"vet", "fix what go vet says", func(ctx context.Context, root string) error { return command(ctx, root, "go", "vet", "./...") }},
	{"format", "go run ./hack/verify -fix", func(ctx context.Context, root string) error { return lint(ctx, root, "fmt", "--diff") }},
	{"lint", "fix what is listed; a nolint names its linter and says why", func(ctx context.Context, root string) error {
		return lint(ctx, root, "run", "--allow-parallel-runners")
	}},
}

func main() {
	fix := flag.Bool("fix", false, "format the work tree in place instead of checking it")
	flag.Parse()
	root, err := os.Getwd()
	if err == nil {
		_, err = os.Stat(filepath.Join(root, "go.mod"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "verify: run it at the root of the work tree:", err)
		os.Exit(1)
	}
	ctx := context.Background()
	if *fix {
		if err := lint(ctx, root, "fmt"); err != nil {
			fmt.Fprintln(os.Stderr, "verify:", err)
			os.Exit(1)
		}
		return
	}
	if failed := runChecks(ctx, root, flag.Args()); len(failed) > 0 {
		fmt.Fprintln(os.Stderr, "verify: failed:", strings.Join(failed, ", "))
		os.Exit(1)
	}
}

// runChecks runs the checks with these names, all if there are none, and returns the names of those that failed.
func runChecks(ctx context.Context, root string, only []string) []string {
	var failed []string
	for _, name := range only {
		if !slices.ContainsFunc(checks, func(c check) bool { return c.name == name }) {
			fmt.Fprintf(os.Stderr, "verify: there is no check %q\n", name)
			failed = append(failed, name)
		}
	}
	for _, check := range checks {
		if len(only) > 0 && !slices.Contains(only, check.name) {
			continue
		}
		started := time.Now()
		err := check.run(ctx, root)
		took := time.Since(started).Round(100 * time.Millisecond)
		if err != nil {
			fmt.Printf("verify %-10s FAILED in %v: %v\n  what to do: %s\n", check.name, took, err, check.remedy)
			failed = append(failed, check.name)
			continue
		}
		fmt.Printf("verify %-10s ok in %v\n", check.name, took)
	}
	return failed
}

// lint runs the pinned golangci-lint, with its own cache in the project's.
func lint(ctx context.Context, root string, args ...string) error {
	tool, err := pinned.Tool(ctx, root, "golangci-lint", "golangci-lint")
	if err != nil {
		return err
	}
	cache, err := pinned.CacheDir()
	if err != nil {
		return err
	}
	return command(ctx, root, "env", append([]string{"GOLANGCI_LINT_CACHE=" + filepath.Join(cache, "golangci-lint"), tool}, args...)...)
}

// command runs a program in the work tree with its output on ours.
func command(ctx context.Context, root, name string, args ...string) error {
	process := exec.CommandContext(ctx, name, args...)
	process.Dir, process.Stdout, process.Stderr = root, os.Stdout, os.Stderr
	return process.Run()
}
