package components

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// firstMainBuild is how long a program of this repository takes when nothing that it imports was compiled before.
const firstMainBuild = 90 * time.Second

// BuildMain is BuildProgram without a word of progress.
func BuildMain(ctx context.Context, pkg string, linkFlags ...string) (string, error) {
	return BuildProgram(ctx, io.Discard, pkg, linkFlags...)
}

// BuildProgram builds a program of this repository, such as "./cmd/hub", for use in an image, and returns its path, which
// stays the same. linkFlags are added to -ldflags. Go finds out by itself what has changed, so it is quick if nothing
// has; the file is replaced only if it is different. What is written to progress is written the first time only.
func BuildProgram(ctx context.Context, progress io.Writer, pkg string, linkFlags ...string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	// Checkouts have a directory each: they build different things.
	dir := filepath.Join(cache, "main", hashKey(root))
	unlock, err := lock(ctx, filepath.Join(dir, "lock"), nil)
	if err != nil {
		return "", err
	}
	defer unlock()
	if err := os.MkdirAll(filepath.Join(dir, "linked"), 0o755); err != nil {
		return "", fmt.Errorf("create the cache: %w", err)
	}
	name := filepath.Base(pkg)
	linked, final := filepath.Join(dir, "linked", name), filepath.Join(dir, name)
	if exists(linked) {
		progress = io.Discard
	}
	flags := strings.Join(append([]string{"-s", "-w"}, linkFlags...), " ")
	s := step{out: progress, now: time.Now, number: 1, total: 1, title: pkg, estimate: firstMainBuild}
	if err := s.run(func() error { return goBuild(ctx, root, linked, "-ldflags", flags, pkg) }); err != nil {
		return "", err
	}
	if same, err := sameFile(linked, final); err != nil || same {
		return final, err
	}
	// A reader of the old file must not see half of the new one.
	if err := copyFile(linked, final+".new"); err != nil {
		return "", err
	}
	return final, os.Rename(final+".new", final)
}
