package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// view gives this mount namespace its own /proc, /var and /run.
func view(spec Spec) error {
	// What the machine mounts or unmounts from now on is seen here too, what
	// is mounted here is not seen on the machine; below, the kubelet and the
	// containers share it.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("make mounts shared inside: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	kept, err := open(spec.Keep)
	if err != nil {
		return err
	}
	for _, dir := range []string{"lib", "log", "tmp", "cache"} {
		if err := os.MkdirAll(filepath.Join(spec.Var, dir), 0o755); err != nil {
			return fmt.Errorf("make the cluster's /var: %w", err)
		}
	}
	if err := symlink("/run", filepath.Join(spec.Var, "run")); err != nil {
		return err
	}
	if err := unix.Mount(spec.Var, "/var", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount /var: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	if err := os.MkdirAll("/run/lock", 0o755); err != nil {
		return err
	}
	if err := kept.restore(); err != nil {
		return err
	}
	return coverSysctls()
}

// covered are settings of the whole machine that a kubelet changes unless they
// have these values. It is shown files that have, and the machine stays as it
// is.
var covered = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

func coverSysctls() error {
	for name, value := range covered {
		file := filepath.Join("/run/sysctl", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := unix.Mount(file, filepath.Join("/proc/sys", name), "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("cover %s: %w", name, err)
		}
	}
	return nil
}

type keptDirs map[string]int

// open takes hold of directories before /var and /run hide them.
func open(dirs []string) (keptDirs, error) {
	kept := keptDirs{}
	for _, dir := range dirs {
		if !strings.HasPrefix(dir, "/var/") && !strings.HasPrefix(dir, "/run/") {
			continue
		}
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", dir, err)
		}
		kept[dir] = fd
	}
	return kept, nil
}

// restore puts the directories back where they were.
func (k keptDirs) restore() error {
	for dir, fd := range k {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("keep %s: %w", dir, err)
		}
		if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", fd), dir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("keep %s: %w", dir, err)
		}
		_ = unix.Close(fd)
	}
	return nil
}

func symlink(target, path string) error {
	if err := os.Symlink(target, path); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("link %s: %w", path, err)
	}
	return nil
}

// joinCgroups moves this process into the cluster's leaf of every hierarchy.
func joinCgroups(files []string) error {
	for _, f := range files {
		if err := os.WriteFile(f, []byte("0\n"), 0o644); err != nil {
			return fmt.Errorf("join cgroup %s: %w", f, err)
		}
	}
	return nil
}

// sysctls are the network settings a node needs; all of them belong to the
// network namespace.
var sysctls = map[string]string{
	"net/ipv4/ip_forward":         "1",
	"net/ipv4/conf/all/rp_filter": "0",
}

func setSysctls() error {
	for name, value := range sysctls {
		if err := os.WriteFile("/proc/sys/"+name, []byte(value), 0o644); err != nil {
			return fmt.Errorf("set %s: %w", strings.ReplaceAll(name, "/", "."), err)
		}
	}
	return nil
}
