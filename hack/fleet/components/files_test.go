package components

import (
	"os"
	"path/filepath"
	"testing"
)

func TestCopyTree(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	// Go's module cache is read-only; the copy must not be.
	if err := os.MkdirAll(filepath.Join(from, "a"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(from, "a", "run"), []byte("x"), 0o555); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("run", filepath.Join(from, "a", "link")); err != nil {
		t.Fatal(err)
	}
	if err := copyTree(from, to); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(to, "a", "run"))
	if err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("mode of the copy = %v, %v, want 0755", info.Mode(), err)
	}
	if link, err := os.Readlink(filepath.Join(to, "a", "link")); err != nil || link != "run" {
		t.Errorf("link = %q, %v, want run", link, err)
	}
}

func TestSameFile(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"a": "1234", "b": "1234", "c": "12345", "d": "1235"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for other, want := range map[string]bool{"a": true, "b": true, "c": false, "d": false, "none": false} {
		got, err := sameFile(filepath.Join(dir, "a"), filepath.Join(dir, other))
		if err != nil || got != want {
			t.Errorf("sameFile(a, %s) = %t, %v, want %t", other, got, err, want)
		}
	}
	if _, err := sameFile(filepath.Join(dir, "none"), filepath.Join(dir, "a")); err == nil {
		t.Error("a first file that is not there is no error, want one")
	}
}

func TestCached(t *testing.T) {
	t.Setenv("STELLARFLOW_CACHE", t.TempDir())
	fills := 0
	for range 2 {
		dir, err := Cached("layers/x", func(dir string) error {
			fills++
			return os.WriteFile(filepath.Join(dir, "f"), nil, 0o644)
		})
		if err != nil || !exists(filepath.Join(dir, "f")) {
			t.Fatalf("Cached = %q, %v, want a directory with f", dir, err)
		}
	}
	if fills != 1 {
		t.Errorf("it was filled %d times, want once", fills)
	}
}
