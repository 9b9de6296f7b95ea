// Command generate writes what is generated: the deep copies and CRDs of the API by controller-gen, and the CRD of ManagedCluster
// from its module. With -check it changes nothing and fails if a file is not as a fresh generation makes it; it needs no git.
//
//	go run ./hack/generate [-check]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
)

func main() {
	check := flag.Bool("check", false, "change nothing; fail if a generated file is not as a fresh generation makes it")
	flag.Parse()
	if err := run(context.Background(), *check); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, check bool) error {
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	if _, err := os.Stat(root + "/go.mod"); err != nil {
		return fmt.Errorf("run it at the root of the work tree: %w", err)
	}
	if !check {
		return generate(ctx, root, root)
	}
	fresh, err := os.MkdirTemp("", "stellarflow-generate-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(fresh) }()
	if err := generate(ctx, root, fresh); err != nil {
		return err
	}
	lines, err := compare(root, fresh)
	if err != nil {
		return err
	}
	if len(lines) > 0 {
		slices.Sort(lines)
		return errors.New(strings.Join(lines, "\n  ") + "\nrun `make generate` and commit the result")
	}
	return nil
}
