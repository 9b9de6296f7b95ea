package components

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// smallModule is a repository with one small program, as the working directory.
func smallModule(t *testing.T, says string) string {
	t.Helper()
	root := t.TempDir()
	writeProgram(t, root, says)
	if err := os.WriteFile(filepath.Join(root, "go.mod"), []byte(moduleLine+"\n\ngo 1.26\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Join(root, "cmd", "hello"))
	return root
}

func writeProgram(t *testing.T, root, says string) {
	t.Helper()
	dir := filepath.Join(root, "cmd", "hello")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	source := "package main\n\nvar version string\n\nfunc main() { println(\"" + says + "\", version) }\n"
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestBuildProgram(t *testing.T) {
	t.Setenv("STELLARFLOW_CACHE", t.TempDir())
	root := smallModule(t, "one")
	build := func() (path, progress, said string) {
		t.Helper()
		var out bytes.Buffer
		path, err := BuildProgram(t.Context(), &out, "./cmd/hello", "-X main.version=v7")
		if err != nil {
			t.Fatal(err)
		}
		printed, err := exec.Command(path).CombinedOutput()
		if err != nil {
			t.Fatal(err)
		}
		return path, out.String(), string(printed)
	}
	path, progress, said := build()
	if said != "one v7\n" || !strings.HasPrefix(progress, "[1/1] building ./cmd/hello (about 2 min) ... done in ") {
		t.Errorf("the program says %q and progress %q", said, progress)
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	again, progress, _ := build()
	after, err := os.Stat(again)
	if err != nil {
		t.Fatal(err)
	}
	if again != path || !after.ModTime().Equal(before.ModTime()) || progress != "" {
		t.Errorf("without a change: %s written %s, progress %q; want %s as it was, and silence", again, after.ModTime(), progress, path)
	}
	writeProgram(t, root, "two")
	if _, _, said := build(); said != "two v7\n" {
		t.Errorf("after a change the program says %q, want the new text", said)
	}
	if err := os.WriteFile(filepath.Join(root, "cmd", "hello", "main.go"), []byte("package main\n\nfunc main() { nothing() }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := BuildMain(t.Context(), "./cmd/hello"); err == nil || !strings.Contains(err.Error(), "undefined: nothing") || !strings.Contains(err.Error(), "build ./cmd/hello") {
		t.Errorf("error = %v, want the compiler's and what was built", err)
	}
}
