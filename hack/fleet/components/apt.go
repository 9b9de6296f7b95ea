package components

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// unpackPackages downloads Debian packages into a directory in work that is removed again and unpacks them into root. The
// lists of packages are updated if the download fails, which it does when they are missing or too old.
func unpackPackages(ctx context.Context, work, root string, packages []string) error {
	for _, tool := range []string{"apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is not on this machine: a local fleet takes containerd, runc and Python from Debian's packages; use Debian 12, or a kind fleet", tool)
		}
	}
	debs, err := os.MkdirTemp(work, "debs-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(debs) //nolint:errcheck // publish removes the rest
	if err := download(ctx, debs, packages); err != nil {
		return err
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	for _, name := range packages {
		files, err := filepath.Glob(filepath.Join(debs, name+"_*.deb"))
		if err != nil || len(files) != 1 {
			return fmt.Errorf("apt-get download %s left %d files, want 1", name, len(files))
		}
		if _, err := (command{dir: debs, argv: []string{"dpkg-deb", "-x", files[0], root}}).output(ctx); err != nil {
			return err
		}
	}
	return nil
}

// aptOptions keep apt from dropping to a user who cannot write to the cache, and from asking.
var aptOptions = []string{"-q", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3", "-o", "Dpkg::Use-Pty=0"}

func download(ctx context.Context, dir string, packages []string) error {
	get := command{dir: dir, env: []string{"LC_ALL=C"}, argv: append(append([]string{"apt-get"}, aptOptions...), append([]string{"download"}, packages...)...)}
	_, first := get.output(ctx)
	if first == nil {
		return nil
	}
	update := command{dir: dir, env: []string{"LC_ALL=C"}, argv: append(append([]string{"apt-get"}, aptOptions...), "update")}
	if _, err := retry(ctx, func() ([]byte, error) { return update.output(ctx) }); err != nil {
		return fmt.Errorf("update apt's lists (a download failed: %w): %w", first, err)
	}
	_, err := retry(ctx, func() ([]byte, error) { return get.output(ctx) })
	return err
}

// osRelease names the distribution and its version, which decide what Debian's packages hold.
func osRelease(file string) string {
	data, _ := os.ReadFile(file)
	var id, version string
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "ID":
			id = strings.Trim(value, `"`)
		case "VERSION_ID":
			version = strings.Trim(value, `"`)
		}
	}
	return id + "-" + version
}
